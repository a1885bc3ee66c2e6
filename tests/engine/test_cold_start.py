"""A start against an unknown quota goes no faster than connections are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.abc import ByteStream

from batchllm import llm
from batchllm.api import run_batch
from batchllm.core import ProcessorConfig
from batchllm.simulator.pipe import _pipe
from batchllm.testing import Answer, ScriptedStrategy
from batchllm.transport import HttpTransport

pytestmark = pytest.mark.anyio

ANSWER = b'{"choices": [{"message": {"content": "An answer."}, "finish_reason": "stop"}]}'
REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)


async def openings(connect_seconds: float, calls: int) -> list[float]:
    """Return when each of so many calls of half a minute began to open its connection."""
    began = anyio.current_time()
    opened: list[float] = []
    async with anyio.create_task_group() as group:

        async def serve(stream: ByteStream) -> None:
            async with stream:
                async for _ in stream:
                    await anyio.sleep(30.0)
                    await stream.send(REPLY)

        async def connect() -> ByteStream:
            opened.append(anyio.current_time() - began)
            await anyio.sleep(connect_seconds)
            mine, theirs = _pipe()
            group.start_soon(serve, theirs)
            return mine

        opens: Callable[[], Awaitable[ByteStream]] = connect
        async with HttpTransport(connect=opens) as http:
            strategy = llm(
                "openai-compatible:m", base_url="http://api.test/v1", api_key="key", http=http
            )
            config = ProcessorConfig(max_workers=calls)
            result = await run_batch([str(n) for n in range(calls)], strategy, config=config)
            stats = result.stats["connections"]
        assert result.succeeded == calls
        assert stats["connect_seconds"] == pytest.approx(connect_seconds)
        group.cancel_scope.cancel("the test is over")
    return opened


async def test_calls_in_flight_double_in_a_quarter_of_a_second_where_connecting_is_quick() -> None:
    """Eight at once, 64 after three doublings, although no answer has come."""
    opened = await openings(0.05, 64)
    assert opened[7] == pytest.approx(0.0)
    assert [opened[15], opened[31], opened[63]] == pytest.approx([0.25, 0.5, 0.75], abs=0.02)


async def test_they_double_in_four_times_the_time_to_connect_where_that_is_longer() -> None:
    """It is known as soon as the first connection is made, long before the first answer."""
    opened = await openings(0.5, 64)
    assert [opened[15], opened[31]] == pytest.approx([0.25, 0.5], abs=0.02)
    assert opened[63] == pytest.approx(2.5, abs=0.05)


async def test_statistics_that_are_none_of_ours_teach_nothing() -> None:
    """A user's method of that name does not end the run, nor keep the permit of its call."""

    class Odd(ScriptedStrategy):
        def connection_stats(self) -> dict[int, str]:
            return {1: "many"}

    result = await run_batch([str(n) for n in range(30)], Odd(Answer(after=1.0)), concurrency=30)
    assert result.succeeded == 30
    assert (result.stats["in_flight"], result.stats["connections"]["opened"]) == (0, 0)
