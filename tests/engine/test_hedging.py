"""Second copies of slow calls, through the whole engine."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from batchllm.api import BatchRun, open_pool, run_batch
from batchllm.core import (
    HedgeConfig,
    LLMCallStrategy,
    ProcessingEvent,
    ProcessorConfig,
    RetryState,
)
from batchllm.engine import CANCEL
from batchllm.testing import RecordingObserver

pytestmark = pytest.mark.anyio


class Tail(LLMCallStrategy[str]):
    """Answers after a second, but the first call for a prompt in ``slow`` takes very long."""

    def __init__(self, slow: set[str], *, both: bool = False) -> None:
        self.slow = slow
        self.both = both
        self.calls: list[str] = []
        self.cancelled = 0

    async def execute(
        self, prompt: str, attempt: int, timeout: float
    ) -> tuple[str, dict[str, int]]:
        first = prompt not in self.calls
        self.calls.append(prompt)
        try:
            await anyio.sleep(100.0 if prompt in self.slow and (first or self.both) else 1.0)
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        return f"{prompt} {'first' if first else 'second'}", {"input_tokens": 1, "output_tokens": 1}


def config(**hedge: Any) -> ProcessorConfig:
    return ProcessorConfig(
        max_workers=10, hedge=HedgeConfig(**{"min_samples": 20, "max_share": 0.1, **hedge})
    )


async def test_the_straggler_at_the_end_is_made_twice_and_the_second_wins() -> None:
    """The batch ends when the second copy answers; the loser is cancelled, and the item noted."""
    strategy = Tail({"59"})
    seen = RecordingObserver()
    start = anyio.current_time()
    result = await run_batch(
        [str(n) for n in range(60)], strategy, config=config(), observers=[seen]
    )
    assert result.succeeded == 60
    assert anyio.current_time() - start < 20
    late = result.by_id()["59"]
    assert late.output == "59 second"
    assert late.metadata is not None
    assert "second copy" in late.metadata["notes"][0]
    assert strategy.cancelled == 1
    assert result.stats["hedged_calls"] == 1
    assert [event for event, _ in seen.events].count(ProcessingEvent.HEDGE_STARTED) == 1


class Stalls(LLMCallStrategy[str]):
    """Answers after a second, but the first *times* calls for one prompt take very long."""

    def __init__(self, prompt: str, times: int) -> None:
        self.prompt = prompt
        self.times = times
        self.calls = 0

    async def execute(
        self, prompt: str, attempt: int, timeout: float
    ) -> tuple[str, dict[str, int]]:
        stalls = prompt == self.prompt and self.calls < self.times
        self.calls += prompt == self.prompt
        await anyio.sleep(100.0 if stalls else 1.0)
        return prompt, {"input_tokens": 1, "output_tokens": 1}


async def test_if_both_copies_are_slow_there_is_a_third() -> None:
    """It comes as late after the second as the second after the first, and is noted as such."""
    strategy = Stalls("59", 2)
    start = anyio.current_time()
    result = await run_batch([str(n) for n in range(60)], strategy, config=config(delay=3.0))
    assert anyio.current_time() - start == pytest.approx(6 + 3 + 3 + 1, abs=1.0)
    late = result.by_id()["59"]
    assert late.output == "59"
    assert late.metadata is not None
    assert "third copy" in late.metadata["notes"][0]
    assert result.stats["hedged_calls"] == 2


async def test_there_is_no_fourth_copy() -> None:
    """An endpoint that stalls on a prompt again and again is waited for."""
    strategy = Stalls("59", 99)
    result = await run_batch([str(n) for n in range(60)], strategy, config=config(delay=3.0))
    assert result.succeeded == 60
    assert strategy.calls == 3


async def test_no_second_copy_while_fresh_items_wait() -> None:
    """A slow call in the middle of a batch waits for the end of the feed."""
    strategy = Tail({"30"})
    times: dict[str, float] = {}

    async def items() -> Any:
        for n in range(60):
            yield str(n)
        await anyio.sleep(50)
        times["fed"] = anyio.current_time()

    result = await run_batch(items(), strategy, config=config())
    assert result.by_id()["30"].output == "30 second"
    assert anyio.current_time() >= times["fed"]


async def test_hedging_is_off_unless_asked_for() -> None:
    """Without the setting a straggler is waited for."""
    strategy = Tail({"59"})
    result = await run_batch([str(n) for n in range(60)], strategy, concurrency=10)
    assert result.by_id()["59"].output == "59 first"
    assert len(strategy.calls) == 60


async def test_the_share_bounds_the_second_copies() -> None:
    """Ten stragglers, and room for two copies among sixty calls."""
    slow = {str(n) for n in range(50, 60)}
    strategy = Tail(slow, both=True)
    result = await run_batch([str(n) for n in range(60)], strategy, config=config(max_share=0.05))
    assert result.succeeded == 60
    assert len(strategy.calls) - 60 == result.stats["hedged_calls"] <= 3


async def test_a_failure_of_the_first_waits_for_the_second() -> None:
    """Where a second copy is under way, its answer counts."""

    class Failing(Tail):
        async def execute(
            self, prompt: str, attempt: int, timeout: float
        ) -> tuple[str, dict[str, int]]:
            if prompt in self.slow and prompt not in self.calls:
                self.calls.append(prompt)
                await anyio.sleep(3.5)
                raise ConnectionError(prompt)
            return await super().execute(prompt, attempt, timeout)

    strategy = Failing({"59"})
    result = await run_batch([str(n) for n in range(60)], strategy, config=config(delay=3.0))
    assert result.by_id()["59"].output == "59 second"
    assert result.by_id()["59"].attempts == 1


async def test_a_pool_hedges_at_any_time() -> None:
    """Its calls are interactive: there is no feed to wait for."""
    strategy = Tail({"slow"})
    async with open_pool(strategy, config=config()) as pool:
        for n in range(20):
            await pool.call(str(n))
        start = anyio.current_time()
        assert await pool.call("slow") == "slow second"
        assert anyio.current_time() - start == pytest.approx(3.0)


class Then(LLMCallStrategy[str]):
    """Calls another strategy, and then does something that takes very long, and is no call."""

    quota_scope = None

    def __init__(self, inner: LLMCallStrategy[str]) -> None:
        self.parts = (inner,)

    async def execute(
        self, prompt: str, attempt: int, timeout: float, state: RetryState
    ) -> tuple[str, Any]:
        reply = await state.call(self.parts[0], prompt, attempt, timeout)
        if prompt == "slow":
            await anyio.sleep(1_000.0)
        return reply.output, None


@pytest.mark.parametrize(("stopped_at", "category"), [(2.0, "cancelled"), (10.0, "stopped")])
async def test_a_loser_does_not_make_its_item_cut_off(stopped_at: float, category: str) -> None:
    """An item whose race is over and that is stopped later, as it waits, was not cut off."""
    run = BatchRun[Any]()

    async def stop() -> None:
        await anyio.sleep(stopped_at)
        run.stop(CANCEL)

    settings = config(min_samples=1, max_share=1.0, delay=3.0)
    async with anyio.create_task_group() as group:
        group.start_soon(stop)
        await run_batch(["a", "b", "slow"], Then(Tail({"slow"})), config=settings, into=run)
        group.cancel_scope.cancel()
    assert run.result.stats["hedged_calls"] == (category == "stopped")
    assert run.result.by_id()["2"].error_category == category


async def test_an_answer_that_comes_as_the_run_is_cancelled_is_kept() -> None:
    """It is paid for, and the race that it has won must not be where it gets lost."""
    run = BatchRun[Any]()
    answered: list[str] = []

    class Answers(LLMCallStrategy[str]):
        async def execute(self, prompt: str, attempt: int, timeout: float) -> tuple[str, None]:
            await anyio.sleep(1.0)
            answered.append(prompt)
            if prompt == "10":
                run.stop(CANCEL)
            return prompt, None

    settings = ProcessorConfig(max_workers=20, hedge=HedgeConfig())
    await run_batch([str(n) for n in range(20)], Answers(), config=settings, into=run)
    assert "10" in answered
    kept = {result.output for result in run.result.results if result.success}
    assert kept == set(answered)
