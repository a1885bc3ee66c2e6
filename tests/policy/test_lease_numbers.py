"""The numbers of a shared quota, each by what a worker gets."""

from __future__ import annotations

from math import inf

import pytest

from batchllm.core import CallCost
from batchllm.policy import Lease, LeaseBook, LeasedBucket, LeaseReport, Limit, Quota
from batchllm.policy.lease_reports import LeaseReports
from batchllm.policy.leases import CallEnd, LeaseRequest
from batchllm.policy.shared_pace import SharedPace
from tests.policy.lease_workers import Nothing
from tests.policy.test_lease_book import MINUTE, ONE, request, with_a_canary_of_a
from tests.policy.test_quota_search import paced_at
from tests.policy.test_quota_search_numbers import settled_at

UNKNOWN = Quota()


def learned(now: float = 0.0) -> SharedPace:
    """The pace of about ten calls a second that a refusal showed, open again since."""
    pace = SharedPace(cold=False)
    for number in range(60):
        at = now + number / 10
        mark = pace.book(at, "a")
        how = "refused" if number == 56 else "accepted"
        pace.on_report(at + 0.05, "a", [CallEnd(how=how, at=at, mark=mark)], 0.0)
    pace.step(now + 8.0)
    assert pace.open
    assert pace.rate == pytest.approx(10.0, rel=0.1)
    return pace


# -- the learned pace ----------------------------------------------------------------------------


def test_a_worker_whose_places_are_taken_asks_again_before_the_next_opens_twice() -> None:
    """Later it would hear of the end of a call, or of a refusal, by so much later."""
    pace = SharedPace()
    for _ in range(8):
        pace.book(0.0, "a")
    assert pace.next_time(0.0, "a", 1) == pytest.approx(0.05)


def test_a_worker_that_waits_for_the_canary_of_another_asks_again_four_times_a_second() -> None:
    book, _ = with_a_canary_of_a()
    assert book.lease(1.2, request(1, "b")).again_in == pytest.approx(0.25)


def test_slots_lie_a_twentieth_of_a_probe_ahead_and_no_more_than_is_refused_at_once() -> None:
    """All that is booked when a refusal comes is refused, too."""
    for driver, ahead in ((settled_at(), 0.3), (paced_at(), 0.25)):
        pace = SharedPace()
        pace._pace.findings.search = driver.search
        assert pace.ahead == pytest.approx(ahead, rel=0.02)


def test_late_requests_make_up_for_a_quarter_of_a_second() -> None:
    """Processes wait for a core now and then: at ten calls a second two more go at once."""
    pace = learned()
    started = 0
    while pace.next_time(30.0, "a", 1) <= 30.0:
        pace.book(30.0, "a")
        started += 1
    assert started == 3


def test_one_instant_a_second_is_remembered() -> None:
    """The state is copied at every lease."""
    pace = SharedPace()
    for number in range(1_000):
        pace.book(number / 10, "a")
    assert len(pace._pace.log._times) == 100


# -- the authority -------------------------------------------------------------------------------


def test_a_learned_pace_is_forgotten_after_a_day_without_a_call() -> None:
    """Quotas are often per day."""
    for hours, known in ((23, True), (25, False)):
        book = LeaseBook()
        book._pace = learned()
        lease = book.lease(6.0 + 3600.0 * hours, request(1, quota=UNKNOWN))
        assert (lease.rate is not None) == known


def test_one_lease_has_at_most_256_slots() -> None:
    """A thousand a second is a block of eight hundred, which would be gone with one worker."""
    fast = Quota(limits=(Limit("requests", 60_000),))
    assert len(LeaseBook().lease(0.0, request(1, want=1_000, quota=fast)).opens) == 256


def test_of_a_learned_pace_all_workers_together_get_two_thirds_of_what_lies_ahead_in_turn() -> None:
    """The last third is for those who ask while the others wait."""
    book = LeaseBook()
    book._pace = learned()
    book._pace._pace.findings.search = settled_at(100.0).search
    lease = book.lease(1_000.0, request(1, want=100, quota=UNKNOWN))
    assert lease.opens[-1] - lease.opens[0] == pytest.approx(0.2, abs=0.02)


def test_a_worker_counts_as_one_that_asks_for_two_seconds() -> None:
    """Twice the longest way ahead: it asks again sooner if it has calls."""
    for later, asking in ((1.8, 2), (2.2, 1)):
        book = LeaseBook()
        book.lease(0.0, request(1, "a"))
        assert book.lease(later, request(1, "b")).workers == asking


def test_a_worker_that_was_not_heard_of_for_a_minute_is_another_when_it_comes_back() -> None:
    """The count of its reports begins anew; before, a report with an old number counts once."""
    found = LeaseReport(found=(Limit("tokens", 9_000),))
    for silent, limits in ((55.0, 1), (65.0, 2)):
        book = LeaseBook()
        book.lease(0.0, request(9, "a"))
        book.lease(silent, request(1, "b"))
        assert len(book.lease(silent, request(1, "a", report=found)).limits) == limits


def test_calls_of_a_worker_that_nobody_asked_after_for_minutes_hold_no_places() -> None:
    """It is gone in the moment when another asks, without a step in between."""
    book = LeaseBook()
    book.lease(0.0, request(1, "a", 100, UNKNOWN))
    assert book.lease(300.0, request(1, "b", 100, UNKNOWN)).opens


def test_a_worker_asks_again_within_a_minute_however_long_it_has_to_wait() -> None:
    """Units that others give back, or a limit that is reported, may open a slot before."""
    book, hour = LeaseBook(), Quota(limits=(Limit("requests", 1, per=3600.0),))
    book.lease(0.0, request(1, quota=hour))
    assert book.lease(1.0, request(2, quota=hour)).again_in == 60.0


@pytest.mark.parametrize(("second", "left"), [(0.9, 0.002), (1.5, 0.001)])
def test_a_shared_ledger_gives_back_together_what_was_taken_within_a_512th_of_the_window(
    second: float, left: float
) -> None:
    """Fewer entries are fewer bytes that each lease reads and writes."""
    book, quota = LeaseBook(), Quota(limits=(Limit("tokens", 1_000, per=512.0, jitter=0.0),))
    costs = (CallCost(1, 1, 0),)
    for number, at in enumerate((0.0, second), 1):
        asked = LeaseRequest(worker="a", number=number, quota=quota, costs=costs)
        assert book.lease(at, asked).opens
    # The first would be over by then, and the second is not.
    now = 512.0 + quota.hold + second / 2
    lease = book.lease(now, LeaseRequest(worker="a", number=3, quota=quota))
    assert lease.used == (left,)


# -- a worker's side -----------------------------------------------------------------------------


def answered(bucket: LeasedBucket, lease: Lease) -> None:
    bucket.on_lease(bucket.ask(0.0, [ONE] * 9, 0.0), lease, 0.0, 0.0)


def test_more_slots_are_asked_for_a_quarter_of_a_second_before_the_last_one() -> None:
    """The way to the authority and back takes less."""
    bucket = LeasedBucket("a", "", Quota(limits=(MINUTE,)), Nothing())
    answered(bucket, Lease(number=1, at=0.0, hold=0.5, opens=(0.0, 1.0)))
    assert bucket.due(0.0, [ONE] * 3, 2.0) == pytest.approx(0.75)


@pytest.mark.parametrize(("wait", "shown"), [(20.0, inf), (40.0, 40.0)])
def test_a_wait_of_more_than_half_a_minute_is_one_for_a_stock(wait: float, shown: float) -> None:
    """The scope may park then; a shorter one ends with the next lease."""
    bucket = LeasedBucket("a", "", Quota(limits=(MINUTE,)), Nothing())
    answered(bucket, Lease(number=1, at=0.0, hold=0.5, again_in=wait))
    assert bucket.next_time(0.0, ONE) == shown


def test_ends_are_reported_within_half_a_second() -> None:
    """Others may wait for the places of those calls."""
    bucket = LeasedBucket("a", "", UNKNOWN, Nothing())
    answered(bucket, Lease(number=1, at=0.0, hold=0.5, opens=(0.0,), mark=0))
    assert bucket.due(0.0, [], 2.0) == 2.0
    bucket.on_end(0.1, bucket.take(0.0, ONE), "accepted")
    assert bucket.due(0.1, [], 2.0) == 0.5


def test_a_report_has_a_thousand_ends_and_corrections_and_the_next_has_the_other_ends() -> None:
    """It is read by an authority that all wait for; what is not given back is lost, never added."""
    reports = LeaseReports()
    for number in range(1_400):
        reports.end(0.0, CallEnd(how="accepted", at=0.0, mark=number))
        reports.correct(float(number), ONE, CallCost(1, 5, 0))
    counts = []
    for _ in range(2):
        number, report = reports.next(1.0, 0.0)
        counts.append((len(report.ends), len(report.corrections)))
        assert reports.on_answer(number)
    assert counts == [(1_000, 1_000), (400, 0)]
