"""A pause of the whole process ends no call; a call that hangs ends all the same."""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

import anyio
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from batchllm.api import BatchRun, run_batch
from batchllm.core import (
    FrameworkTimeoutError,
    HedgeConfig,
    LLMCallStrategy,
    ProcessorConfig,
    QuotaScope,
    RetryConfig,
    StallError,
)
from batchllm.engine import DRAIN
from batchllm.engine.call_timers import BEAT, LATE, CallTimer, CallTimers
from batchllm.engine.ending import Ending
from batchllm.engine.item import ItemRun
from batchllm.testing import Backend, virtual_run

pytestmark = pytest.mark.anyio

ONCE = RetryConfig(max_attempts=1)
HOUR = 3_600.0


def stand_still(seconds: float) -> None:
    """Let the clock go on while nothing runs, as after SIGSTOP and SIGCONT."""
    try:
        loop: Any = asyncio.get_running_loop()
    except RuntimeError:
        clock: Any = trio.lowlevel.current_clock()
        clock.jump(seconds)
    else:
        loop._selector_of_time.now += seconds


class Working(LLMCallStrategy[str]):
    """Answers after so many seconds in which the process runs."""

    def __init__(self, seconds: float, errors: int = 0) -> None:
        self.seconds = seconds
        self.errors = errors
        self.calls = 0

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
        self.calls += 1
        for _ in range(round(self.seconds / 0.5)):
            await anyio.sleep(0.5)
        if self.calls <= self.errors:
            raise ConnectionError("the connection was closed")
        return "answer", None


async def paused(
    strategy: LLMCallStrategy[Any],
    pauses: dict[float, float],
    retry: RetryConfig = ONCE,
    **more: Any,
) -> Any:
    """Run items, with pauses that begin at the given times, and return their results."""

    async def pause() -> None:
        for at, seconds in pauses.items():
            await anyio.sleep(at)
            stand_still(seconds)

    config = ProcessorConfig(retry=retry, **more)
    async with anyio.create_task_group() as group:
        group.start_soon(pause)
        results = (await run_batch([str(n) for n in range(20)], strategy, config=config)).results
        group.cancel_scope.cancel()
        return results


@pytest.mark.parametrize("setting", ["attempt_timeout", "timeout_per_item"])
async def test_an_hours_pause_ends_no_call(setting: str) -> None:
    """Each call goes on with the time that it had left, and is made once."""
    strategy = Working(9.0)
    results = await paused(strategy, {4.2: HOUR}, max_workers=20, **{setting: 10.0})
    assert [result.error for result in results] == [None] * 20
    assert strategy.calls == 20


async def test_a_call_that_hangs_ends_after_a_pause() -> None:
    """With what it had left, so that a pause is not for ever."""
    strategy = Working(99.0)
    began = anyio.current_time()
    results = await paused(strategy, {4.2: HOUR}, max_workers=20, attempt_timeout=10.0)
    assert {type(result.exception) for result in results} == {FrameworkTimeoutError}
    assert HOUR + 9.0 <= anyio.current_time() - began <= HOUR + 10.0 + BEAT


async def test_a_call_that_a_pause_broke_has_time_to_be_made_again() -> None:
    """The server closed the connection meanwhile: the pause is not the item's work."""
    strategy = Working(6.0, errors=20)
    again = RetryConfig(max_attempts=2, jitter=False)
    results = await paused(
        strategy, {4.2: HOUR}, max_workers=20, timeout_per_item=15.0, retry=again
    )
    assert [result.error for result in results] == [None] * 20
    assert all(result.timing.execution < 15.0 for result in results)


async def test_the_wall_clock_of_an_item_goes_on() -> None:
    """A pause is a part of `deadline_per_item`."""
    results = await paused(Working(9.0), {4.2: HOUR}, max_workers=20, deadline_per_item=60.0)
    assert {type(result.exception) for result in results} == {FrameworkTimeoutError}


async def test_a_loop_that_is_a_little_late_moves_nothing() -> None:
    """A long collection, or code that holds the loop for less than a second."""
    late = {1.2: LATE * 0.9, 1.3: LATE * 0.9}
    results = await paused(Working(9.0), late, max_workers=20, attempt_timeout=6.0)
    assert {type(result.exception) for result in results} == {FrameworkTimeoutError}


async def test_a_pause_in_a_backoff_is_not_the_items_time() -> None:
    """Each item fails once, and sleeps when the process is stopped for longer than it may take."""
    again = RetryConfig(max_attempts=2, initial_wait=5.0, jitter=False)
    results = await paused(
        Working(0.5, errors=20), {2.0: HOUR}, max_workers=20, timeout_per_item=60.0, retry=again
    )
    assert [result.error for result in results] == [None] * 20


class Leaf(LLMCallStrategy[str]):
    """Notes how much time each of its calls has."""

    def __init__(self, scope: str, seconds: float) -> None:
        self.quota_scope = QuotaScope(model=scope)
        self.seconds = seconds
        self.given: list[float] = []

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
        self.given.append(timeout)
        for _ in range(round(self.seconds / 0.5)):
            await anyio.sleep(0.5)
        return "answer", None


class TwoCalls(LLMCallStrategy[str]):
    """Makes a second call for its item while the first is under way."""

    quota_scope = None

    def __init__(self) -> None:
        self.long, self.short = Leaf("long", 9.0), Leaf("short", 1.0)

    async def execute(self, prompt: Any, attempt: int, timeout: float, state: Any) -> Any:
        async def later() -> None:
            await anyio.sleep(4.6)
            await state.call(self.short, prompt, attempt, timeout)

        async with anyio.create_task_group() as group:
            group.start_soon(later)
            await state.call(self.long, prompt, attempt, timeout)
        return "answer", None


async def test_a_call_that_begins_after_a_pause_has_the_time_that_was_left() -> None:
    """The first to ask for the time learns of the pause."""
    strategy = TwoCalls()
    results = await paused(strategy, {4.2: HOUR}, max_workers=200, timeout_per_item=20.0)
    assert [result.error for result in results] == [None] * 20
    assert all(10.0 < seconds < 20.0 for seconds in strategy.short.given)


async def test_a_pause_makes_no_call_slow() -> None:
    """So that no further copies are made, and paid for."""
    strategy = Working(6.0)
    hedge = HedgeConfig(delay=10.0, max_share=1.0, min_samples=1)
    await paused(strategy, {4.2: HOUR}, max_workers=200, attempt_timeout=30.0, hedge=hedge)
    assert strategy.calls == 20


async def test_a_pause_takes_nothing_of_the_grace_of_a_drain() -> None:
    """Calls in flight finish in it."""
    run: BatchRun[Any] = BatchRun()

    async def stop() -> None:
        await anyio.sleep(2.0)
        run.stop(DRAIN)
        await anyio.sleep(1.0)
        stand_still(HOUR)

    async with anyio.create_task_group() as group:
        group.start_soon(stop)
        config = ProcessorConfig(max_workers=20, drain_grace=30.0)
        result = await run_batch(["p"] * 20, Working(6.0), config=config, into=run)
        assert result.succeeded == 20


async def test_a_look_that_clears_the_queue_goes_on_with_those_that_are_left() -> None:
    """One call is over, one has got more time, and many have ended since they were listed."""
    timers, begun = CallTimers(anyio.current_time), anyio.current_time()
    over, longer = anyio.CancelScope(), anyio.CancelScope()

    def timed(scope: anyio.CancelScope, seconds: float) -> CallTimer:
        timer = CallTimer(cast("ItemRun", None), scope, begun + seconds, math.inf)
        timers.start(timer)
        return timer

    async with anyio.create_task_group() as services:
        timed(over, 60.0)
        moved = timed(longer, 60.0)
        for ended in [timed(anyio.CancelScope(), 60.0) for _ in range(66)]:
            timers.stop(ended)
        services.start_soon(timers.serve, Ending())
        await anyio.sleep(30.0)
        moved.end += 40.0  # as by a pause
        await anyio.sleep(40.0)
        assert (over.cancel_called, longer.cancel_called) == (True, False)
        await anyio.sleep(40.0)
        assert longer.cancel_called
        services.cancel_scope.cancel()


@pytest.mark.parametrize("number", [200, 400])
async def test_deadlines_at_as_many_instants_are_each_looked_at_once(number: int) -> None:
    """A look that went over all calls would take minutes for ten thousand of them."""
    timers, asked = CallTimers(anyio.current_time), 0

    class Counted(CallTimer):
        @property
        def due(self) -> float:
            nonlocal asked
            asked += 1
            return super().due

    async def call() -> None:
        with anyio.CancelScope() as scope:
            timer = Counted(cast("ItemRun", None), scope, anyio.current_time() + 60.0, math.inf)
            timers.start(timer)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as services:
        services.start_soon(timers.serve, Ending())
        async with anyio.create_task_group() as calls:
            for _ in range(number):
                calls.start_soon(call)
                await anyio.sleep(0.001)
        services.cancel_scope.cancel()
    assert asked <= 3 * number


class Streaming(LLMCallStrategy[str]):
    """Has a piece each second, and after so many none."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces

    async def execute(self, prompt: Any, attempt: int, timeout: float, state: Any) -> Any:
        state.progress()
        for _ in range(self.pieces):
            await anyio.sleep(1.0)
            state.progress()
        await anyio.sleep(2.5 if self.pieces > 5 else HOUR)
        return "answer", None


@pytest.mark.parametrize("limit", [None, 60.0])
@pytest.mark.parametrize(("pieces", "error"), [(9, None), (3, StallError)])
async def test_a_stream_does_not_stall_by_a_pause(
    pieces: int, error: type[Exception] | None, limit: float | None
) -> None:
    """Also if the call has no other end."""
    results = await paused(
        Streaming(pieces), {2.4: HOUR}, max_workers=20, stall_timeout=3.0, timeout_per_item=limit
    )
    assert {result.exception and type(result.exception) for result in results} == {error}


@given(
    backend=st.sampled_from(["asyncio", "trio"]),
    pauses=st.dictionaries(
        st.floats(0.0, 8.0), st.floats(2.5, 1e5).map(lambda s: s + BEAT), max_size=4
    ),
    work=st.integers(1, 30),
    limit=st.integers(1, 12),
)
def test_a_call_ends_by_its_own_time_alone(
    backend: Backend, pauses: dict[float, float], work: int, limit: int
) -> None:
    """Work that fits is done, and work that is far from it is not, whatever pauses there are."""

    async def main() -> Any:
        return await paused(
            Working(float(work)), pauses, max_workers=20, attempt_timeout=float(limit)
        )

    results = virtual_run(main, backend=backend)
    # A pause ends the half second in which it falls, and takes up to a beat of what went before.
    spare = 0.5 + len(pauses) * (BEAT + 0.5)
    if work < limit:
        assert [result.error for result in results] == [None] * 20
    elif work > limit + spare:
        assert {type(result.exception) for result in results} == {FrameworkTimeoutError}
