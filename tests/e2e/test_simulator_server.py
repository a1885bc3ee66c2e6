"""The simulator over real sockets, in real time."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from batchllm.simulator import Simulator, SimulatorLog, SimulatorServer, run_server, serve
from tests.e2e.patience import PATIENCE, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Give the backend as it is: sockets need real time."""
    return str(request.param)


def client_of(server: SimulatorServer, read_timeout: float = PATIENCE) -> httpx.AsyncClient:
    timeout = httpx.Timeout(PATIENCE, read=read_timeout)
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
    return httpx.AsyncClient(base_url=f"{server.url}/v1", timeout=timeout, limits=limits)


def chat(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}


def arrived(simulator: Simulator, count: int) -> bool:
    return len(simulator.log) >= count


async def test_requests_are_answered_and_logged(tmp_path: Path) -> None:
    """Client and server count the same requests and tokens; the log's file is there to be read."""
    path = tmp_path / "log.jsonl"
    simulator = Simulator("instant?faults=0.1:500", log=SimulatorLog(path))
    tokens: list[int] = []

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        got = await client.post("/chat/completions", json=chat(f"p{number}"))
        if got.status_code == 200:
            tokens.append(got.json()["usage"]["total_tokens"])

    async with serve(simulator) as server, client_of(server) as client:
        async with anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(ask, client, number)
        stats = (await client.get(f"{server.url}/__sim/stats")).json()
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert stats["requests"] == len(rows) == 60
    assert stats["outcomes"]["ok"] == len(tokens) < 60
    assert stats["input_tokens"] + stats["output_tokens"] == sum(tokens)
    assert {row["prompt"] for row in rows} == {f"p{number}" for number in range(60)}


async def test_a_stream_arrives_while_it_is_made() -> None:
    """The first piece is there before the last is sent."""
    simulator = Simulator("instant?per_token=0.05")
    async with serve(simulator) as server, client_of(server) as client:
        body = chat("[[answer:a b c d e f]][[fault:gzip]]", stream=True)
        async with client.stream("POST", "/chat/completions", json=body) as got:
            under_way = [simulator.log.summary()["in_flight"] async for _ in got.aiter_text()]
    assert under_way[0] == 1
    assert len(under_way) > 1


@pytest.mark.parametrize("fault", ["connect", "disconnect", "disconnect-body=20"])
async def test_a_lost_connection_hurts_one_request_only(fault: str) -> None:
    """The request fails with a reset, the next one is answered."""
    async with serve(Simulator("instant")) as server, client_of(server) as client:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await client.post("/chat/completions", json=chat(f"[[fault:{fault}]]"))
        assert (await client.post("/chat/completions", json=chat("x"))).status_code == 200


@pytest.mark.parametrize("fault", ["stall", "stall-head", "stall-body=20"])
async def test_a_client_that_gives_up_is_noticed(fault: str) -> None:
    """A stalled reply ends in the log when its client leaves."""
    simulator = Simulator("instant")
    async with serve(simulator) as server, client_of(server, read_timeout=0.1) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/chat/completions", json=chat(f"[[fault:{fault}]]"))
        await until(lambda: arrived(simulator, 1) and simulator.log.summary()["in_flight"] == 0)
    assert simulator.log.entries[0].outcome == "aborted"


async def test_leaving_lets_replies_end_within_their_grace() -> None:
    """Requests under way when the server closes are answered; nothing new is accepted."""
    simulator = Simulator("instant")
    statuses: list[int] = []

    async def ask(client: httpx.AsyncClient) -> None:
        got = await client.post("/chat/completions", json=chat("[[latency:0.2]]"))
        statuses.append(got.status_code)

    async with anyio.create_task_group() as group:
        async with serve(simulator, grace=5) as server:
            client = client_of(server)
            group.start_soon(ask, client)
            await until(partial(arrived, simulator, 1))
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{server.url}/__sim/stats")
    await client.aclose()
    assert statuses == [200]


async def test_grace_has_an_end() -> None:
    """A reply that takes longer than the grace is cut, a stall does not even have it.

    Either would take an hour, if it had not.
    """
    simulator = Simulator("instant")

    async def ask(client: httpx.AsyncClient, prompt: str) -> None:
        with pytest.raises(httpx.TransportError):
            await client.post("/chat/completions", json=chat(prompt))

    for prompt, grace in (("[[latency:3600]]", 0.1), ("[[fault:stall]]", 3600)):
        seen = len(simulator.log)
        async with anyio.create_task_group() as group, serve(simulator, grace=grace) as server:
            client = client_of(server)
            group.start_soon(ask, client, prompt)
            await until(partial(arrived, simulator, seen + 1))
        await client.aclose()
    assert simulator.log.summary()["outcomes"] == {"aborted": 2}


async def test_a_server_is_started_in_a_task_group() -> None:
    """`group.start` hands back where it listens; a taken port is an error that says so."""
    simulator = Simulator("instant")
    async with anyio.create_task_group() as group:
        server = await group.start(run_server, simulator)
        async with client_of(server) as client:
            assert (await client.post("/chat/completions", json=chat("x"))).status_code == 200
        with pytest.raises(OSError, match="in use"):
            await run_server(simulator, server.host, server.port)
        group.cancel_scope.cancel()
    assert SimulatorServer(simulator, "::1", 80).url == "http://[::1]:80"


async def test_many_connections_at_once() -> None:
    """Three hundred requests are under way together, each on a connection of its own."""
    simulator = Simulator("instant")

    async def ask(server: SimulatorServer, prompt: str) -> None:
        content = json.dumps(chat(prompt)).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            await stream.send(head % len(content) + content)
            assert (await stream.receive()).startswith(b"HTTP/1.1 200")

    async with serve(simulator) as server:
        for prompt in ("[[answer:yes]]", "[[latency:3600]]"):
            async with anyio.create_task_group() as group:
                for _ in range(300):
                    group.start_soon(ask, server, prompt)
                if "latency" in prompt:
                    await until(lambda: simulator.log.summary()["in_flight"] == 300)
                    group.cancel_scope.cancel()
        await until(lambda: simulator.log.summary()["in_flight"] == 0)
    assert simulator.log.summary()["outcomes"] == {"ok": 300, "aborted": 300}
