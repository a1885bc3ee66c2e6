"""Overloads of single calls pause nobody, once the server was seen to take others beside them."""

from __future__ import annotations

from random import Random
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import Outcome
from batchllm.policy import RateLimiter
from batchllm.policy.overload import OverloadLeaks
from batchllm.simulator import ParallelCalls, no_hint
from benchmarks.quota import Limited, Traffic, simulate


def leaking() -> OverloadLeaks:
    leaks = OverloadLeaks()
    leaks.on_judged(leak=True)
    return leaks


def test_the_first_overload_is_judged_however_much_was_accepted_before() -> None:
    """Only a judged one shows that others are taken beside it."""
    leaks = OverloadLeaks()
    for _ in range(100):
        leaks.on_accepted()
    assert not leaks.forgives()


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2])
def test_a_share_of_overloads_is_hardly_ever_judged_again(share: float) -> None:
    """At 20 % one call in a hundred is judged at most."""
    rng, leaks, judged = Random(1), leaking(), 0
    for _ in range(10_000):
        if rng.random() >= share:
            leaks.on_accepted()
        elif not leaks.forgives():
            judged += 1
            leaks.on_judged(leak=True)
    assert judged <= 100


def test_a_server_that_takes_nothing_is_judged_at_the_fifth() -> None:
    leaks = leaking()
    assert [leaks.forgives() for _ in range(5)] == [True] * 4 + [False]


def test_after_an_overload_of_all_calls_each_is_judged() -> None:
    """Nothing is known any more of a server that took none."""
    leaks = leaking()
    leaks.on_judged(leak=False)
    leaks.on_accepted()
    assert not leaks.forgives()


@given(st.lists(st.booleans(), max_size=200))
def test_no_more_are_let_pass_than_four_and_half_of_the_accepted(taken: list[bool]) -> None:
    """In any order of answers no more are let pass."""
    leaks, passed = leaking(), 0
    for accepted in taken:
        if accepted:
            leaks.on_accepted()
        else:
            passed += leaks.forgives()
    assert passed <= 4 + sum(taken) / 2


class Busy(Limited):
    """Refused calls come back as overloads, as nginx answers above its cap."""

    def on_result(self, now: float, send: Any, accepted: bool, wait: float | None) -> None:
        ended = Outcome.OK if accepted else Outcome.OVERLOADED
        self.limiter.on_result(now, send, ended)


@pytest.mark.parametrize("way", [0.002, 0.02])
def test_a_cap_that_shows_in_overloads_alone_is_found_and_used(way: float) -> None:
    """Eight calls of a second at a time: calls overtake each other on the way, so that one is taken
    beside more that are refused, which says nothing against the cap."""
    took = []
    for seed in range(12):
        client = Busy(RateLimiter(rng=Random(seed), calls=20))
        server = ParallelCalls(8, service=1.0, hint=no_hint)
        traffic = Traffic(items=120, callers=20, way=(0.0, way), answer=lambda _: 1.0)
        took.append(simulate(client, server, rng=Random(seed), traffic=traffic, until=300.0).ended)
    assert fmean(took) <= 1.3 * 15
    assert max(took) <= 2 * 15
