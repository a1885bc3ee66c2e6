"""A lane keeps its order, and what it costs does not grow with those who wait."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.gate.lane import Lane, Waiter
from tests.gate.kit import ONE

pytestmark = pytest.mark.anyio


class Priority(int):
    """A number that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        Priority.compared += 1
        return int(self) < int(other)

    def __eq__(self, other: object) -> bool:
        Priority.compared += 1
        return isinstance(other, int) and int(self) == int(other)

    __hash__ = int.__hash__


class Counted(Waiter):
    """A waiter that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return self is other

    __hash__ = object.__hash__


async def waiters(*priorities: int) -> list[Counted]:
    return [Counted(ONE, None, priority, 0.0) for priority in priorities]


async def test_joining_costs_a_few_comparisons_however_many_wait() -> None:
    """Ten thousand with rising priorities find their places by halving."""
    lane: Lane = Lane()
    many = await waiters(*map(Priority, range(10_000)))
    Priority.compared = 0
    for waiter in many:
        lane.join(waiter)
    assert Priority.compared <= 20 * len(many)
    assert [int(waiter.priority) for waiter in lane] == list(reversed(range(10_000)))


@pytest.mark.parametrize("distinct", [1, 7, 10_000])
async def test_leaving_costs_a_few_comparisons_however_many_wait(distinct: int) -> None:
    """Ten thousand that are cancelled in any order look for themselves, not at the others."""
    lane: Lane = Lane()
    many = await waiters(*(Priority(n % distinct) for n in range(10_000)))
    for waiter in many:
        lane.join(waiter)
    random.Random(1).shuffle(many)
    Priority.compared = Counted.compared = 0
    for waiter in many:
        lane.leave(waiter)
    assert Counted.compared <= len(many)
    assert Priority.compared <= 25 * len(many)
    assert len(lane) == 0


@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans()), max_size=60))
async def test_the_order_is_by_priority_then_by_arrival(steps: list[tuple[int, bool]]) -> None:
    """After any joining and leaving the lane reads as a list that is sorted and keeps its ties."""
    lane: Lane = Lane()
    waiting: list[Counted] = []
    for number, (priority, leaves) in enumerate(steps):
        if leaves and waiting:
            gone = waiting.pop(number % len(waiting))
            lane.leave(gone)
            lane.leave(gone)
        else:
            waiting += await waiters(priority)
            lane.join(waiting[-1])
        expected = sorted(waiting, key=lambda waiter: -waiter.priority)
        assert list(map(id, lane)) == list(map(id, expected))
        assert len(lane) == len(waiting)
        if waiting:
            assert lane.head is expected[0]
