"""One quota for several processes, threads and event loops: by a file, and by a server."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from batchllm import ConfigError, run_batch, run_batch_sync
from batchllm.cli import main
from batchllm.core import CallCost
from batchllm.policy import LeaseRequest, Limit, Quota
from batchllm.shared import (
    GateUnreachableError,
    HttpLeases,
    MemoryLeases,
    SharedGate,
    SqliteLeases,
    serve_leases,
)
from batchllm.simulator import Simulator, parse_scenario, serve
from benchmarks.shared import try_way

SECRET = "a secret of this test"
MINUTE = Quota(limits=(Limit("requests", 600),), hold=0.25)


def request(number: int = 1, want: int = 1, quota: Quota = MINUTE) -> LeaseRequest:
    return LeaseRequest(worker="a", number=number, quota=quota, costs=(CallCost(),) * want)


async def answer(prompt: str) -> str:
    await anyio.sleep(0.01)
    return prompt


@pytest.mark.parametrize("way", ["file", "server"])
def test_four_processes_share_a_quota_and_one_is_killed(way: str) -> None:
    """Asyncio and Trio mixed; no request is refused, and each item has an answer."""
    trial = anyio.run(lambda: try_way(way, 200))
    assert trial.answered == 200
    assert trial.refused == 0
    assert trial.leases < trial.calls


def test_threads_with_event_loops_of_their_own_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "shared.gate"
    ended = list[Any]()

    def work(number: int) -> None:
        gate = SharedGate(f"sqlite://{path}", requests_per_minute=3_000)
        ended.append(run_batch_sync([f"{number} {n}" for n in range(20)], answer, gate=gate))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.succeeded for one in ended] == [20, 20, 20]
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.anyio
async def test_a_gate_is_opened_again_by_each_run(tmp_path: Path) -> None:
    gate = SharedGate(f"sqlite://{tmp_path / 'shared.gate'}", requests_per_minute=3_000)
    for _ in range(2):
        assert (await run_batch(["a", "b"], answer, gate=gate)).succeeded == 2
    async with gate:
        assert (await run_batch(["c"], answer, gate=gate)).succeeded == 1
    assert gate.leases().used == 5


@pytest.mark.anyio
async def test_after_the_machine_was_started_anew_a_days_quota_goes_on(tmp_path: Path) -> None:
    day = Quota(limits=(Limit("requests", 5, per=86_400.0),), hold=0.25)
    before = SqliteLeases(tmp_path / "a.gate", boot="first", clock=lambda: 50_000.0)
    assert len((await before.lease(request(want=3, quota=day))).opens) == 3
    await before.aclose()
    after = SqliteLeases(tmp_path / "a.gate", boot="second", clock=lambda: 10.0)
    assert len((await after.lease(request(want=3, quota=day))).opens) == 2
    await after.aclose()


@pytest.mark.anyio
async def test_a_file_of_another_format_or_no_database_is_named(tmp_path: Path) -> None:
    store = SqliteLeases(tmp_path / "a.gate")
    await store.lease(request())
    await store.aclose()
    with sqlite3.connect(tmp_path / "a.gate") as raw:
        raw.execute("UPDATE gates SET format = 99")
    raw.close()
    with pytest.raises(ConfigError, match="another version"):
        await store.lease(request(2))
    await store.aclose()
    (tmp_path / "b.gate").write_text("no database, but text" * 100)
    with pytest.raises(GateUnreachableError, match=r"b\.gate cannot be used"):
        await SqliteLeases(tmp_path / "b.gate").lease(request())
    with pytest.raises(GateUnreachableError, match="cannot be used"):
        await SqliteLeases(tmp_path / "none" / "c.gate").lease(request())


def test_a_disk_in_the_network_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("batchllm.shared.sqlite_store.is_network_disk", lambda path: True)
    with pytest.raises(ConfigError, match="disk in the network"):
        SharedGate(f"sqlite://{tmp_path / 'a.gate'}")


@pytest.mark.anyio
async def test_a_server_gives_leases_to_those_who_know_the_secret() -> None:
    async with serve_leases(MemoryLeases(), secret=SECRET) as server:
        store = HttpLeases(server.url, secret=SECRET)
        assert SECRET not in repr(store)
        assert len((await store.lease(request(want=3))).opens) == 3
        other = Quota(limits=(Limit("requests", 60),))
        asked = LeaseRequest(worker="b", number=1, quota=other)
        with pytest.raises(ConfigError, match="60 requests per 60 s"):
            await store.lease(asked)
        await store.aclose()
        stranger = HttpLeases(server.url, secret="another secret")
        with pytest.raises(ConfigError, match="another secret"):
            await stranger.lease(request())
        await stranger.aclose()


@pytest.mark.anyio
async def test_a_server_refuses_what_is_no_request_for_a_lease() -> None:
    known = {"authorization": f"Bearer {SECRET}"}
    wrong = json.dumps({"worker": "a", "number": 1, "quota": {"hold": -5}})
    limit = {"dimension": "requests", "amount": -3}
    negative = json.dumps({"worker": "a", "number": 1, "quota": {"limits": [limit]}})
    async with (
        serve_leases(MemoryLeases(), secret=SECRET) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        for expected, headers, path, body in (
            (401, {}, "/v1/lease", "{}"),
            (401, {"authorization": "Bearer wrong"}, "/v1/lease", "{}"),
            (404, known, "/v1/other", "{}"),
            (409, known, "/v1/lease", "no JSON"),
            (409, known, "/v1/lease", wrong),
            (409, known, "/v1/lease", negative),
            (413, known, "/v1/lease", "x" * 1_100_000),
        ):
            reply = await client.post(path, headers=headers, content=body)
            assert reply.status_code == expected, (path, body[:50], reply.text)
        async with await anyio.connect_tcp("127.0.0.1", server.port) as raw:
            await raw.send(b"this is not HTTP\r\n\r\n")
            assert (await raw.receive()).startswith(b"HTTP/1.1 400")


@pytest.mark.anyio
async def test_a_server_that_is_gone_or_another_one_is_unreachable() -> None:
    async with serve_leases(MemoryLeases(), secret=SECRET) as server:
        store = HttpLeases(server.url, secret=SECRET)
    with pytest.raises(GateUnreachableError, match="cannot be reached"):
        await store.lease(request())
    await store.aclose()
    async with serve(Simulator(parse_scenario("default"))) as other:
        store = HttpLeases(other.url, secret=SECRET)
        with pytest.raises(GateUnreachableError, match="not as a batchllm serve-gate does"):
            await store.lease(request())
        await store.aclose()


@pytest.mark.anyio
async def test_a_secret_that_is_too_short_is_refused() -> None:
    with pytest.raises(ConfigError, match="5 characters"):
        async with serve_leases(MemoryLeases(), secret="short"):
            pass


# -- the command line ------------------------------------------------------------------------------


def test_two_shards_share_a_gate_and_export_joins_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text("".join(f'{{"id": "{n}", "prompt": "p{n}"}}\n' for n in range(20)))
    for shard in ("1/2", "2/2"):
        words = ["run", "in.jsonl", "-m", "sim:default", "-o", "out.{shard}.jsonl", "--quiet"]
        assert main([*words, "--shard", shard, "--share", "a.gate", "--rpm", "6000"]) == 0
    outputs = sorted(str(path) for path in Path().glob("out.*.jsonl"))
    assert len(outputs) == 2
    assert main(["export", *outputs, "-o", "all.jsonl"]) == 0
    ids = {json.loads(line)["id"] for line in Path("all.jsonl").read_text().splitlines()}
    assert ids == {str(n) for n in range(20)}


def test_a_share_that_cannot_be_is_a_mistake_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BATCHLLM_GATE_SECRET", raising=False)
    assert main(["run", "a prompt", "-m", "sim:default", "--share", "http://127.0.0.1:9"]) == 2
    assert "--share: the shared gate at http://127.0.0.1:9 asks for a secret" in (
        capsys.readouterr().err
    )


def test_hold_goes_with_share_and_has_to_be_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", "a prompt", "-m", "sim:default", "--quiet"]
    assert main([*words, "--hold", "1"]) == 2
    assert "--hold is for runs that share a quota" in capsys.readouterr().err
    assert main([*words, "--share", "a.gate", "--hold", "60"]) == 2
    assert "hold" in capsys.readouterr().err
    assert main([*words, "--share", "a.gate", "--hold", "0.5"]) == 0


def test_serve_gate_asks_for_a_secret_and_a_port(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BATCHLLM_GATE_SECRET", raising=False)
    assert main(["serve-gate"]) == 2
    assert "set BATCHLLM_GATE_SECRET" in capsys.readouterr().err
    monkeypatch.setenv("BATCHLLM_GATE_SECRET", "short")
    assert main(["serve-gate", "--port", "0"]) == 2
    assert "5 characters" in capsys.readouterr().err
    assert main(["serve-gate", "--port", "99999"]) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("kept", [False, True])
async def test_serve_gate_serves_runs_until_it_is_ended(tmp_path: Path, kept: bool) -> None:
    words = [sys.executable, "-m", "batchllm", "serve-gate", "--port", "0"]
    words += [str(tmp_path / "kept.gate")] if kept else []
    async with await anyio.open_process(words, env={"BATCHLLM_GATE_SECRET": SECRET}) as process:
        assert process.stdout is not None
        url = (await process.stdout.receive()).decode().split()[0]
        gate = SharedGate(url, requests_per_minute=3_000, secret=SECRET)
        ended = await run_batch(["a", "b", "c"], answer, gate=gate)
        assert ended.succeeded == 3
        process.terminate()
        assert await process.wait() == 0
