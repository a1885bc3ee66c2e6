"""Four clocks: the attempt's, the item's stopwatch, the wall clock, and the batch's."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import (
    Category,
    FrameworkTimeoutError,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessorConfig,
    ProviderError,
    RetryConfig,
    ServerHint,
    StallError,
)
from batchllm.engine.item import ItemRun
from batchllm.testing import Answer, Hang, Raise, ScriptedStrategy

pytestmark = pytest.mark.anyio

RETRY = RetryConfig(max_attempts=3, jitter=False)


def item_run(**more: Any) -> ItemRun:
    return ItemRun(LLMWorkItem("a"), 0, 0.0, **more)


def test_stopwatch() -> None:
    """It runs during calls, once for those that overlap, and during backoff."""
    item = item_run(limit=100.0)
    item.start_clock(10.0)
    item.start_clock(15.0)
    assert item.left(20.0) == 90.0
    item.stop_clock(20.0)
    item.stop_clock(30.0)
    assert item.left(1000.0) == 80.0
    item.spend(5.0)
    assert item.left(1000.0) == 75.0
    assert item.bound(1000.0) == ("timeout_per_item", 100.0)


def test_wall_clock() -> None:
    """The deadline bounds what is left, whether or not the stopwatch runs."""
    item = item_run(limit=100.0, deadline=30.0)
    assert item.left(10.0) == 20.0
    assert item.bound(10.0) == ("deadline_per_item", 30.0)


async def test_attempt_timeout_is_retried() -> None:
    """One attempt that takes too long is followed by another."""
    strategy = ScriptedStrategy([Hang(), Answer("ok")])
    config = ProcessorConfig(attempt_timeout=3.0, retry=RETRY)
    result = (await run_batch(["p"], strategy, config=config)).results[0]
    assert (result.output, result.attempts) == ("ok", 2)
    assert [call.timeout for call in strategy.calls] == [3.0, 3.0]
    assert str(strategy.errors[0][0]).startswith("Framework timeout after 3.0s")


async def test_item_timeout_is_final() -> None:
    """The time left shrinks from attempt to attempt, and its end is the item's."""
    strategy = ScriptedStrategy([Raise(ConnectionError, after=4.0), Hang()])
    config = ProcessorConfig(timeout_per_item=10.0, retry=RETRY)
    batch = await run_batch(["p"], strategy, config=config)
    (result,) = batch.results
    assert [call.timeout for call in strategy.calls] == [10.0, 5.0]
    assert isinstance(result.exception, FrameworkTimeoutError)
    assert result.exception.final
    assert "timeout_per_item" in str(result.error)
    assert (result.error_category, result.attempts) == (Category.TIMEOUT, 2)
    assert batch.wall_time == 10.0


async def test_no_time_for_the_backoff() -> None:
    """An attempt that could not follow in time is not waited for."""
    strategy = ScriptedStrategy(Raise(lambda: ConnectionError("reset"), after=9.5))
    config = ProcessorConfig(timeout_per_item=10.0, retry=RETRY)
    batch = await run_batch(["p"], strategy, config=config)
    assert batch.wall_time == 9.5
    assert batch.results[0].error_category == Category.CONNECTION
    assert "no time for another attempt within timeout_per_item (10 s)" in str(
        batch.results[0].error
    )


async def test_shared_waiting_does_not_count() -> None:
    """A cooldown of a minute, and the line for a call, leave the item's clock alone."""
    limit = Raise(lambda: ProviderError("slow", status=429, hint=ServerHint(wait=60.0)), after=1.0)
    strategy = ScriptedStrategy([limit, Answer("ok", after=2.0)])
    config = ProcessorConfig(max_workers=1, timeout_per_item=5.0, retry=RETRY)
    batch = await run_batch(["a", "b", "c"], strategy, config=config)
    assert batch.succeeded == 3
    assert batch.wall_time > 60.0


async def test_wall_clock_deadline_counts_everything() -> None:
    """With ``deadline_per_item`` the cooldown counts, and the item does not wait beyond it."""
    limit = Raise(lambda: ProviderError("slow", status=429, hint=ServerHint(wait=60.0)))
    strategy = ScriptedStrategy([limit, Answer("ok")])
    config = ProcessorConfig(deadline_per_item=10.0, retry=RETRY)
    batch = await run_batch(["p"], strategy, config=config)
    assert batch.wall_time == 10.0
    assert "deadline_per_item" in str(batch.results[0].error)
    assert len(strategy.calls) == 1


async def test_items_own_timeout() -> None:
    """An item's ``timeout`` goes before the batch's."""
    strategy = ScriptedStrategy(Hang())
    item: Any = LLMWorkItem("a", strategy, "p", timeout=2.0)
    assert (await run_batch([item])).wall_time == 2.0


async def test_batch_timeout_is_told_to_calls() -> None:
    """A call is told how long the batch has left, and is cancelled then, not timed out."""
    strategy = ScriptedStrategy(Hang())
    config = ProcessorConfig(batch_timeout=7.0, retry=RETRY)
    batch = await run_batch(["p"], strategy, config=config)
    assert [call.timeout for call in strategy.calls] == [7.0]
    assert batch.results[0].error_category == Category.CANCELLED
    assert strategy.errors == []


class Streaming(LLMCallStrategy[Any]):
    """Marks progress, with a gap of so many seconds before each piece."""

    def __init__(self, *gaps: float) -> None:
        self.gaps = gaps

    async def execute(self, prompt: Any, attempt: int, timeout: float, state: Any) -> Any:
        state.progress()
        for gap in self.gaps:
            await anyio.sleep(gap)
            state.progress()
        return "all", None


@pytest.mark.parametrize(
    ("gaps", "error"),
    [
        ((2.9, 2.9, 2.9, 2.9), None),
        ((1.0, 3.1), StallError),
        ((3.1,), StallError),
        ((2.5,) * 9, FrameworkTimeoutError),
    ],
)
async def test_stall(gaps: tuple[float, ...], error: type[Exception] | None) -> None:
    """Each mark grants the next gap, never beyond the attempt's own time."""
    config = ProcessorConfig(
        stall_timeout=3.0, attempt_timeout=20.0, retry=RetryConfig(max_attempts=1)
    )
    result = (await run_batch(["p"], Streaming(*gaps), config=config)).results[0]
    assert (None if error is None else error) is (result.exception and type(result.exception))


async def test_progress_without_a_stall_timeout() -> None:
    """A mark does nothing then."""
    result = (await run_batch(["p"], Streaming(50.0, 50.0))).results[0]
    assert result.output == "all"


async def test_a_strategy_unmarked_is_not_stalled() -> None:
    """The stall clock starts with the first mark."""
    config = ProcessorConfig(stall_timeout=1.0)
    result = await run_batch(["p"], ScriptedStrategy(Answer("ok", after=9.0)), config=config)
    assert result.succeeded == 1


async def test_an_item_whose_own_timeout_is_too_short_is_warned_of_once() -> None:
    """The waits between its attempts alone would take longer."""
    items = [LLMWorkItem(f"n{n}", prompt="p", timeout=2.0) for n in range(3)]
    items.append(LLMWorkItem("one", prompt="p", timeout=0.5, max_attempts=1))
    result = await run_batch(items, ScriptedStrategy(), concurrency=1)
    assert [text for text in result.warnings if "too short" in text] == [
        "item 'n0': its timeout may be too short: timeout is 2 s, and the waits between 3 attempts "
        "alone add up to 3 s; raise timeout or lower retry.max_attempts or max_wait (said once)"
    ]
    alone = await run_batch(items[-1:], ScriptedStrategy())
    assert not alone.warnings
