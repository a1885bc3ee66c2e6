"""The line at one gate: who goes when, who watches the clock, and what is left behind."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import (
    CallCost,
    CallTooLargeError,
    LimitHint,
    Outcome,
    QuotaScope,
    ScopeParkedError,
    ServerHint,
)
from batchllm.gate import CallerLimits, Gate
from batchllm.policy import CooldownEnded, EpisodeStarted, GateEvent, Limit, ScopeParked
from tests.gate.kit import ONE, Callers, accepted, idle, open_gate, turns

pytestmark = pytest.mark.anyio


async def test_an_open_gate_lets_everybody_through_at_once() -> None:
    """Nothing limits, so nobody waits."""
    gate = open_gate()
    for _ in range(10):
        permit = gate.admit_nowait(ONE)
        assert permit is not None
        permit.report(Outcome.OK, anyio.current_time())
    assert idle(gate)
    assert gate.held_back() == {"calls": 0.0, "quota": 0.0, "cooldown": 0.0, "outage": 0.0}


async def test_first_come_first_served() -> None:
    """With room for one call, calls start in the order in which they asked."""
    callers = Callers(open_gate(calls=1))
    async with anyio.create_task_group() as group:
        for name in range(20):
            group.start_soon(callers.call, name)
            await turns(2)
    assert callers.names == list(range(20))
    assert callers.times == [pytest.approx(n, abs=1e-6) for n in range(20)]
    assert idle(callers.gate)


async def test_higher_priorities_go_first() -> None:
    """Among those that wait the higher priority goes first, then who came first."""
    callers = Callers(open_gate(calls=1))
    async with anyio.create_task_group() as group:
        for name, priority in [("first", 0), ("b", 0), ("high", 5), ("c", 0), ("higher", 9)]:
            group.start_soon(callers.call, name, ONE, priority)
            await turns(2)
    assert callers.names == ["first", "higher", "high", "b", "c"]


async def test_priorities_hold_among_the_runs_that_share_a_gate() -> None:
    """A waiter of another run with a higher priority goes before all others."""
    gate = open_gate(calls=1)
    ours, theirs = Callers(gate, CallerLimits(5)), Callers(gate, CallerLimits(5))
    theirs.started = ours.started
    async with anyio.create_task_group() as group:
        for name in ("a", "b", "c"):
            group.start_soon(ours.call, name)
            await turns(2)
        group.start_soon(theirs.call, "high", ONE, 1)
    assert ours.names == ["a", "high", "b", "c"]


async def test_smaller_calls_use_the_room_that_a_larger_one_leaves() -> None:
    """A call that does not fit is passed by one that does."""
    gate = open_gate(tokens_per_minute=1_000)
    callers = Callers(gate)
    async with anyio.create_task_group() as group:
        group.start_soon(callers.call, "800", CallCost(1, 800))
        await anyio.sleep(50)  # so that the pace allows more, and only the ledger does not
        for tokens in (500, 100, 90):
            group.start_soon(callers.call, str(tokens), CallCost(1, tokens))
            await turns(2)
    assert callers.names == ["800", "100", "90", "500"]
    assert callers.started[3][0] > 60


async def test_nobody_is_overtaken_more_than_200_times() -> None:
    """However many small calls arrive, the large one goes after 200 of them."""
    gate = open_gate(tokens_per_minute=1_000)
    callers = Callers(gate, seconds=0.0)

    async def small() -> None:
        for _ in range(60):
            await callers.call("small", CallCost(1, 4))

    async with anyio.create_task_group() as group:
        group.start_soon(callers.call, "first", CallCost(1, 900))
        await anyio.sleep(50)
        group.start_soon(callers.call, "large", CallCost(1, 1_000))
        await turns(2)
        for _ in range(10):
            group.start_soon(small)
    place = callers.names.index("large")
    assert 20 < place <= 201
    assert len(callers.names) == 602


async def test_one_that_was_overtaken_for_long_holds_up_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bound is the bound: with a smaller one the large call goes that much earlier."""
    monkeypatch.setattr("batchllm.gate.queue._MOST_OVERTAKES", 5)
    gate = open_gate(tokens_per_minute=1_000)
    ours, theirs = Callers(gate, CallerLimits(50)), Callers(gate, CallerLimits(50))
    theirs.started = ours.started
    async with anyio.create_task_group() as group:
        group.start_soon(ours.call, "first", CallCost(1, 900))
        await anyio.sleep(55)
        group.start_soon(ours.call, "large", CallCost(1, 990))
        await turns(2)
        for number in range(30):
            group.start_soon((ours, theirs)[number % 2].call, "small", CallCost(1, 3))
    assert 5 <= ours.names.index("large") <= 7


async def test_runs_that_share_a_gate_take_turns() -> None:
    """A run with many waiters does not hold up one with a few."""
    gate = open_gate(calls=1)
    many, few = Callers(gate, CallerLimits(500)), Callers(gate, CallerLimits(500))
    few.started = many.started
    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(many.call, "many")
        await turns(3)
        for _ in range(5):
            group.start_soon(few.call, "few")
    assert max(n for n, name in enumerate(many.names) if name == "few") <= 11


async def test_a_run_at_its_own_cap_does_not_hold_up_another() -> None:
    """However many of a run's calls wait for room of its own, others pass."""
    gate = open_gate()
    capped, free = Callers(gate, CallerLimits(1)), Callers(gate, CallerLimits(500))
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(capped.call)
        await turns(3)
        for _ in range(50):
            group.start_soon(free.call)
    assert max(free.times) < 0.5
    assert capped.most == 1
    assert capped.times == [pytest.approx(n, abs=1e-3) for n in range(100)]


async def test_only_one_waiter_is_woken_by_news() -> None:
    """A refusal re-plans the line without waking it; the pause ends for one waiter first."""
    gate = Gate(calls=8, seed=1)
    callers = Callers(gate, CallerLimits(500), verdict=_refused_before(0.5))
    async with anyio.create_task_group() as group:
        for name in range(300):
            group.start_soon(callers.insist, name)
        await anyio.sleep(1.2)
        assert gate.closed
        assert gate.waiting > 290
        woken = [waiter for waiter in gate._queue if waiter.woken.is_set()]
        watching = [waiter for waiter in gate._queue if waiter.scope.deadline < math.inf]
        assert (len(woken), len(watching)) == (0, 1)
    assert idle(gate)


def _refused_before(instant: float) -> Any:
    def verdict(number: int, at: float) -> tuple[Outcome, ServerHint | None]:
        return (Outcome.THROTTLED, None) if at < instant else accepted(number, at)

    return verdict


async def test_the_watch_passes_on_when_the_one_who_watches_leaves() -> None:
    """Cancelling the waiter that holds the alarm loses nobody's turn."""
    gate = open_gate(limits=[Limit("requests", 1, per=10.0, jitter=0.0)])
    callers = Callers(gate)
    scopes: list[anyio.CancelScope] = []

    async def waiter(name: int) -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await callers.call(name)

    async with anyio.create_task_group() as group:
        for name in range(4):
            group.start_soon(waiter, name)
            await turns(2)
        await anyio.sleep(3)
        scopes[1].cancel()
        await anyio.sleep(9)
        scopes[2].cancel()
    assert callers.names == [0, 2, 3]
    assert callers.times == [0.0, pytest.approx(10, abs=0.1), pytest.approx(20, abs=0.1)]


async def test_a_call_that_can_never_fit_fails_at_once() -> None:
    """More tokens than the limit holds: no waiting, and the numbers are in the message."""
    gate = open_gate(tokens_per_minute=1_000)
    with pytest.raises(CallTooLargeError, match=r"needs 1,500 tokens.* limit of 1,000 per 60 s"):
        await gate.admit(CallCost(1, 1_000, 500))
    assert anyio.current_time() == pytest.approx(0, abs=0.1)
    assert idle(gate)


async def test_the_callers_own_limit_can_be_too_small_as_well() -> None:
    """Limits declared for the run count as those declared for the scope."""
    gate, own = open_gate(), open_gate(tokens_per_minute=100).limiter
    with pytest.raises(CallTooLargeError, match="needs 101 tokens"):
        await gate.admit(CallCost(1, 101), CallerLimits(5, own))


async def test_a_waiter_fails_when_the_server_tells_a_limit_that_it_can_never_pass() -> None:
    """A limit learned while it waits makes a call hopeless; the others go on."""
    gate = Gate(calls=1, seed=1)
    hint = ServerHint(limits=(LimitHint(dimension="tokens", amount=500, per=60.0),))
    callers = Callers(gate, verdict=lambda number, at: (Outcome.OK, hint))
    failed: list[str] = []

    async def large(name: str) -> None:
        try:
            await callers.call(name, CallCost(1, 600))
        except CallTooLargeError:
            failed.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(callers.call, "first")
        await turns(2)
        group.start_soon(large, "at the head")
        group.start_soon(callers.call, "small", CallCost(1, 5))
        group.start_soon(large, "behind it")
    assert sorted(failed) == ["at the head", "behind it"]
    assert callers.names == ["first", "small"]
    assert idle(gate)


async def test_parking_ends_every_wait() -> None:
    """An empty account parks the scope: waiters fail then, later ones at once."""
    gate = Gate(calls=1, seed=1)
    callers = Callers(gate, verdict=lambda number, at: (Outcome.EXHAUSTED, None))
    failed: list[str] = []

    async def waiter() -> None:
        try:
            await callers.call()
        except ScopeParkedError as error:
            failed.append(str(error))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(waiter)
    assert len(callers.started) == 1
    assert len(failed) == 19
    assert "parked (exhausted)" in failed[0]
    with pytest.raises(ScopeParkedError):
        await gate.admit(ONE)
    assert idle(gate)


async def test_a_parked_gate_reopens_with_one_call() -> None:
    """After ``reopen`` one call goes alone, then the rest."""
    gate = Gate(seed=1)
    permit = await gate.admit(ONE)
    permit.report(Outcome.EXHAUSTED, anyio.current_time())
    assert gate.closed
    gate.reopen()
    callers = Callers(gate, seconds=0.5)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(callers.call)
    assert callers.times[0] == pytest.approx(0, abs=0.01)
    assert callers.times[1] >= 0.5
    assert not gate.closed


async def test_a_new_cap_takes_effect_at_once() -> None:
    """Raised, waiters start; lowered, calls in flight go on and no more start."""
    gate = open_gate(calls=1)
    callers = Callers(gate)
    async with anyio.create_task_group() as group:
        for _ in range(12):
            group.start_soon(callers.call)
        await anyio.sleep(0.5)
        gate.set_calls(5)
        await anyio.sleep(0.2)
        assert callers.in_flight == 5
        gate.set_calls(2)
        await anyio.sleep(0.4)
        assert callers.in_flight == 4
        await anyio.sleep(0.5)
        assert callers.in_flight == 2
        gate.set_calls(None)
        await turns(3)
        assert len(callers.started) == 12
    assert idle(gate)


async def test_waits_are_told_apart_by_cause() -> None:
    """A permit knows how long it waited for room, and how long because the scope cooled."""
    gate = Gate(calls=1, seed=1)
    hint = ServerHint(wait=7.0)
    callers = Callers(
        gate, verdict=lambda n, at: (Outcome.THROTTLED, hint) if at < 1 else (Outcome.OK, None)
    )
    permits = []

    async def waiter() -> None:
        permits.append(await callers.call())

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(waiter)
            await turns(2)
    assert callers.times[:2] == [0.0, pytest.approx(8.0, abs=0.01)]
    canary, last = permits[1], permits[2]
    assert canary.cooldown_wait == pytest.approx(7.0, abs=0.01)
    assert canary.admission_wait == pytest.approx(1.0, abs=0.01)
    assert last.cooldown_wait == pytest.approx(8.0, abs=0.01)
    held = gate.held_back()
    assert held["calls"] == pytest.approx(1.0, abs=0.01)
    assert held["cooldown"] == pytest.approx(8.0, abs=0.01)
    assert sum(held.values()) == pytest.approx(callers.times[2], abs=0.01)


async def test_what_holds_calls_back_is_known_while_it_does() -> None:
    """Seconds behind a quota count while they pass."""
    gate = open_gate(limits=[Limit("requests", 1, per=10.0, jitter=0.0)])
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(Callers(gate).call)
        await anyio.sleep(4)
        assert gate.held_back()["quota"] == pytest.approx(4.0, abs=0.01)


async def test_listeners_hear_of_each_episode_once() -> None:
    """Start and end of a pause, then the end of it all; not after they have left."""
    gate = Gate(seed=1)
    heard: list[GateEvent] = []

    def listen(source: Gate, event: GateEvent) -> None:
        assert source is gate
        heard.append(event)

    gate.add_listener(listen)
    callers = Callers(gate, verdict=_refused_before(1.0))
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(callers.insist)
    kinds = [type(event) for event in heard]
    assert (kinds.count(EpisodeStarted), kinds.count(CooldownEnded)) == (1, 1)
    (await gate.admit(ONE)).report(Outcome.EXHAUSTED, anyio.current_time())
    assert isinstance(heard[-1], ScopeParked)
    gate.remove_listener(listen)
    gate.reopen()
    (await gate.admit(ONE)).report(Outcome.OK, anyio.current_time())
    assert isinstance(heard[-1], ScopeParked)


async def test_a_snapshot_tells_what_is_known_and_used() -> None:
    """State, limits with the share that is taken, and counts."""
    gate = open_gate(requests_per_minute=None, limits=[Limit("requests", 10, per=10.0)], calls=3)
    permits = [await gate.admit(ONE) for _ in range(2)]
    seen = gate.snapshot()
    assert (seen.state, seen.calls, seen.in_flight, seen.sends) == ("open", 3, 2, 2)
    assert seen.limits == (Limit("requests", 10, per=10.0),)
    assert seen.used == (0.2,)
    for permit in permits:
        permit.report(Outcome.OK, anyio.current_time())
    await anyio.sleep(20)
    assert gate.snapshot().used == (0.0,)


async def test_a_permit_ends_once() -> None:
    """A second report is a program error, and counts nothing twice."""
    gate = open_gate()
    permit = await gate.admit(ONE)
    permit.undo()
    with pytest.raises(ValueError, match="ended already"):
        permit.report(Outcome.OK, anyio.current_time())
    assert idle(gate)


async def test_what_a_good_reply_told_of_limits_is_learned() -> None:
    """A hint observed during the call is kept with its success."""
    gate = Gate(seed=1)
    permit = await gate.admit(ONE)
    permit.observe(ServerHint(limits=(LimitHint(dimension="requests", amount=30, per=60.0),)))
    permit.report(Outcome.OK, anyio.current_time())
    assert [limit.amount for limit in gate.snapshot().limits] == [30]


def test_a_gate_is_shown_with_its_scope() -> None:
    """Its repr names scope and load."""
    gate = Gate(scope=QuotaScope("openai"), clock=lambda: 0.0)
    assert repr(gate) == "<Gate of openai: 0 in flight, 0 waiting>"
    assert "every scope" in repr(Gate())


async def test_a_gate_learns_how_many_calls_a_queueing_server_serves_well() -> None:
    """Of two hundred that may be called at once, not many wait at a server with eight places."""
    places = anyio.CapacityLimiter(8)
    most = 0

    async def serve(prompt: str) -> str:
        nonlocal most
        most = max(most, places.statistics().tasks_waiting)
        async with places:
            await anyio.sleep(0.5)
        return prompt

    gate = Gate(learn_calls=True)
    result = await run_batch(map(str, range(600)), serve, concurrency=200, gate=gate)
    assert result.succeeded == 600
    assert most < 60
    assert result.wall_time < 1.5 * 600 * 0.5 / 8
