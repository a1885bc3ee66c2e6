"""The pure policy of hedging: how slow is slow, and how many second copies there may be."""

from __future__ import annotations

from math import exp
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.policy import HedgePolicy


def test_nothing_is_slow_before_enough_is_known() -> None:
    """The first second copy waits for its samples, also with a delay that was given."""
    policy = HedgePolicy(samples=3, delay=5.0)
    for _ in range(2):
        policy.on_ok(1.0)
        assert policy.slow() is None
    policy.on_ok(1.0)
    assert policy.slow() == 5.0


def test_the_learned_delay_is_what_one_call_in_a_hundred_exceeds() -> None:
    """It is the 99th percentile, and never less than the least."""
    policy = HedgePolicy(samples=100, least=2.0)
    for number in range(100):
        policy.on_ok(number / 10)
    assert policy.slow() == 9.8
    quick = HedgePolicy(samples=100, least=2.0)
    for _ in range(100):
        quick.on_ok(0.1)
    assert quick.slow() == 2.0


@given(st.floats(0.01, 0.04), st.floats(10.0, 600.0), st.integers(0, 2**32))
def test_stalls_do_not_set_the_delay_by_which_they_are_found(
    share: float, stall: float, seed: int
) -> None:
    """Up to one call in twenty may stall, for however long: the delay is that of the others."""
    policy, rng = HedgePolicy(samples=200, least=0.0), Random(seed)
    for number in range(1_000):
        stalls = number % 100 < 100 * share - 1e-9
        policy.on_ok(stall if stalls else rng.uniform(0.5, 1.5))
    slow = policy.slow()
    assert slow is not None
    assert 1.0 <= slow <= 3.0


@given(st.floats(0.1, 1.2), st.integers(0, 2**32))
def test_the_delay_is_the_others_longest_where_one_in_a_hundred_stalls(
    sigma: float, seed: int
) -> None:
    """It is near the 99th percentile of the calls that did not stall, whatever their spread."""
    policy, rng = HedgePolicy(samples=200, least=0.0), Random(seed)
    for number in range(1_000):
        policy.on_ok(600.0 if number % 100 == 0 else rng.lognormvariate(0.0, sigma))
    slow = policy.slow()
    assert slow is not None
    assert 0.6 < slow / exp(2.326 * sigma) < 1.7


def learned(*runs: tuple[int, float]) -> float | None:
    """Return what counts as slow after so many calls of so many seconds, in that order."""
    policy = HedgePolicy(samples=200, least=0.0)
    for count, seconds in runs:
        for _ in range(count):
            policy.on_ok(seconds)
    return policy.slow()


def test_the_delay_follows_from_the_middle_and_the_longest_of_twenty() -> None:
    """Middle 1 s, one in twenty 2 s, and stalls: 2 s times (2 / 1) ** 0.414."""
    assert learned((300, 0.5), (600, 1.0), (80, 2.0), (20, 100.0)) == pytest.approx(2.665, abs=1e-3)


def test_the_delay_is_at_most_twice_the_longest_of_twenty() -> None:
    """Short and long calls mixed have a middle that says nothing of the long ones."""
    assert learned((900, 1.0), (80, 50.0), (20, 1_000.0)) == 100.0


def test_the_last_thousand_calls_are_known_and_no_earlier_ones() -> None:
    """An endpoint that has become quicker, or slower, is soon known as that."""
    assert learned((500, 10.0), (500, 1.0)) == 10.0
    assert learned((1_000, 10.0), (1_000, 1.0)) == 1.0


@given(st.lists(st.booleans(), max_size=400), st.floats(0.01, 0.5))
def test_second_copies_keep_within_their_share(wishes: list[bool], share: float) -> None:
    """However often one is wished for."""
    policy = HedgePolicy(share=share, samples=0, delay=1.0)
    for wish in wishes:
        policy.on_ok(1.0)
        if wish and policy.allows():
            policy.on_hedge()
        assert policy.hedges <= share * policy.calls
