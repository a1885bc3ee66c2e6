"""Cancelled by asyncio's own means and not by a scope: it ends the work and is no error of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from batchllm import (
    LLMCallStrategy,
    LLMWorkItem,
    ParallelBatchProcessor,
    open_pool,
    run_batch,
)

pytestmark = pytest.mark.anyio


only_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


async def slow(prompt: str) -> str:
    """Answer after a minute."""
    await anyio.sleep(60)
    return prompt


async def drip() -> AsyncIterator[str]:
    """Give one prompt at once, the second much later."""
    yield "a"
    await anyio.sleep(600)
    yield "b"


async def in_a_pool() -> Any:
    """Make one call in a pool."""
    async with open_pool(slow) as pool:
        return await pool.call_result("a")


async def in_a_processor() -> Any:
    """Process one item that was added."""
    async with ParallelBatchProcessor[Any, Any, Any](strategy=slow) as processor:
        await processor.add_work(LLMWorkItem("a", prompt="a"))
        return await processor.process_all()


async def from_a_slow_source() -> Any:
    """Run a batch whose source is being waited for."""
    return await run_batch(drip(), slow)


@only_asyncio
@pytest.mark.parametrize("face", [in_a_pool, in_a_processor, from_a_slow_source])
async def test_a_native_timeout_ends_the_work_at_once(face: Callable[[], Awaitable[Any]]) -> None:
    """``asyncio.timeout`` neither becomes a failed result nor lets calls in flight finish."""
    before = anyio.current_time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await face()
    assert anyio.current_time() - before < 6


@only_asyncio
async def test_a_caller_that_is_cancelled_natively_leaves_the_pool_to_others() -> None:
    """The pool goes on, with the call's room given back."""
    async with open_pool(slow, concurrency=1, max_waiting=0) as pool:
        caller = asyncio.ensure_future(pool.call("a"))
        await anyio.sleep(1)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert await pool.call("b") == "b"


class Careful(LLMCallStrategy[str]):
    """Takes a second to let go of a call, and notes what happens."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def execute(self, prompt: str, attempt: int, timeout: float) -> tuple[str, None]:
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            self.log.append("let go")
        return prompt, None

    async def cleanup(self) -> None:
        self.log.append("cleaned up")


async def test_a_pool_cleans_up_after_its_last_call() -> None:
    """An error in the block cancels the calls of other tasks, and waits for them."""
    strategy = Careful()

    async def caller(pool: Any) -> None:
        with pytest.raises(Exception, match="the pool has ended"):
            await pool.call("a")

    async with anyio.create_task_group() as tasks:
        with pytest.raises(KeyError):  # noqa: PT012
            async with open_pool(strategy) as pool:
                tasks.start_soon(caller, pool)
                await anyio.sleep(1)
                raise KeyError
        strategy.log.append("left")
    assert strategy.log == ["let go", "cleaned up", "left"]


async def test_a_pool_waits_for_the_post_processor_of_a_call() -> None:
    """When the block has been left, nothing of the pool still runs."""
    log: list[str] = []

    async def note(result: Any) -> None:
        await anyio.sleep(5)
        log.append("noted")

    async def answer(prompt: str) -> str:
        return prompt

    async with anyio.create_task_group() as tasks:
        async with open_pool(answer, post_processor=note) as pool:
            tasks.start_soon(pool.call, "a")
            await anyio.sleep(1)
        log.append("left")
    assert log == ["noted", "left"]
