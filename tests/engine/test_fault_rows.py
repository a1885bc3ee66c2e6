"""Faults of users' code, of readers and of second copies."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from batchllm.api import run_batch, stream_batch
from batchllm.core import (
    BaseMiddleware,
    Budget,
    Category,
    HedgeConfig,
    LLMCallStrategy,
    LLMWorkItem,
    Price,
    ProcessorConfig,
    RetryConfig,
)
from batchllm.engine import PostProcessor
from batchllm.testing import ScriptedStrategy

pytestmark = pytest.mark.anyio
ONCE = RetryConfig(max_attempts=1)


class Parses(ScriptedStrategy):
    """A strategy whose parser stumbles over one answer."""

    async def execute(self, prompt: Any, attempt: int, timeout: float, state: Any = None) -> Any:
        output, usage = await super().execute(prompt, attempt, timeout, state)
        if output == "p5":
            raise KeyError("answer")
        return output, usage


class Builds(BaseMiddleware):
    """Builds prompts, and stumbles over one item."""

    async def before_process(self, work_item: LLMWorkItem[Any, Any, Any]) -> Any:
        if work_item.prompt == "p3":
            raise LookupError("no field 'name' in row 3")


async def test_code_of_the_users_that_raises_fails_its_item_alone() -> None:
    """A prompt builder, a parser, a post-processor, a progress callback; the place is kept."""

    def save(result: Any) -> None:
        if result.item_id == "n7":
            raise ConnectionError("the database is gone")

    def report(done: int, total: int, item: str) -> None:
        if item == "n8":
            raise RuntimeError("the bar broke")

    result = await run_batch(
        [(f"n{n}", f"p{n}") for n in range(10)],
        Parses(),
        middlewares=[Builds()],
        post_processor=PostProcessor(save, inline=True),
        progress_callback=report,
        config=ProcessorConfig(retry=ONCE),
    )
    found = result.by_id()
    assert len(found) == 10
    assert {name for name, one in found.items() if not one.success} == {"n3", "n5"}
    assert found["n3"].error_category == Category.MIDDLEWARE
    assert "no field 'name' in row 3" in str(found["n3"].error)
    assert found["n5"].error_category == Category.BAD_OUTPUT
    for name, function in (("n3", "before_process"), ("n5", "execute")):
        error = found[name].exception
        assert error is not None
        places = []
        traceback = error.__traceback__
        while traceback is not None:
            places.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        assert function in places
    assert "the database is gone" in str(found["n7"].metadata)
    assert any("the bar broke" in text for text in result.warnings)


async def test_a_reader_of_one_item_a_minute_slows_the_run_and_times_nothing_out() -> None:
    """Finished and unread results are bounded, and an item's own time stands still meanwhile."""
    strategy = ScriptedStrategy()
    config = ProcessorConfig(max_workers=4, timeout_per_item=5.0, retry=ONCE, window=8)
    read = 0
    async with stream_batch([str(n) for n in range(60)], strategy, config=config) as run:
        async for result in run:
            assert result.success
            await anyio.sleep(60.0)
            read += 1
            assert len(strategy.calls) - read <= 8 + 4
    assert read == 60


class Twice(LLMCallStrategy[str]):
    """A call that takes ten seconds, and whose second copy, made after five, takes *seconds*."""

    price = Price(input=1.0, output=1_000_000.0)

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = seconds
        self.calls = 0

    async def execute(self, prompt: str, attempt: int, timeout: float) -> tuple[str, Any]:
        self.calls += 1
        await anyio.sleep(10.0 if self.calls == 1 else self.seconds)
        return prompt, {"input_tokens": 0, "output_tokens": 1}


HEDGED = ProcessorConfig(
    max_workers=5, hedge=HedgeConfig(delay=5.0, min_delay=0.0, min_samples=0, max_share=1.0)
)


@pytest.mark.parametrize("seconds", [4.9, 5.0, 5.1])
async def test_two_copies_that_end_together_are_one_result_and_both_are_paid(
    seconds: float,
) -> None:
    """One of them wins; what the other cost, or may have, is in the books."""
    strategy = Twice(seconds)
    seen: list[str] = []
    result = await run_batch(
        ["p"],
        strategy,
        config=HEDGED,
        budget=Budget(max_cost=100_000.0),
        post_processor=PostProcessor(lambda one: seen.append(one.item_id), inline=True),
    )
    assert (result.succeeded, strategy.calls, seen) == (1, 2, ["0"])
    budget = result.stats["budget"]
    both = result.results[0].cost == 2.0
    assert both or budget["uncertain_cost"] > 0
    assert budget["cost"] >= 2.0
    assert budget["reserved_cost"] == 0.0
