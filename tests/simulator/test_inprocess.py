"""The simulator behind httpx's transport: virtual time, lost connections, patience."""

from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from batchllm.simulator import Simulator, SimulatorTransport

pytestmark = pytest.mark.anyio


def client_of(simulator: Simulator, timeout: float | None = None) -> httpx.AsyncClient:
    transport = SimulatorTransport(simulator)
    return httpx.AsyncClient(transport=transport, base_url="http://sim/v1", timeout=timeout)


def chat(prompt: str = "hi", **fields: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}


async def test_a_request_takes_the_time_of_its_reply() -> None:
    """The latency passes on the loop's own clock, and the answer is read as from a network."""
    simulator = Simulator("default?latency=30")
    async with client_of(simulator) as client:
        start = anyio.current_time()
        got = await client.post("/chat/completions", json=chat("[[answer:yes]]"))
        assert anyio.current_time() - start == pytest.approx(30)
    assert got.json()["choices"][0]["message"]["content"] == "yes"
    (row,) = simulator.log
    assert row.finished == pytest.approx(row.arrived + 30)
    assert row.outcome == "ok"


async def test_many_requests_are_under_way_at_once() -> None:
    """A hundred calls of ten seconds take ten seconds; the log knows how many there were."""
    simulator = Simulator("default?latency=10")
    async with client_of(simulator) as client:
        start = anyio.current_time()
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(post, client, f"p{number}")
        assert anyio.current_time() - start == pytest.approx(10)
    assert simulator.log.summary()["most_in_flight"] == 100


async def post(client: httpx.AsyncClient, prompt: str) -> None:
    await client.post("/chat/completions", json=chat(prompt))


async def test_a_stream_comes_piece_by_piece() -> None:
    """The pieces of a stream arrive at their times; gzip is undone by the client."""
    simulator = Simulator("default?latency=1&per_token=0.5")
    async with client_of(simulator) as client:
        request = client.build_request(
            "POST", "/chat/completions", json=chat("[[answer:a b c]][[fault:gzip]]", stream=True)
        )
        start = anyio.current_time()
        got = await client.send(request, stream=True)
        arrivals = [anyio.current_time() - start async for _ in got.aiter_text()]
        await got.aclose()
    assert arrivals[:3] == [pytest.approx(1), pytest.approx(1.5), pytest.approx(2)]
    assert simulator.log.entries[0].outcome == "ok"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("connect", httpx.ConnectError),
        ("disconnect", httpx.RemoteProtocolError),
        ("disconnect-body=5", httpx.ReadError),
    ],
)
async def test_a_lost_connection_is_httpx_own_error(
    fault: str, error: type[httpx.TransportError]
) -> None:
    """The failure is raised as a real transport would, and the log does not call it aborted."""
    simulator = Simulator()
    async with client_of(simulator) as client:
        with pytest.raises(error):
            await client.post("/chat/completions", json=chat(f"[[fault:{fault}]]"))
    (row,) = simulator.log
    assert (row.outcome, row.fault) == ("fault", fault.partition("=")[0])
    assert row.finished is not None


@pytest.mark.parametrize("fault", ["stall", "stall-head", "stall-body=5"])
async def test_patience_ends_a_stall(fault: str) -> None:
    """A read timeout of three seconds ends after three seconds of silence."""
    simulator = Simulator("default?latency=1")
    async with client_of(simulator, timeout=3) as client:
        start = anyio.current_time()
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/chat/completions", json=chat(f"[[fault:{fault}]]"))
        assert anyio.current_time() - start == pytest.approx(4)
    assert simulator.log.entries[0].outcome == "aborted"


async def test_latency_beyond_patience_is_a_timeout() -> None:
    """A slow first byte is not waited for longer than the client wants."""
    async with client_of(Simulator("default?latency=10"), timeout=3) as client:
        with pytest.raises(httpx.ReadTimeout, match="nothing received for 3 s"):
            await client.post("/chat/completions", json=chat())


@pytest.mark.parametrize("prompt", ["[[fault:stall]]", "[[fault:stall-head]]", "slow"])
async def test_a_cancelled_request_is_logged_as_aborted(prompt: str) -> None:
    """Cancellation goes through at once and frees what the request held."""
    simulator = Simulator("default?latency=5&concurrency=1")
    async with client_of(simulator) as client:
        with anyio.move_on_after(8 if "stall" in prompt else 2) as scope:
            await client.post("/chat/completions", json=chat(prompt))
        assert scope.cancelled_caught
        assert simulator.log.entries[0].outcome == "aborted"
        assert (await client.post("/chat/completions", json=chat("next"))).status_code == 200
    assert simulator.log.summary()["in_flight"] == 0


async def test_a_reader_that_leaves_a_stream_is_logged_as_aborted() -> None:
    """Closing a reply before its end is noticed; closing it again changes nothing."""
    simulator = Simulator("default?per_token=1")
    request = httpx.Request("POST", "http://sim/v1/chat/completions", json=chat(stream=True))
    got = await SimulatorTransport(simulator).handle_async_request(request)
    assert isinstance(got.stream, httpx.AsyncByteStream)
    await anext(aiter(got.stream))
    await got.stream.aclose()
    await got.stream.aclose()
    assert simulator.log.entries[0].outcome == "aborted"
    assert simulator.log.summary()["outcomes"] == {"aborted": 1}


async def test_the_body_of_a_request_may_be_streamed() -> None:
    """A request body that comes in pieces is put together."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model": "m", "messages": '
        yield b'[{"role": "user", "content": "hi"}]}'

    async with client_of(Simulator()) as client:
        got = await client.post("/chat/completions", content=pieces())
    assert got.status_code == 200
