"""The first refusals of a run, which show a burst, or a cap on calls at a time."""

from __future__ import annotations

from random import Random

import pytest

from batchllm.core import CallCost, Outcome, ServerHint
from batchllm.policy import RateLimiter
from batchllm.policy.events import Send

ONE = CallCost()


def limiter() -> RateLimiter:
    return RateLimiter(rng=Random(1), cold_start=False)


def accept(one: RateLimiter, sends: list[Send], now: float) -> None:
    for send in sends:
        one.on_result(now, send, Outcome.OK)


def next_canary(one: RateLimiter, now: float) -> tuple[Send, float]:
    now = max(now, one.next_time(now, ONE))
    return one.on_send(now, ONE), now


def test_a_rate_that_is_mostly_a_pause_is_doubled_within_six_seconds() -> None:
    """A burst of eleven and a second's pause show eleven a second of any server."""
    one = limiter()
    sends = [one.on_send(0.0, ONE) for _ in range(11)]
    refused = one.on_send(0.01, ONE)
    one.on_result(0.05, refused, Outcome.THROTTLED)
    accept(one, sends, 0.06)
    canary, now = next_canary(one, 0.06)
    one.on_result(now + 0.05, canary, Outcome.OK)
    guessed, until = one.snapshot(now).rate, now + 6.0
    assert guessed is not None
    assert 5 < guessed < 20
    while now < until:
        now = max(now + 0.001, one.next_time(now, ONE))
        one.on_result(now, one.on_send(now, ONE), Outcome.OK)
    assert (one.snapshot(now).pace or 0.0) > 2 * guessed


def test_a_lone_call_that_is_refused_twice_beside_eight_shows_a_cap() -> None:
    """A bucket would have taken it the second time; a cap is full until an answer comes."""
    for outcome in (Outcome.THROTTLED, Outcome.OVERLOADED):
        one = limiter()
        sends = [one.on_send(0.0, ONE) for _ in range(8)]
        one.on_result(0.05, one.on_send(0.01, ONE), outcome)
        canary, now = next_canary(one, 0.05)
        one.on_result(now + 0.05, canary, outcome)
        accept(one, sends, now + 1.0)
        canary, now = next_canary(one, now + 1.0)
        one.on_result(now + 0.05, canary, Outcome.OK)
        started = 0
        while (at := one.next_time(now, ONE)) < now + 5 and started < 30:
            now, started = max(now, at), started + 1
            one.on_send(now, ONE)
        assert started == 8
        assert one.snapshot(now).rate is None


@pytest.mark.parametrize(
    ("wait", "counts"), [(4.5, True), (9.0, True), (11.0, False), (60.0, False), (None, False)]
)
def test_a_server_that_says_that_it_is_back_soon_is_not_tested_for_a_cap_at_once(
    wait: float | None, counts: bool
) -> None:
    """A window of sixty in five seconds refused while ten were in flight: ten are no cap.

    A gateway that caps calls asks for a minute whatever it serves.
    """
    one, sends = limiter(), list[Send]()
    for number in range(50):
        accept(one, [one.on_send(number / 100, ONE)], number / 100 + 0.001)
    sends = [one.on_send(0.5, ONE) for _ in range(10)]
    refused = [one.on_send(0.51, ONE) for _ in range(12)]
    hint = None if wait is None else ServerHint(wait=wait)
    for send in refused:
        one.on_result(0.55, send, Outcome.THROTTLED, hint)
    accept(one, sends, 0.6)
    canary, now = next_canary(one, 0.6)
    one.on_result(now + 0.05, canary, Outcome.OK)
    assert (one.snapshot(now + 0.1).rate is not None) is counts


def first_rate(*, overloaded: bool) -> float:
    """Learn a rate from twenty calls in a second, after the pause of an overload or not."""
    one, now = limiter(), 0.0
    if overloaded:
        sends = [one.on_send(0.0, ONE) for _ in range(3)]
        one.on_result(0.05, sends[0], Outcome.OVERLOADED)
        one.on_result(0.05, sends[1], Outcome.OVERLOADED)
        one.on_result(0.06, sends[2], Outcome.OK)
        for _ in range(3):  # the pauses of an overload grow
            canary, now = next_canary(one, now)
            one.on_result(now + 0.05, canary, Outcome.OVERLOADED)
        canary, now = next_canary(one, now)
        now += 0.05
        one.on_result(now, canary, Outcome.OK)
        assert now > 1.0
    for number in range(20):
        accept(one, [one.on_send(now + number / 20, ONE)], now + number / 20 + 0.01)
    refused = one.on_send(now + 1.0, ONE)
    one.on_result(now + 1.05, refused, Outcome.THROTTLED)
    canary, now = next_canary(one, now + 1.05)
    one.on_result(now + 0.05, canary, Outcome.OK)
    rate = one.snapshot(now + 0.1).rate
    assert rate is not None
    return rate


def test_the_pause_of_an_overload_is_no_part_of_a_first_rate() -> None:
    """A front that caps calls and paces them gives both in the first second of a run."""
    assert 0.8 < first_rate(overloaded=True) / first_rate(overloaded=False) < 1.25


def test_a_first_rate_that_a_lone_refusal_lowers_is_probed_at_once() -> None:
    """The first burst is still in a sliding window, and has any pace refused: that is no rate."""
    one = limiter()
    sends = [one.on_send(0.0, ONE) for _ in range(60)]
    refused = [one.on_send(0.01, ONE) for _ in range(70)]
    for send in refused:
        one.on_result(0.05, send, Outcome.THROTTLED, ServerHint(wait=4.9))
    accept(one, sends, 0.06)
    canary, now = next_canary(one, 0.06)
    one.on_result(now + 0.05, canary, Outcome.OK)
    first = one.snapshot(now + 0.05).rate
    for _ in range(6):
        now = max(now + 0.05, one.next_time(now, ONE))
        accept(one, [one.on_send(now, ONE)], now + 0.04)
    now = max(now + 0.05, one.next_time(now, ONE))
    one.on_result(now + 0.04, one.on_send(now, ONE), Outcome.THROTTLED, ServerHint(wait=1.6))
    canary, now = next_canary(one, now + 0.04)
    one.on_result(now + 0.05, canary, Outcome.OK)
    lowered, until = one.snapshot(now + 0.05).rate, now + 12.0
    assert first is not None
    assert lowered is not None
    assert lowered < 0.6 * first
    while now < until:
        now = max(now + 0.001, one.next_time(now, ONE))
        accept(one, [one.on_send(now, ONE)], now)
    assert (one.snapshot(now).pace or 0.0) > 1.5 * lowered
