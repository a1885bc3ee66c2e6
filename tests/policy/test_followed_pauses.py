"""The pauses of all workers of a shared quota, as one of them reports and keeps them."""

from __future__ import annotations

from random import Random

import pytest

from batchllm.core import CallCost, LimitHint, Outcome, ServerHint
from batchllm.policy import (
    Cause,
    CooldownEnded,
    EpisodeStarted,
    LeasedBucket,
    PauseLengthened,
    Quota,
    RateLimiter,
    ScopeParked,
    State,
)
from batchllm.policy.followed_pauses import FollowedPauses
from batchllm.policy.leases import Lease, Pause
from tests.policy.lease_workers import Nothing

ONE = CallCost()


def test_a_pause_is_reported_once_when_it_grows_and_when_it_is_over() -> None:
    pauses = FollowedPauses()
    assert pauses.follow(1.0, Pause(cause="throttled")) == []  # a refusal is judged
    assert pauses.state is State.CLOSED
    assert pauses.next_time(1.0) == 1.0  # slots that are left may be used
    begun = pauses.follow(1.2, Pause(cause="throttled", seconds=3.0, hinted=True))
    assert begun == [EpisodeStarted(at=1.2, cause=Cause.THROTTLED, until=4.2, hinted=True)]
    assert pauses.next_time(2.0) == 4.2
    assert pauses.follow(2.0, Pause(cause="throttled", seconds=2.21)) == []
    longer = pauses.follow(4.3, Pause(cause="throttled", seconds=2.0))
    assert longer == [PauseLengthened(at=4.3, cause=Cause.THROTTLED, until=6.3, hinted=False)]
    assert pauses.follow(6.4, None) == [CooldownEnded(at=6.4, cause=Cause.THROTTLED, length=5.2)]
    assert pauses.free


def worker() -> tuple[LeasedBucket, RateLimiter]:
    bucket = LeasedBucket("a", "", Quota(), Nothing())
    return bucket, RateLimiter(rng=Random(1), park_after=900.0, leased=bucket)


def answer(bucket: LeasedBucket, limiter: RateLimiter, now: float, pause: Pause | None) -> None:
    asked = bucket.ask(now, [ONE], 0.0)
    lease = Lease(number=asked.number, at=now, hold=0.5, opens=(0.0,), mark=0, pause=pause)
    bucket.on_lease(asked, lease, now, now)
    limiter.on_lease(now)


@pytest.mark.parametrize(
    ("pause", "cause"),
    [
        (Pause(cause="throttled", seconds=3_600.0), Cause.HINT_TOO_LONG),
        (Pause(cause="throttled", refused_for=901.0), Cause.NOTHING_ACCEPTED),
    ],
)
def test_a_worker_parks_by_what_the_others_met(pause: Pause, cause: Cause) -> None:
    bucket, limiter = worker()
    answer(bucket, limiter, 0.0, None)
    answer(bucket, limiter, 1_000.0, pause)
    assert limiter.parked is not None
    assert limiter.parked.cause is cause
    assert any(isinstance(event, ScopeParked) for event in limiter.drain_events())


def test_a_worker_that_begins_to_try_is_not_parked_by_what_was_refused_before() -> None:
    """Nor is one that was reopened."""
    bucket, limiter = worker()
    old = Pause(cause="throttled", refused_for=90_000.0)
    answer(bucket, limiter, 1_000.0, old)
    assert limiter.parked is None
    answer(bucket, limiter, 1_901.0, old)
    assert limiter.parked is not None
    limiter.reopen(2_000.0)
    answer(bucket, limiter, 2_001.0, old)
    assert limiter.parked is None


@pytest.mark.parametrize(
    ("outcome", "hint", "how"),
    [
        (Outcome.OK, None, "accepted"),
        (Outcome.TIMEOUT, None, "unproven"),
        (Outcome.THROTTLED, ServerHint(wait=2.0), "refused"),
        (Outcome.OVERLOADED, None, "overloaded"),
        (
            Outcome.THROTTLED,
            ServerHint(limits=(LimitHint(dimension="concurrency", amount=3, remaining=0),)),
            "capped",
        ),
    ],
)
def test_the_end_of_a_call_is_reported_as_what_it_was(
    outcome: Outcome, hint: ServerHint | None, how: str
) -> None:
    bucket, limiter = worker()
    answer(bucket, limiter, 0.0, None)
    send = limiter.on_send(0.1, ONE)
    limiter.on_result(0.2, send, outcome, hint)
    assert not limiter.cooling  # what it means is for the authority to say
    (end,) = bucket.ask(0.3, [], 0.0).report.ends
    assert (end.how, end.mark) == (how, 0)
    assert end.ago == pytest.approx(0.1)


def test_a_call_that_was_cut_off_and_a_slot_without_a_call_are_reported() -> None:
    bucket, limiter = worker()
    answer(bucket, limiter, 0.0, None)
    limiter.on_cancel(0.2, limiter.on_send(0.1, ONE))
    answer(bucket, limiter, 1.0, None)
    ends = bucket.ask(5.0, [], 0.0).report.ends
    assert [end.how for end in ends] == ["unsent"]
