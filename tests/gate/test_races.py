"""Nothing is lost, and nothing is granted twice, whatever is cancelled and whenever."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from batchllm.core import CallCost, CallError, LimitHint, Outcome, ServerHint
from batchllm.gate import CallerLimits, Gate
from batchllm.policy import Limit
from batchllm.testing import Backend, virtual_run
from tests.examples import examples
from tests.gate.kit import ONE, Callers, idle, turns

BACKENDS: tuple[Backend, ...] = ("asyncio", "trio")
NEWS = ("ok", "throttled", "hinted", "overloaded", "exhausted", "timeout", "undo", "abandon")


def _end(permit: Any, news: str) -> None:
    now = anyio.current_time()
    match news:
        case "undo":
            permit.undo()
        case "abandon":
            permit.abandon()
        case "hinted":
            permit.report(Outcome.THROTTLED, now, hint=ServerHint(wait=2.0))
        case _:
            permit.report(Outcome(news), now)


async def _one_race(news: str, resize: int | None, turn: int) -> tuple[int, int]:
    """One holds the only permit, three wait; the first of them is cancelled around the news."""
    gate = Gate(calls=1, seed=1)
    limits = CallerLimits(3)
    holder = await gate.admit(ONE, limits)
    got, gone = 0, 0
    scope = anyio.CancelScope()

    async def waiter(mine: anyio.CancelScope) -> None:
        nonlocal got, gone
        with mine:
            try:
                permit = await gate.admit(ONE, limits)
            except CallError:
                gone += 1
                return
            try:
                await checkpoint()
            except BaseException:
                permit.abandon()
                raise
            got += 1
            permit.report(Outcome.OK, anyio.current_time())
            return
        gone += 1

    async def cancel() -> None:
        await turns(turn)
        scope.cancel()

    async with anyio.create_task_group() as group:
        for mine in (scope, anyio.CancelScope(), anyio.CancelScope()):
            group.start_soon(waiter, mine)
        await turns(2)
        group.start_soon(cancel)
        await turns(2)
        if resize is not None:
            gate.set_calls(resize)
        _end(holder, news)
    assert idle(gate)
    assert limits.in_flight == 0
    return got, gone


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("resize", [None, 1, 3])
@pytest.mark.parametrize("news", NEWS)
def test_a_waiter_cancelled_at_any_turn_round_any_news(
    news: str, resize: int | None, backend: Backend
) -> None:
    """The others get their permits, or the scope is parked; the cancelled one holds nothing."""
    for turn in range(8):
        got, gone = virtual_run(_one_race, news, resize, turn, backend=backend)
        if news == "exhausted":
            assert got + gone == 3
        else:
            assert got >= 2
            assert got + gone == 3


Script = list[tuple[float, float, str, int, float | None]]
CALLS = st.tuples(
    st.floats(0, 5),  # when it asks
    st.floats(0, 2),  # how long it takes
    st.sampled_from([*NEWS[:4], *NEWS[5:], "ok", "ok", "ok"]),
    st.integers(0, 400),  # tokens
    st.one_of(st.none(), st.floats(0, 6)),  # when it is cancelled
)


async def _play(script: Script, limits: list[Limit], cap: int, sizes: list[int]) -> None:
    gate = Gate(calls=cap, limits=limits, seed=3)
    callers = [CallerLimits(2), CallerLimits(50), None]
    held = [0, 0, 0]
    rng = Random(5)

    async def call(number: int, entry: tuple[float, float, str, int, float | None]) -> None:
        at, seconds, news, tokens, leaves = entry
        await anyio.sleep(at)
        who = number % 3
        deadline = anyio.current_time() + (float("inf") if leaves is None else leaves)
        with anyio.CancelScope(deadline=deadline):
            cost = CallCost(1, tokens)
            permit = await gate.admit(cost, callers[who], priority=rng.randint(0, 2))
            held[who] += 1
            assert held[0] <= 2
            try:
                await anyio.sleep(seconds)
            except BaseException:
                permit.abandon()
                raise
            else:
                _end(permit, news)
            finally:
                held[who] -= 1

    async def resize() -> None:
        for size in sizes:
            await anyio.sleep(1.0)
            gate.set_calls(size)
        gate.set_calls(cap)

    with anyio.fail_after(3_600 * 24):
        async with anyio.create_task_group() as group:
            group.start_soon(resize)
            for number, entry in enumerate(script):
                group.start_soon(call, number, entry)
    assert idle(gate)
    assert [each.in_flight for each in callers if each is not None] == [0, 0]
    assert held == [0, 0, 0]


@pytest.mark.parametrize("backend", BACKENDS)
@given(
    script=st.lists(CALLS, min_size=1, max_size=40),
    limits=st.sampled_from(
        [[], [Limit("requests", 60, per=10.0)], [Limit("tokens", 1_000, per=10.0)]]
    ),
    cap=st.integers(1, 8),
    sizes=st.lists(st.integers(1, 8), max_size=5),
)
@settings(max_examples=examples(60))
def test_any_trace_ends_with_nothing_held(
    script: Script, limits: list[Limit], cap: int, sizes: list[int], backend: Backend
) -> None:
    """With any tasks that ask, report and leave at any time, all end and the gate is empty."""
    virtual_run(_play, script, limits, cap, sizes, backend=backend)


@pytest.mark.anyio
async def test_no_cancellation_shortens_a_pause() -> None:
    """The pause belongs to the gate: it holds although everybody who knew of it is gone."""
    gate = Gate(seed=1)
    callers = Callers(gate, verdict=lambda n, at: (Outcome.THROTTLED, ServerHint(wait=30.0)))
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(callers.insist)
        await anyio.sleep(5)
        until = gate.snapshot().until
        group.cancel_scope.cancel()
    assert gate.waiting == 0
    permit = await gate.admit(ONE)
    assert until is not None
    assert permit.at == pytest.approx(until, abs=0.01)
    assert until >= 31.0


@pytest.mark.anyio
async def test_a_canary_that_is_cancelled_is_replaced() -> None:
    """The call that tries may leave: another one tries, still alone."""
    gate = Gate(seed=1)
    first = await gate.admit(ONE)
    first.report(Outcome.THROTTLED, anyio.current_time(), hint=ServerHint(wait=3.0))
    canary = await gate.admit(ONE)
    assert gate.admit_nowait(ONE) is None
    canary.abandon()
    second = gate.admit_nowait(ONE)
    assert second is not None
    assert gate.admit_nowait(ONE) is None
    second.report(Outcome.OK, anyio.current_time())
    assert not gate.closed
    assert idle(gate)


@pytest.mark.anyio
async def test_hints_after_the_run_of_things_lose_nobody() -> None:
    """Limits told and lowered while calls wait: each call still ends."""
    gate = Gate(seed=1, calls=3)
    amounts = iter([100, 7, 1, 50])

    def verdict(number: int, at: float) -> tuple[Outcome, ServerHint | None]:
        amount = next(amounts, None)
        if amount is None:
            return Outcome.OK, None
        told = LimitHint(dimension="requests", amount=amount, per=1.0)
        return Outcome.OK, ServerHint(limits=(told,))

    callers = Callers(gate, verdict=verdict, seconds=0.1)
    async with anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(callers.call)
    assert len(callers.started) == 40
    assert idle(gate)
