"""Token estimates: bounded by bytes, calibrated by reports."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import CallCost
from batchllm.policy.tokens import TokenEstimator, strict_input_bound


def test_before_any_report_four_bytes_are_a_token() -> None:
    """The first guess is the field's rule of thumb plus what a message costs."""
    assert TokenEstimator().estimate("k", 4000, max_tokens=200) == CallCost(1, 1016, 200)
    assert TokenEstimator().estimate("k", 4000).output_tokens == 1024
    assert TokenEstimator().expected("k", 4000) == CallCost(1, 1000, 0)


def test_the_strict_bound_is_a_token_per_byte_and_all_the_output_asked_for() -> None:
    """A token of a byte-level vocabulary covers at least one byte."""
    strict = TokenEstimator(strict=True)
    strict.learn("k", 4000, 900, 10)
    assert strict.estimate("k", 4000, max_tokens=500) == CallCost(1, 4016, 500)
    assert strict.estimate("k", 10).output_tokens == 1024


def test_about_99_in_100_calls_stay_within_the_estimate() -> None:
    """Reports move the estimate to where only one call in a hundred exceeds it."""
    rng, estimator = Random(1), TokenEstimator()
    over_input = over_output = 0
    for number in range(6000):
        size = rng.randint(200, 8000)
        given = int(size / 4 * rng.uniform(0.8, 1.3)) + 1
        produced = int(rng.lognormvariate(5, 0.5))
        cost = estimator.estimate("k", size)
        if number >= 500:
            over_input += given > cost.input_tokens
            over_output += produced > cost.output_tokens
        estimator.learn("k", size, given, produced)
    assert over_input < 0.02 * 5500
    assert 0.002 * 5500 < over_output < 0.02 * 5500
    assert 900 < estimator.expected("k", 4000).input_tokens < 1150


@given(st.integers(0, 10**7), st.one_of(st.none(), st.integers(-5, 10**7)), st.integers(-5, 10**7))
def test_an_estimate_never_exceeds_the_bounds(
    size: int, reported: int | None, produced: int
) -> None:
    """After any reports the bytes and the output asked for bound the reservation."""
    estimator = TokenEstimator()
    estimator.learn("k", 100, reported, produced)
    cost = estimator.estimate("k", size, max_tokens=300)
    assert 0 <= cost.input_tokens <= strict_input_bound(size)
    assert cost.output_tokens <= 300


def test_kinds_are_apart_and_bounded_in_number() -> None:
    """One template's tokens say nothing of another's; the oldest kind is forgotten."""
    estimator = TokenEstimator()
    estimator.learn("first", 1000, 500, 5)
    assert estimator.expected("other", 1000).input_tokens == 250
    for number in range(256):
        estimator.learn(f"k{number}", 1000, 100, 5)
    assert estimator.expected("first", 1000).input_tokens == 250
