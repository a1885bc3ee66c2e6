"""The numbers of the pace of one scope, each by what its calls get."""

from __future__ import annotations

from random import Random

import pytest

from batchllm.core import CallCost, Outcome, ServerHint
from batchllm.policy import Cause, ConcurrencySearch, Learned, PauseLengthened, RateLimiter, State
from batchllm.policy.followed_pauses import FollowedPauses
from batchllm.policy.leases import Pause
from batchllm.policy.send_log import Point, SendLog

ONE = CallCost()


def refused_alone(limiter: RateLimiter, outcome: Outcome, wait: float) -> float:
    """Have one call refused and, *wait* seconds after it was sent, a canary taken; returns when."""
    hint = ServerHint(wait=wait - 0.1)
    limiter.on_result(0.1, limiter.on_send(0.0, ONE), outcome, hint)
    now = limiter.next_time(0.1, ONE)
    limiter.on_result(now + 0.1, limiter.on_send(now, ONE), Outcome.OK)
    return now + 0.1


def test_a_scope_without_a_pace_goes_on_with_four_calls_after_a_pause() -> None:
    """A canary has shown that one is taken; four are no herd, and soon more."""
    limiter = RateLimiter(rng=Random(1), cold_start=False)
    now, started = refused_alone(limiter, Outcome.THROTTLED, 5.0), 0
    while limiter.next_time(now, ONE) <= now:
        limiter.on_send(now, ONE)
        started += 1
    assert started == 4


@pytest.mark.parametrize(("wait", "judged"), [(2.8, False), (3.5, True)])
def test_a_call_that_is_taken_within_three_seconds_of_a_lone_refusal_shows_a_leak(
    wait: float, judged: bool
) -> None:
    """Later it may be a window that began anew. After a leak the next overload is let pass."""
    limiter = RateLimiter(rng=Random(1), learned=Learned(rate=10.0))
    now = limiter.next_time(refused_alone(limiter, Outcome.OVERLOADED, wait), ONE)
    limiter.on_result(now + 0.1, limiter.on_send(now, ONE), Outcome.OVERLOADED)
    assert (limiter.snapshot(now + 0.1).state is not State.OPEN) == judged


def test_the_end_of_a_followed_pause_moves_if_it_does_so_by_a_quarter_of_a_second() -> None:
    """Each answer gives it anew, from the moment at which it came: a request takes as long."""
    pauses = FollowedPauses()
    pauses.follow(0.0, Pause(cause="throttled", seconds=10.0))
    assert pauses.follow(1.0, Pause(cause="throttled", seconds=9.2)) == []
    longer = pauses.follow(2.0, Pause(cause="throttled", seconds=8.5))
    assert longer == [PauseLengthened(at=2.0, cause=Cause.THROTTLED, until=10.5, hinted=False)]


def test_one_slow_round_halves_what_a_search_of_concurrency_aims_at() -> None:
    """One stall of the server is no reason to begin anew."""
    search = ConcurrencySearch(start=16, rising=False)
    now = 0.0
    for seconds in (1.0,) * 16 + (30.0,) * 16:
        now += seconds
        search.on_ok(now, now - seconds, 1 if seconds == 1.0 else 16)
    assert search._limit == pytest.approx(16 + 0.3 * (8 + 4 - 16))


@pytest.mark.parametrize(("in_flight", "grows"), [(72, False), (88, True)])
def test_a_limit_that_is_used_to_less_than_four_fifths_does_not_grow(
    in_flight: int, grows: bool
) -> None:
    """Nothing is learned of calls that were not made."""
    search = ConcurrencySearch(start=100)
    for now in range(1, 101):
        search.on_ok(float(now), now - 1.0, in_flight)
    assert (search.limit > 100) == grows


def test_calls_of_one_instant_are_a_rate_over_a_twentieth_of_a_second() -> None:
    """A burst is sent within microseconds and says nothing of thousands a second."""
    log = SendLog()
    log.on_send(0.0)
    log.on_send(0.001)
    assert log.measure(Point(0.0, 0), log.now(0.001)) == (2, pytest.approx(40.0))
