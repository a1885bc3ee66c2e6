"""Runs over datasets of Ray, on real actors that are killed, against a provider over sockets."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import batchllm.ray as br
from batchllm import BatchError, ConfigError, JournalError, from_callable, llm
from batchllm.simulator import LogEntry, SimulatorServer
from tests.ray_cluster.conftest import kill, pids_of, simulated, wait_until

# Ray warns of itself, and of what it has not closed.
pytestmark = pytest.mark.filterwarnings("ignore")

PER_MINUTE = 3_000
ITEMS = 1_500
EDGE = 3.0
"""Seconds at both ends that are no steady part: workers start, and run out of rows."""


@attrs.frozen
class Town:
    name: str
    people: int
    rivers: list[str]


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": n, "prompt": f"item {n}", "year": 1900 + n % 100} for n in range(count)]


def asked(server: SimulatorServer) -> list[LogEntry]:
    return [entry for entry in server.simulator.log.entries if entry.outcome != "control"]


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def used(log: list[LogEntry]) -> float:
    """Return the share of the quota in the steady part."""
    arrived = sorted(entry.arrived for entry in log)
    begin, end = arrived[0] + EDGE, arrived[-1] - EDGE
    return sum(begin <= at < end for at in arrived) / (end - begin) * 60 / PER_MINUTE


def test_three_actors_share_a_quota_and_one_is_killed(cluster: Any, tmp_path: Path) -> None:
    """Each row once, nothing refused, only what was in flight is paid for again; then nothing."""
    dataset = cluster.data.from_items(rows(ITEMS))
    seen = list[br.RunSummary]()
    with simulated(f"quota-noheaders?rpm={PER_MINUTE}&latency=1") as server:
        strategy = llm("openai-compatible:m", base_url=f"{server.url}/v1")
        killed_at = list[float]()

        def kill_one() -> None:
            wait_until(lambda: len(asked(server)) > ITEMS / 3)
            killed_at.append(time.monotonic())
            kill("_WorkerActor")

        killer = in_thread(kill_one)

        def run() -> Any:
            return br.run_dataset(
                dataset,
                strategy,
                journal=tmp_path / "run",
                workers=3,
                requests_per_minute=PER_MINUTE,
                concurrency=100,
                block_rows=100,
                progress=seen.append,
            )

        out = run()
        killer.join()
        log = asked(server)
        summary = seen[-1]
        found = out.take_all()
        assert sorted(row["id"] for row in found) == list(range(ITEMS))
        assert all(row["success"] and row["year"] == 1900 + row["id"] % 100 for row in found)
        assert summary.complete
        assert summary.workers_lost == 1
        counts = Counter(entry.prompt for entry in log)
        repeats = sum(counts.values()) - len(counts)
        refused = sum(entry.outcome == "refused" for entry in log)
        in_flight = sum(
            entry.arrived <= killed_at[0] < (entry.finished or math.inf) for entry in log
        )
        share = used(log)
        print(
            f"\n{summary}; {share:.1%} used, {refused} refused, {repeats} calls repeated, "
            f"{in_flight} in flight, {summary.calls} calls by {summary.leases} leases"
        )
        assert refused == 0
        assert repeats <= in_flight
        assert share >= 0.93
        again = run()
        assert len(asked(server)) == len(log)
        assert again.count() == ITEMS
        assert all(row["replayed"] for row in again.take_all())


def test_a_strategy_with_a_schema_gives_typed_columns(cluster: Any, tmp_path: Path) -> None:
    """Also of rows that come from the journal, and of a dataset that has none."""
    pa = pytest.importorskip("pyarrow")
    typed = pa.struct(
        [("name", pa.string()), ("people", pa.int64()), ("rivers", pa.list_(pa.string()))]
    )
    dataset = cluster.data.from_items(rows(30))
    for wanted in (dataset, dataset, dataset.filter(lambda row: row["id"] < 0)):
        out = br.run_dataset(
            wanted, llm("sim:default", output=Town), journal=tmp_path / "run", workers=2
        )
        schema = out.schema().base_schema
        assert schema.field("output").type == typed
        assert schema.names[:3] == ["id", "prompt", "year"]
        for row in out.take_all():
            assert row["success"], row["error"]
            assert isinstance(row["output"]["people"], int)
    assert out.count() == 0


def test_rows_that_cannot_be_asked_about_have_their_error(cluster: Any, tmp_path: Path) -> None:
    """A doubled id, none, and no prompt; the others are answered."""
    dataset = cluster.data.from_items(
        [
            {"id": "a", "prompt": "one"},
            {"id": "a", "prompt": "two"},
            {"id": None, "prompt": "three"},
            {"id": "b", "prompt": None},
            {"id": "c", "prompt": "four"},
        ]
    )
    out = br.run_dataset(dataset, "sim:default", journal=tmp_path / "run", workers=1)
    found = {(row["id"], row["prompt"]): row for row in out.take_all()}
    assert len(found) == 5
    assert sum(row["success"] for row in found.values()) == 2
    assert "came before" in found["a", "two"]["error"]
    assert "missing" in found[None, "three"]["error"]
    assert "its prompt" in found["b", None]["error"]


def test_mistakes_are_named(cluster: Any, tmp_path: Path) -> None:
    """Those that only the dataset shows, another strategy, and a budget."""
    dataset = cluster.data.from_items(rows(5))
    journal = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"id is 'nope'.*id, prompt, year"):
        br.run_dataset(dataset, "sim:default", journal=journal, id="nope", workers=1)
    br.run_dataset(dataset, "sim:default", journal=journal, workers=1)
    other = llm("sim:default", temperature=0.5)
    with pytest.raises(JournalError, match=r"temperature none → 0\.5: 5 finished items"):
        br.run_dataset(dataset, other, journal=journal, workers=1)
    kept = br.run_dataset(dataset, other, journal=journal, workers=1, on_changed="keep")
    assert all(row["replayed"] for row in kept.take_all())
    anew = br.run_dataset(dataset, other, journal=journal, workers=1, on_changed="rerun")
    assert not any(row["replayed"] for row in anew.take_all())


def test_a_strategy_that_does_not_arrive_is_named(cluster: Any, tmp_path: Path) -> None:
    """Its key is not in the environment of the workers, or it cannot be sent at all."""
    dataset = cluster.data.from_items(rows(5))
    journal = tmp_path / "run"
    secret = "sk-very-secret-of-this-test"
    with pytest.raises(ConfigError, match="set GROQ_API_KEY in this process") as error:
        br.run_dataset(dataset, llm("groq:m", api_key=secret), journal=journal, workers=1)
    assert secret not in str(error.value)
    for file in journal.rglob("*.json*"):
        assert secret not in file.read_text()
    lock = threading.Lock()

    async def holds_a_lock(prompt: str) -> str:
        with lock:
            return prompt

    with pytest.raises(ConfigError, match="cannot be sent to another process"):
        br.run_dataset(
            dataset, from_callable(holds_a_lock, version="1"), journal=tmp_path / "b", workers=1
        )


def test_an_error_of_the_dataset_is_raised_as_it_is(cluster: Any, tmp_path: Path) -> None:
    """It is not the library's, and the workers have ended."""

    def fail(row: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("a row that cannot be read")

    dataset = cluster.data.from_items(rows(5)).map(fail)
    with pytest.raises(Exception, match="a row that cannot be read"):
        br.run_dataset(dataset, "sim:default", journal=tmp_path / "run", workers=1)
    wait_until(lambda: not pids_of("_WorkerActor"))


def test_a_run_that_is_ended_keeps_what_is_answered(cluster: Any, tmp_path: Path) -> None:
    """By its caller, as by Ctrl-C; the next one asks only for the rest."""
    dataset = cluster.data.from_items(rows(300))
    with simulated("default") as server:
        strategy = llm("openai-compatible:m", base_url=f"{server.url}/v1")

        class Enough(Exception):
            pass

        def stop_early(summary: br.RunSummary) -> None:
            if summary.rows >= 100:
                raise Enough

        def run(progress: Callable[[br.RunSummary], None] | None) -> Any:
            return br.run_dataset(
                dataset,
                strategy,
                journal=tmp_path / "run",
                workers=2,
                requests_per_minute=3_000,
                concurrency=5,
                block_rows=20,
                progress=progress,
            )

        with pytest.raises(Enough):
            run(stop_early)
        ended = br.last_summary(tmp_path / "run")
        assert not ended.complete
        before = len(asked(server))
        assert before < 300
        out = run(None)
        assert out.count() == 300
        assert len(asked(server)) <= 300 + 2 * 5  # each worker had as many in flight
        assert len({entry.prompt for entry in asked(server)}) == 300


def test_workers_that_all_die_end_the_run(cluster: Any, tmp_path: Path) -> None:
    """With a message that says so; what ends them is in the row, not in the node."""

    async def exits(prompt: str) -> str:
        import os

        os._exit(1)

    dataset = cluster.data.from_items(rows(3))
    with pytest.raises(BatchError, match=r"workers have died"):
        br.run_dataset(
            dataset, from_callable(exits, version="1"), journal=tmp_path / "run", workers=1
        )
    assert br.last_summary(tmp_path / "run").workers_lost >= 3


def test_a_second_run_on_the_same_journal_is_refused(cluster: Any, tmp_path: Path) -> None:
    """While the first one goes on."""
    dataset = cluster.data.from_items(rows(40))
    refused = list[BaseException]()

    def second(summary: br.RunSummary) -> None:
        if not refused:
            with pytest.raises(JournalError, match="another run on this cluster") as error:
                br.run_dataset(dataset, "sim:default", journal=tmp_path / "run", workers=1)
            refused.append(error.value)

    out = br.run_dataset(
        dataset, "sim:default", journal=tmp_path / "run", workers=1, block_rows=10, progress=second
    )
    assert out.count() == 40
    assert refused


def test_jobs_that_give_the_same_name_share_a_quota(cluster: Any, tmp_path: Path) -> None:
    """A dataset and a gate of one's own."""
    from batchllm import run_batch_sync
    from batchllm.shared import SharedGate

    dataset = cluster.data.from_items(rows(20))
    with simulated("quota-noheaders?rpm=600") as server:
        strategy = llm("openai-compatible:m", base_url=f"{server.url}/v1")
        name = "a quota of this test"
        gate = SharedGate(br.RayLeases(name), requests_per_minute=600)
        own = [f"own {n}" for n in range(60)]

        def run_own() -> None:
            assert run_batch_sync(own, strategy, gate=gate).succeeded == 60

        thread = in_thread(run_own)
        out = br.run_dataset(
            dataset,
            strategy,
            journal=tmp_path / "run",
            workers=1,
            requests_per_minute=600,
            share=name,
        )
        thread.join()
        assert out.count() == 20
        assert not [entry for entry in asked(server) if entry.outcome == "refused"]
        with pytest.raises(ConfigError, match="900 requests"):
            run_batch_sync(
                own, strategy, gate=SharedGate(br.RayLeases(name), requests_per_minute=900)
            )
    cluster.kill(cluster.get_actor(name, namespace="batchllm"))
