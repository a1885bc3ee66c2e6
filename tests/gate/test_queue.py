"""Those who stand aside for a hint of their own come and go at little cost."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.gate import Refusal
from batchllm.gate.lane import Waiter
from batchllm.gate.queue import WaitQueue
from batchllm.policy import RateLimiter
from tests.gate.kit import ONE

pytestmark = pytest.mark.anyio


class Until(float):
    """An instant that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: float) -> bool:
        Until.compared += 1
        return float(self) < float(other)

    def __eq__(self, other: object) -> bool:
        Until.compared += 1
        return isinstance(other, float) and float(self) == float(other)

    __hash__ = float.__hash__


class Room:
    """A gate that is never advanced."""

    def advance(self) -> None:
        """Do nothing."""


def line_of(*until: float) -> tuple[WaitQueue, list[Waiter]]:
    """Make a line at which one waiter stands aside until each of these instants."""
    line: WaitQueue = WaitQueue(RateLimiter(rng=random.Random(1)), Room())
    waiters = [Waiter(ONE, None, 0, 0.0, refusal=Refusal(0.0, at)) for at in until]
    for waiter in waiters:
        line.join(waiter, 0.0)
    return line, waiters


async def test_leaving_costs_a_few_comparisons_however_many_stand_aside() -> None:
    """Two thousand that are cancelled in any order do not look for each other."""
    line, waiters = line_of(*(Until(100 + number) for number in range(2_000)))
    random.Random(1).shuffle(waiters)
    Until.compared = 0
    for waiter in waiters:
        line.leave(waiter)
    assert Until.compared <= 60 * len(waiters)
    assert not line


@given(
    st.lists(st.integers(1, 9), max_size=30),
    st.lists(st.one_of(st.integers(0, 29), st.sampled_from(["call up"])), max_size=40),
)
async def test_those_who_left_are_never_seen_again(until: list[int], steps: list[object]) -> None:
    """After any leaving and calling up the queue has exactly those that stay."""
    line, waiters = line_of(*map(float, until))
    left: set[int] = set()
    now = 0
    for step in steps:
        if isinstance(step, int) and step < len(waiters):
            line.leave(waiters[step])
            left.add(step)
        elif step == "call up":
            now += 1
            line.call_up(now)
        stay = [n for n in range(len(waiters)) if n not in left]
        assert {id(waiter) for waiter in line} == {id(waiters[n]) for n in stay}
        assert len(line) == len(stay)
        assert line.empty is (not stay)
        assert bool(line) is bool(stay)
        assert line.untried == len(stay)
        later = [until[n] for n in stay if until[n] > now]
        assert line.call_up(now) == min(later, default=float("inf"))
