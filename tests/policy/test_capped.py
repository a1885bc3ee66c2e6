"""A cap on parallel calls that the server names: no pause of the scope, and no endless asking."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from math import inf
from random import Random

import pytest

from batchllm.core import CallCost, LimitHint, Outcome, ServerHint
from batchllm.policy import Cause, CooldownPolicy, RateLimiter, Send

ONE = CallCost()
CAP = ServerHint(limits=(LimitHint(dimension="concurrency", remaining=0),))
ROUND_TRIP = 0.05


def capped_until(limiter: RateLimiter, now: float, end: float) -> tuple[float, list[float]]:
    """Have every call refused for the cap until *end* or until it is parked; returns the sends."""
    flying, sends = deque[tuple[float, Send]](), list[float]()
    while limiter.parked is None and now < end:
        at = limiter.next_time(now, ONE)
        if flying and flying[0][0] <= at:
            now, send = flying.popleft()
            limiter.on_result(now, send, Outcome.THROTTLED, CAP)
            continue
        assert at < inf, "nothing could ever show that calls may go on"
        now = max(now, at)
        if limiter.next_time(now, ONE) <= now:
            flying.append((now + ROUND_TRIP, limiter.on_send(now, ONE)))
            sends.append(now)
    for at, send in flying:
        limiter.on_result(at, send, Outcome.THROTTLED, CAP)
    return now, sends


@pytest.mark.parametrize("fixed", [False, True])
def test_a_cap_that_others_hold_is_asked_ever_more_rarely_and_given_up_after_a_quarter_hour(
    fixed: bool,
) -> None:
    """Else a run would never end, and have its calls refused twenty times a second."""
    policy = CooldownPolicy() if fixed else None
    limiter = RateLimiter(rng=Random(1), calls=4, cooldown=policy)
    now, sends = capped_until(limiter, 0.0, 5000.0)
    parked = limiter.parked
    assert parked is not None
    assert parked.cause is Cause.NOTHING_ACCEPTED
    assert 900.0 <= now <= 910.0
    assert len(sends) <= 4 * (900 / 5 + 10)
    rounds = [at for before, at in pairwise(sends) if at - before > 1.0]
    assert max(b - a for a, b in pairwise(rounds)) <= 5.0 + 2 * ROUND_TRIP


def test_after_it_was_opened_again_it_has_as_long() -> None:
    """One more refusal does not park it at once."""
    limiter = RateLimiter(rng=Random(1), calls=4)
    now, _ = capped_until(limiter, 0.0, 5000.0)
    limiter.reopen(now)
    again, _ = capped_until(limiter, now, 5000.0)
    assert again - now >= 900.0


def test_an_answer_ends_the_waits() -> None:
    """A place was free, so that the next refusal is a first one, and nothing is given up."""
    limiter = RateLimiter(rng=Random(1), calls=4)
    now, _ = capped_until(limiter, 0.0, 800.0)
    now = max(now, limiter.next_time(now, ONE))
    limiter.on_result(now + 1.0, limiter.on_send(now, ONE), Outcome.OK)
    after, sends = capped_until(limiter, now + 1.0, now + 200.0)
    assert limiter.parked is None
    rounds = [b - a for a, b in pairwise(sends) if b - a > ROUND_TRIP]
    assert rounds[0] < 0.5
    assert after - now >= 199.0


def test_a_call_on_its_way_may_hold_a_place() -> None:
    """Answers take many minutes: nothing is given up while one of ours is awaited."""
    limiter = RateLimiter(rng=Random(1), calls=4)
    held = limiter.on_send(0.0, ONE)
    now, _ = capped_until(limiter, 0.0, 2000.0)
    assert limiter.parked is None
    limiter.on_result(now, held, Outcome.OK)
    capped_until(limiter, now, now + 800.0)
    assert limiter.parked is None


def test_a_canary_that_meets_a_cap_waits_as_any_call() -> None:
    """Its pause is over, so that nothing else would hold the next one."""
    limiter = RateLimiter(rng=Random(1), calls=1)
    limiter.on_result(0.1, limiter.on_send(0.0, ONE), Outcome.THROTTLED, ServerHint(wait=2.0))
    _, sends = capped_until(limiter, 0.1, 60.0)
    assert len(sends) < 25


def test_what_was_sent_beside_a_capped_call_makes_no_wait_longer() -> None:
    """A herd meets one moment: fifty refusals are one sign that no place was free."""
    limiter = RateLimiter(rng=Random(1), calls=50, cold_start=False)
    herd = [limiter.on_send(0.0, ONE) for _ in range(50)]
    for send in herd:
        limiter.on_result(ROUND_TRIP, send, Outcome.THROTTLED, CAP)
    assert limiter.next_time(ROUND_TRIP, ONE) <= ROUND_TRIP + 0.11
