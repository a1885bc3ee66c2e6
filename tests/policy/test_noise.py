"""Refusals that mean nothing come as often at a low pace, and are forgiven at their share."""

from __future__ import annotations

import pytest

from batchllm.policy.noise import Noise


def leak(
    noise: Noise, after: float, *, calls: int = 50, early: bool = True, sure: bool = True
) -> float | None:
    return noise.on_leak(10.0, after, calls, early=early, sure=sure)


def known() -> Noise:
    noise = Noise()
    assert leak(noise, 9.5) is None
    assert leak(noise, 9.2) is None
    assert leak(noise, 8.9) == 10.0
    return noise


def test_three_early_leaks_that_lowered_the_rate_by_a_tenth_are_noise() -> None:
    """The rate of before the first of them is returned, and a share of 1 % is known."""
    assert known().share == 0.01


@pytest.mark.parametrize(("after", "noisy"), [(8.99, True), (9.01, False)])
def test_a_quota_that_fell_by_less_than_a_tenth_is_no_noise(after: float, noisy: bool) -> None:
    """The next leak may still show it."""
    noise = Noise()
    leak(noise, 9.5)
    leak(noise, 9.2)
    assert (leak(noise, after) is not None) == noisy
    assert noisy or leak(noise, 8.9) == 10.0


@pytest.mark.parametrize("wrong", [{"early": False}, {"calls": 14}])
def test_a_leak_that_comes_late_or_at_once_begins_the_row_again(wrong: dict[str, int]) -> None:
    """A quota refuses late when it was measured well, and at once when it fell."""
    noise = Noise()
    leak(noise, 9.5)
    leak(noise, 9.2)
    assert leak(noise, 8.0, **wrong) is None  # type: ignore[arg-type]
    assert [leak(noise, 8.0) for _ in range(3)] == [None, None, 10.0]
    exact = Noise()
    assert [leak(exact, 8.0, calls=15) for _ in range(3)] == [None, None, 10.0]


def test_the_row_begins_after_a_sure_measurement_only() -> None:
    """One that was guessed too high falls by as much; later ones need not be sure."""
    noise = Noise()
    assert [leak(noise, 8.0, sure=False) for _ in range(5)] == [None] * 5
    assert leak(noise, 9.5) is None
    assert leak(noise, 9.2, sure=False) is None
    assert leak(noise, 8.9, sure=False) == 10.0


def test_nothing_is_forgiven_before_noise_is_known() -> None:
    """And nothing is counted."""
    noise = Noise()
    for _ in range(1000):
        noise.on_send(below=False)
    assert not noise.forgives(below=False)


def test_four_are_forgiven_at_once_and_then_two_in_a_hundred_calls() -> None:
    """Twice the share of 1 %, so that noise of up to 2 % is borne."""
    noise = known()
    assert [noise.forgives(below=False) for _ in range(5)] == [True] * 4 + [False]
    for _ in range(51):
        noise.on_send(below=False)
    assert [noise.forgives(below=False) for _ in range(2)] == [True, False]
    for _ in range(10_000):
        noise.on_send(below=False)
    assert [noise.forgives(below=False) for _ in range(5)] == [True] * 4 + [False]


def test_below_the_rate_four_and_three_in_a_hundred_are_forgiven() -> None:
    """There a quota refuses nothing."""
    noise = known()
    assert [noise.forgives(below=True) for _ in range(4)] == [True] * 4
    for _ in range(4):
        assert noise.forgives(below=False)
    assert not noise.forgives(below=True)
    for _ in range(100):
        noise.on_send(below=True)
    for _ in range(2):
        assert noise.forgives(below=False)
    assert [noise.forgives(below=True) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("seen", "noisy"), [(2, False), (3, True)])
def test_it_was_a_quota_if_far_fewer_are_refused_below_the_rate_than_expected(
    seen: int, noisy: bool
) -> None:
    """Of 800 calls noise of 1 % refuses eight; fewer than 2.4 of them are none."""
    noise = known()
    for number in range(800):
        noise.on_send(below=True)
        if number < seen:
            noise.forgives(below=True)
        assert noise.share or number == 799
    assert (noise.share > 0) == noisy
    if noisy:  # and it is counted afresh
        for _ in range(800):
            noise.on_send(below=True)
        assert not noise.share
