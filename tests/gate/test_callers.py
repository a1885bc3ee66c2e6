"""Caps on calls in flight that hold over several gates, and gates that several callers share."""

from __future__ import annotations

from random import Random

import anyio
import pytest

from batchllm.core import CallCost, Outcome
from batchllm.gate import CallerLimits, Gate
from batchllm.policy import Limit, RateLimiter
from tests.gate.kit import ONE, Callers, idle, most_within, open_gate, turns

pytestmark = pytest.mark.anyio


async def test_the_cap_over_several_gates_is_exact_and_used() -> None:
    """Three scopes, one cap: never more in flight than it says, and never fewer while some wait."""
    limits = CallerLimits(7)
    worlds = [Callers(open_gate(), limits) for _ in range(3)]
    async with anyio.create_task_group() as group:
        for _ in range(70):
            for world in worlds:
                group.start_soon(world.call)
        await anyio.sleep(0.5)
        for _ in range(25):
            await anyio.sleep(1.0)
            assert limits.in_flight == sum(world.in_flight for world in worlds) == 7
    assert limits.in_flight == 0
    assert all(idle(world.gate) for world in worlds)
    assert max(max(world.times) for world in worlds) == pytest.approx(29, abs=0.1)


async def test_scopes_share_a_cap_evenly() -> None:
    """A scope with many waiters does not starve one with few."""
    limits = CallerLimits(1)
    many, few = Callers(open_gate(), limits), Callers(open_gate(), limits)
    few.started = many.started
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(many.call, "many")
        await turns(3)
        for _ in range(5):
            group.start_soon(few.call, "few")
    assert max(n for n, name in enumerate(many.names) if name == "few") <= 11


async def test_a_cap_that_is_raised_wakes_who_waits_for_it() -> None:
    """New room is used at once, at every gate."""
    limits = CallerLimits(1)
    worlds = [Callers(open_gate(), limits) for _ in range(2)]
    async with anyio.create_task_group() as group:
        for _ in range(5):
            for world in worlds:
                group.start_soon(world.call)
        await anyio.sleep(0.5)
        limits.resize(10)
        await turns(3)
        assert limits.in_flight == 10


async def test_a_closed_scope_leaves_the_cap_to_the_others() -> None:
    """While one scope cools, the whole cap serves the other."""
    limits = CallerLimits(4)
    bad = Callers(
        Gate(seed=1), limits, verdict=lambda n, at: (Outcome.THROTTLED, None) if at < 30 else OK
    )
    good = Callers(open_gate(), limits)
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(bad.insist)
        await turns(3)
        for _ in range(100):
            group.start_soon(good.call)
    assert good.times[-1] <= 29  # 25 s with all four; a canary of the other takes one for 1 s
    assert limits.in_flight == 0


OK = (Outcome.OK, None)


async def test_a_callers_limit_holds_over_all_its_scopes() -> None:
    """60 a minute over three gates: no window of a minute holds more, and all are used."""
    mind = RateLimiter(limits=[Limit("requests", 60, jitter=0.0)], rng=Random(1), cold_start=False)
    limits = CallerLimits(1_000, mind)
    worlds = [Callers(open_gate(), limits) for _ in range(3)]
    async with anyio.create_task_group() as group:
        for _ in range(60):
            for world in worlds:
                group.start_soon(world.call)
    times = sorted(at for world in worlds for at in world.times)
    assert most_within(times, 60.0) == 60
    assert times[-1] == pytest.approx(180, rel=0.02)


async def test_tokens_given_back_at_one_gate_let_a_call_start_at_another() -> None:
    """A refund is news for every gate of the caller."""
    mind = RateLimiter(limits=[Limit("tokens", 1_000)], rng=Random(1), cold_start=False)
    limits = CallerLimits(10, mind)
    first, second = open_gate(), open_gate()
    permit = await first.admit(CallCost(1, 1_000), limits)
    started: list[float] = []

    async def wait() -> None:
        (await second.admit(CallCost(1, 500), limits)).undo()
        started.append(anyio.current_time())

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.sleep(5)
        permit.report(
            Outcome.OK, anyio.current_time(), usage={"input_tokens": 100, "output_tokens": 0}
        )
    assert started == [pytest.approx(5, abs=1)]
    assert (limits.in_flight, mind.in_flight) == (0, 0)


async def test_two_runs_that_share_a_gate_stay_within_its_limits() -> None:
    """Each has its own cap; the scope's limit holds for both together."""
    gate = Gate(requests_per_minute=120, seed=1)
    worlds = [Callers(gate, CallerLimits(calls)) for calls in (3, 50)]
    async with anyio.create_task_group() as group:
        for world in worlds:
            for _ in range(120):
                group.start_soon(world.call)
    times = sorted(at for world in worlds for at in world.times)
    assert most_within(times, 60.0) <= 120
    assert times[-1] == pytest.approx(120, rel=0.03)
    assert worlds[0].most <= 3


async def test_undone_calls_free_the_cap_and_the_limit() -> None:
    """A permit of which nothing was sent leaves no trace."""
    mind = RateLimiter(limits=[Limit("requests", 1, per=60.0)], rng=Random(1), cold_start=False)
    limits = CallerLimits(1, mind)
    gate = open_gate()
    for _ in range(20):
        permit = gate.admit_nowait(ONE, limits)
        assert permit is not None
        assert gate.admit_nowait(ONE, limits) is None
        permit.undo()
    assert limits.in_flight == 0
