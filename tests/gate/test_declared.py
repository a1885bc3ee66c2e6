"""Limits that are declared, through the whole engine: never exceeded, and well used."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from batchllm.api import ParallelBatchProcessor, run_batch, stream_batch
from batchllm.core import (
    CallCost,
    CallTooLargeError,
    Category,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessorConfig,
    TokenUsage,
)
from batchllm.engine import DRAIN
from batchllm.gate import Gate
from batchllm.policy import Limit
from batchllm.testing import Answer, ScriptedStrategy
from tests.engine.faces import after, run_face
from tests.gate.kit import most_within, provider, refused, sent

pytestmark = pytest.mark.anyio

Work = LLMWorkItem[Any, Any, Any]


def prompts(count: int) -> list[tuple[str, str]]:
    return [(f"i{n}", f"p{n}") for n in range(count)]


class Counted(LLMCallStrategy[str]):
    """Reports ten tokens in and *output* out, and estimates nothing unless told to."""

    def __init__(self, output: int = 20, cost: Any = None) -> None:
        self.output = output
        self.cost = cost
        self.asked = 0
        self.times: list[float] = []

    def estimate(self, prompt: Any) -> CallCost | None:
        self.asked += 1
        return self.cost  # type: ignore[no-any-return]

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> tuple[str, TokenUsage]:
        self.times.append(anyio.current_time())
        await anyio.sleep(0.2)
        return prompt, {"input_tokens": 10, "output_tokens": self.output}


@pytest.mark.parametrize(
    "quota", ["bucket&burst=2", "sliding", "fixed", "counting", "sliding&window=10"]
)
async def test_declared_requests_are_never_refused_and_well_used(quota: str) -> None:
    """However the server counts, its log has no refusal, and the quota is used."""
    strategy, simulator = provider(f"quota-nohint?rpm=120&enforcement={quota}")
    window = 10.0 if "window" in quota else None
    gate = Gate(limits=[Limit("requests", 120, window=window)], seed=1)
    result = await run_batch(prompts(360), strategy, concurrency=20, gate=gate)
    assert result.succeeded == len(simulator.log) == 360
    assert refused(simulator) == []
    assert result.wall_time <= 180 * (1.06 if window else 1.015)
    assert result.stats["held_back"]["quota"] > 0.9 * result.wall_time


async def test_requests_declared_in_the_configuration_hold_over_all_scopes() -> None:
    """``max_requests_per_minute`` is the run's, whichever models it asks."""
    strategies = [provider("quota-nohint?rpm=1000") for _ in range(2)]
    items: list[Work] = [LLMWorkItem(f"i{n}", strategies[n % 2][0], "p") for n in range(360)]
    config = ProcessorConfig(max_workers=20, max_requests_per_minute=120)
    result = await run_batch(items, config=config)
    assert result.succeeded == 360
    times = sorted(at for _, simulator in strategies for at in sent(simulator))
    assert most_within(times, 60.0) <= 120
    assert times[-1] == pytest.approx(180, rel=0.03)
    assert result.stats["own_limits"].limits[0].amount == 120


async def test_tokens_declared_are_never_refused_and_well_used() -> None:
    """Nobody estimates, so the run guesses, and learns from what is reported."""
    strategy, simulator = provider(
        "instant?latency=0.5&tpm=3000&tokens=30&reserved_output=40&headers=false&hints=false"
    )
    config = ProcessorConfig(max_workers=20, max_tokens_per_minute=3_000)
    result = await run_batch(prompts(450), strategy, config=config)
    assert result.succeeded == 450
    assert refused(simulator) == []
    used = result.total_input_tokens + result.total_output_tokens
    assert used / (result.wall_time / 60) >= 0.9 * 3_000


async def test_without_a_limit_on_tokens_nobody_is_asked_for_an_estimate() -> None:
    """The open path costs nothing."""
    strategy = Counted()
    await run_batch(prompts(10), strategy)
    assert strategy.asked == 0
    await run_batch(prompts(10), strategy, config=ProcessorConfig(max_tokens_per_minute=10**6))
    assert strategy.asked == 10


async def test_the_strategys_own_estimate_counts() -> None:
    """500 tokens each at 1,000 a minute: two a minute, refunds apart."""
    strategy = Counted(output=490, cost=CallCost(1, 10, 490))
    config = ProcessorConfig(max_workers=10, max_tokens_per_minute=1_000)
    result = await run_batch(prompts(6), strategy, config=config)
    assert result.succeeded == 6
    assert most_within(sorted(strategy.times), 60.0) == 2


async def test_a_wrong_estimate_fails_its_item() -> None:
    """An estimate that is no cost is a program error that names the type."""
    config = ProcessorConfig(max_tokens_per_minute=1_000)
    result = await run_batch(prompts(1), Counted(cost=5), config=config)
    assert result.results[0].error_category == Category.PROGRAM_ERROR
    assert "estimate() returned int" in (result.results[0].error or "")


async def test_an_item_that_can_never_fit_fails_at_once() -> None:
    """No waiting, no call, no retry; the others go on."""
    large, small = Counted(cost=CallCost(1, 5_000)), Counted(cost=CallCost(1, 5))
    items: list[Work] = [
        LLMWorkItem("large", large, "p"),
        *(LLMWorkItem(f"s{n}", small) for n in range(5)),
    ]
    config = ProcessorConfig(max_workers=2, max_tokens_per_minute=1_000)
    result = await run_batch(items, config=config)
    failed = result.by_id()["large"]
    assert failed.error_category == Category.TOO_LARGE
    assert isinstance(failed.exception, CallTooLargeError)
    assert "5,000 tokens" in (failed.error or "")
    assert (failed.attempts, large.times, result.succeeded) == (0, [], 5)
    assert failed.timing.total == 0.0


async def test_a_mere_guess_of_the_output_fails_nobody() -> None:
    """A limit smaller than the guess leaves room for one call at a time."""
    result = await run_batch(
        prompts(3), Counted(), config=ProcessorConfig(max_tokens_per_minute=200)
    )
    assert result.succeeded == 3
    text = "x" * 8_000
    result = await run_batch(
        [("a", text)], Counted(), config=ProcessorConfig(max_tokens_per_minute=200)
    )
    assert result.results[0].error_category == Category.TOO_LARGE


async def test_limits_that_change_keep_what_was_sent() -> None:
    """Assigning the cap does not forget the last minute's calls; a new limit holds at once."""
    strategy = Counted()
    config = ProcessorConfig(max_workers=5, max_requests_per_minute=60)
    async with ParallelBatchProcessor[str, str, None](config=config) as processor:
        for n in range(120):
            await processor.add_work(LLMWorkItem(f"i{n}", strategy, "p"))

        async def change() -> None:
            for workers in range(6, 30):
                await anyio.sleep(1.5)
                processor.config.max_workers = workers
            processor.config.max_requests_per_minute = 120

        async with anyio.create_task_group() as group:
            group.start_soon(change)
            await processor.process_all()
    assert most_within([at for at in strategy.times if at < 36], 30.0) <= 31
    assert most_within(strategy.times, 30.0) <= 61
    assert strategy.times[-1] == pytest.approx(36 + 42, abs=3)


async def test_a_limit_of_less_than_one_a_minute_waits_without_parking() -> None:
    """One in two hours is slow, and what was asked for."""
    config = ProcessorConfig(max_requests_per_minute=1 / 120, timeout_per_item=None)
    result = await run_batch(prompts(2), Counted(), config=config)
    assert result.succeeded == 2
    assert result.wall_time == pytest.approx(7_200, rel=0.01)


async def test_an_items_deadline_ends_its_wait() -> None:
    """``deadline_per_item`` counts the wait; ``timeout_per_item`` does not."""
    strategy = ScriptedStrategy(Answer(after=1.0))
    limited = Gate(limits=[Limit("requests", 1, per=30.0)])
    config = ProcessorConfig(deadline_per_item=10.0, timeout_per_item=5.0)
    result = await run_batch(prompts(2), strategy, config=config, gate=limited)
    assert {each.error_category for each in result.results} == {None, Category.TIMEOUT}
    assert "deadline_per_item" in (result.failures[0].error or "")
    assert limited.waiting == limited.limiter.in_flight == 0
    config = ProcessorConfig(timeout_per_item=5.0)
    result = await run_batch(prompts(2), strategy, config=config, gate=limited)
    assert result.succeeded == 2


async def test_a_drain_ends_every_wait() -> None:
    """Calls in flight finish, waiters are stopped, and the gate is left empty."""
    gate = Gate(limits=[Limit("requests", 2, per=60.0)])
    ended = await run_face(
        "collected",
        prompts(20),
        ScriptedStrategy(Answer(after=2.0)),
        concurrency=4,
        gate=gate,
        act=after(1.0, lambda run: run.stop(DRAIN)),
    )
    kinds = list(ended.categories.values())
    assert kinds.count(None) == 1
    assert kinds.count(Category.STOPPED) == len(kinds) - 1
    assert gate.waiting == gate.limiter.in_flight == 0


async def test_stats_tell_what_limits_a_run() -> None:
    """Waits by cause, what holds calls back, quota used and refused share, also under way."""
    gate = Gate(limits=[Limit("requests", 60, per=60.0)], seed=1)
    async with stream_batch(prompts(30), Counted(), concurrency=50, gate=gate) as run:
        async for _ in run:
            pass
        stats = run.stats()
    (scope,) = stats["scopes"].values()
    assert scope.used[0] == pytest.approx(0.5, abs=0.02)
    assert stats["calls_sent"] == 30
    assert (stats["refused_share"], stats["rate_limit_count"]) == (0.0, 0)
    assert stats["held_back"]["quota"] == pytest.approx(29, rel=0.05)
    assert stats["waits"]["admission_wait"] > 29
    assert stats["waits"]["cooldown_wait"] == stats["waits"]["backoff"] == 0.0
