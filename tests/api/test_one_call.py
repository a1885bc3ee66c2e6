"""Single calls: what they refuse, and what they advise where there are many of them."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from batchllm.api import BatchRun, ParallelBatchProcessor, call, call_result, open_pool, run_batch
from batchllm.core import InvalidItemError, LLMWorkItem
from batchllm.testing import Answer, ScriptedStrategy

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("prompt", [123, None, [], ["a", "b"]])
async def test_a_prompt_is_checked_as_in_a_batch(prompt: Any) -> None:
    """A single call sends no prompt that a batch refuses."""
    strategy = ScriptedStrategy()
    with pytest.raises(InvalidItemError, match=r"^the prompt is .*; give a text"):
        await call(prompt, strategy)
    with pytest.raises(InvalidItemError, match=r"^the prompt is "):
        await call_result(prompt, strategy)
    async with open_pool(strategy) as pool:
        with pytest.raises(InvalidItemError, match=r"^the prompt is "):
            await pool.call(prompt)
    assert strategy.calls == []


async def test_a_loop_of_calls_is_told_once_of_the_pool() -> None:
    """The tenth call of one strategy warns, at the caller's own line; no other does."""
    strategy, other = ScriptedStrategy(), ScriptedStrategy()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(9):
            await call("a", strategy)
            await call("a", other)
        assert caught == []
        for _ in range(9):
            await call_result("a", strategy)
    (told,) = caught
    assert "open_pool(strategy)" in str(told.message)
    assert told.filename == __file__
    assert not any("lone" in name for name in strategy.identity())


async def test_a_strategy_that_can_carry_no_count() -> None:
    """One that is made for each call earns no warning."""

    async def shout(prompt: str) -> str:
        return prompt.upper()

    assert [await call("a", shout) for _ in range(12)] == ["A"] * 12


async def test_what_runs_shows_its_counts() -> None:
    """A run, a pool and a processor say how far they are."""
    strategy = ScriptedStrategy(Answer("yes"))
    run = BatchRun[Any]()
    assert repr(run) == "<BatchRun: not started>"
    await run_batch(["a", "b"], strategy, into=run)
    assert repr(run) == "<BatchRun: done, 2 done: 2 succeeded, 0 failed>"
    async with open_pool(strategy) as pool:
        await pool.call("a")
        assert repr(pool) == (
            "<Pool: open, 0 calls in flight or waiting, 1 done: 1 succeeded, 0 failed>"
        )
    assert repr(pool).startswith("<Pool: ended, ")
    async with ParallelBatchProcessor[Any, Any, Any](strategy=strategy) as processor:
        await processor.add_work(LLMWorkItem("a", None, "a"))
        assert repr(processor).startswith("<ParallelBatchProcessor: idle, 1 items wait, 0 done")
        await processor.process_all()
        assert "idle, 0 items wait, 1 done: 1 succeeded" in repr(processor)
    assert repr(processor).startswith("<ParallelBatchProcessor: cleaned up")
