"""The numbers of reported limits, each by what goes wrong for a client without it."""

from __future__ import annotations

import pytest

from batchllm.core import LimitHint
from batchllm.policy.bucket import Limit
from batchllm.policy.buckets import Buckets
from batchllm.policy.reported import Accepted, ReportedLimit
from batchllm.policy.reports import Reports

# -- the calls that were accepted lately ---------------------------------------------------------


def accepted_at(*times: float) -> Accepted:
    found = Accepted()
    for at in times:
        found.add(at, at + 0.1)
    return found


def evenly(count: int, since: float, until: float) -> list[float]:
    return [since + number * (until - since) / count for number in range(count)]


def test_a_fifth_more_than_is_claimed_shows_in_nine_minutes() -> None:
    """Over four of them it may still be a bucket that had been full before."""
    found = accepted_at(*evenly(120, 0.0, 600.0))
    assert found.contradicts(10, 60.0, 600.0)
    assert not accepted_at(*evenly(60, 300.0, 600.0)).contradicts(10, 60.0, 600.0)


def test_what_was_accepted_before_the_last_ten_minutes_is_no_reason_to_doubt() -> None:
    """The limit may have been lowered since, and a client would be refused for all that time."""
    found = accepted_at(*evenly(2_000, 0.0, 400.0), *evenly(500, 400.0, 1_050.0))
    assert not found.contradicts(100, 120.0, 1_050.0)


def test_calls_that_arrive_late_do_not_contradict_two_a_minute() -> None:
    """Two at the end of one window, two in the next, two at the start of a third."""
    found = accepted_at(10.0, 10.0, 40.0, 40.0, 69.9, 69.9)  # the last two came at 70.1
    assert not found.contradicts(2, 60.0, 69.95)


def test_five_calls_in_a_minute_contradict_a_claim_of_one() -> None:
    """Four may be late; a client with few calls would be held to one a minute for long."""
    assert accepted_at(0.0, 10.0, 20.0, 30.0, 40.0).contradicts(1, 60.0, 50.0)


def test_a_claim_is_looked_at_once_a_second() -> None:
    """Each reply repeats it, and a look takes a pass over ten minutes."""
    found = accepted_at(0.1)
    assert not found.contradicts(1, 60.0, 0.2)
    for at in evenly(100, 0.3, 0.8):
        found.add(at, at)
    assert not found.contradicts(1, 60.0, 0.9)
    assert found.contradicts(2, 60.0, 0.9)
    assert found.contradicts(1, 60.0, 1.0)


DAY = 86_400.0


def reports_after(*calls: tuple[float, float]) -> Reports:
    found = Reports(Buckets((), "refund"), own_address=False)
    for sent_at, now in calls:
        found.on_accepted(now, sent_at)
    return found


def parallel(amount: int) -> LimitHint:
    return LimitHint(dimension="concurrency", amount=amount, remaining=0)


def test_sixty_calls_accepted_at_once_contradict_a_cap_of_thirty() -> None:
    """A cap that is taken for true halves the pace of a client that needs all sixty."""
    found = reports_after(*((number / 100, 9.0) for number in range(60)))
    found.observe_parallel(parallel(30))
    assert found.parallel_cap is None


def test_a_cap_that_was_lowered_is_believed_after_seventy_calls_that_kept_it() -> None:
    """Otherwise what was allowed before is tried on and on, and refused."""
    before = ((number / 100, 9.0) for number in range(60))
    found = reports_after(*before, *((10.0 + number, 10.9 + number) for number in range(70)))
    found.observe_parallel(parallel(4))
    assert found.parallel_cap == 4


# -- what a reply can mean -----------------------------------------------------------------------


@pytest.mark.parametrize(("days", "meant"), [(31, True), (50, False)])
def test_a_reset_may_be_a_month_away_and_no_longer(days: int, meant: bool) -> None:
    """Quotas of a month are real; beyond that it is a date or a number of another unit."""
    limit = ReportedLimit("requests")
    hint = LimitHint(dimension="requests", amount=100, remaining=0, reset=days * DAY)
    limit.observe(hint, 0.1, 0.0, 1)
    assert limit.binds is meant


# -- the limits of a scope -----------------------------------------------------------------------


@pytest.mark.parametrize(("days", "adopted"), [(31, True), (50, False)])
def test_a_quota_of_a_month_is_adopted_and_none_beyond(days: int, adopted: bool) -> None:
    """A client that drops it spends the month in days; one of years would end every batch."""
    found = reports_after()
    hint = LimitHint(dimension="tokens", amount=100, per=days * DAY)
    assert found.observe(hint, 0.1, 0.0, 1) is adopted


def test_a_limit_of_a_minute_gives_up_as_much_for_jitter_as_a_declared_one() -> None:
    """Less is refused at the edge of each window, and more is lost of each."""
    found = reports_after()
    found.observe(LimitHint(dimension="requests", amount=60, per=60.0), 0.1, 0.0, 1)
    ((limit, _),) = found.drain_adopted()
    assert limit == Limit("requests", 60)
    assert limit.jitter == Limit("requests", 60).jitter


def steady_replies(per: float) -> Limit:
    """Return what is adopted where 1,000 come back in *per* seconds, written in microseconds."""
    found = reports_after()
    for number in range(1, 4):
        hint = LimitHint(dimension="requests", amount=1_000, remaining=1_000 - 300 * number,
                         reset=per * 0.3 * number)  # fmt: skip
        found.observe(hint, number / 10_000, number / 10_000, 300 * number)
    (limit,) = found.sure.values()
    return limit


def test_a_period_of_a_quarter_of_a_second_is_kept_as_it_is() -> None:
    """A fifth would be a quarter more than the server takes."""
    assert steady_replies(0.25).per == pytest.approx(0.25, rel=0.01)


def test_a_measured_period_is_named_no_finer_than_it_is_written() -> None:
    """Resets are in milliseconds; what lies below is noise in the log and in reports."""
    assert steady_replies(10.000_04).per == 10.0
