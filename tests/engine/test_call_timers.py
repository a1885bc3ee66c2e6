"""A pause of the whole process ends no call; a call that hangs ends all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from batchllm.api import run_batch
from batchllm.core import (
    FrameworkTimeoutError,
    LLMCallStrategy,
    ProcessorConfig,
    RetryConfig,
    StallError,
)
from batchllm.engine.call_timers import BEAT, LATE
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
