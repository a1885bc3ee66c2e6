"""Our own connections against the simulator's server, over loopback, in real time."""

import threading

import anyio
import pytest

from batchllm.core import MalformedResponseError, ProviderError, TransportError
from batchllm.llm_strategies import from_callable, llm
from batchllm.simulator import Simulator, serve
from batchllm.transport import HttpClient
from tests.e2e.patience import PATIENCE, until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_match_their_prompts(stream: bool) -> None:
    """Many calls at once over re-used connections each get the answer to their own prompt."""
    simulator = Simulator("instant")
    answers: dict[int, str] = {}
    async with serve(simulator) as server:
        strategy = llm("openai-compatible:m", base_url=f"{server.url}/v1", stream=stream)
        await strategy.prepare()

        async def ask(number: int) -> None:
            prompt = f"[[answer:number {number}]]"
            answers[number] = (await strategy.execute(prompt, 1, 10.0))[0]

        for start in (0, 20):
            async with anyio.create_task_group() as group:
                for number in range(start, start + 20):
                    group.start_soon(ask, number)
        await strategy.cleanup()
    assert answers == {number: f"number {number}" for number in range(40)}
    assert {entry.outcome for entry in simulator.log.entries} == {"ok"}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("disconnect", TransportError),
        ("disconnect-body=20", TransportError),
        ("500", ProviderError),
        ("malformed-body", MalformedResponseError),
        ("stream-error", ProviderError),
    ],
)
async def test_faults_on_the_wire_are_told(fault: str, error: type[Exception]) -> None:
    """A break on real sockets gives the error that it gives in process, and the next call works."""
    async with serve(Simulator("instant")) as server:
        strategy = llm("openai-compatible:m", base_url=f"{server.url}/v1", stream=True)
        with pytest.raises(error):
            await strategy.execute(f"[[fault:{fault}]]", 1, 10.0)
        assert (await strategy.execute("[[answer:fine]]", 1, 10.0))[0] == "fine"
        await strategy.cleanup()


async def test_nobody_listening_is_told() -> None:
    """A refused connection says that nothing was sent, and what to check."""
    async with serve(Simulator("instant")) as server:
        url = server.url
    client = HttpClient(base_url=url)
    with pytest.raises(TransportError, match=r"could not connect to 127\.0\.0\.1") as caught:
        await client.request_json("POST", "/v1/chat/completions", b"{}")
    assert not caught.value.sent
    await client.aclose()


@pytest.mark.parametrize("fault", ["stall", "stall-head", "stall-body"])
async def test_a_cancelled_call_lets_go(fault: str) -> None:
    """A call that hangs ends when it is cancelled, and the server sees the client leave."""
    simulator = Simulator("instant")
    async with serve(simulator) as server:
        strategy = llm("openai-compatible:m", base_url=f"{server.url}/v1", stream=True)
        async with anyio.create_task_group() as group:
            group.start_soon(strategy.execute, f"[[fault:{fault}]]", 1, PATIENCE)
            await until(lambda: len(simulator.log) == 1)
            group.cancel_scope.cancel()
        assert (await strategy.execute("[[answer:fine]]", 1, 10.0))[0] == "fine"
        await strategy.cleanup()
    assert simulator.log.entries[0].outcome == "aborted"


async def test_leaving_a_stream_half_way_leaves_nothing_open() -> None:
    """A reader that leaves early closes the connection, with no warning left behind."""
    async with serve(Simulator("default?per_token=0.02&tokens=200")) as server:
        client = HttpClient(base_url=f"{server.url}/v1")
        body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}'
        async with client.stream("/chat/completions", body) as stream:
            async for piece in stream:
                assert piece.startswith(b"data:")
                break
        await client.aclose()


async def test_a_sync_function_runs_in_a_thread() -> None:
    """A blocking function does not block the loop, and its call can be given up."""
    main, release = threading.get_ident(), threading.Event()

    def answer(prompt: str) -> bool:
        return release.wait(PATIENCE) and threading.get_ident() != main

    strategy = from_callable(answer)
    with anyio.move_on_after(0.01) as scope:
        await strategy.execute("p", 1, 1.0)
    assert scope.cancelled_caught
    release.set()
    assert (await strategy.execute("p", 1, 1.0))[0] is True
