"""One quota for many workers: never exceeded in any window, used to the brim, closed together."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from batchllm.core import CallCost, ConfigError
from batchllm.policy import Lease, LeaseBook, LeasedBucket, LeaseReport, LeaseRequest, Limit, Quota
from batchllm.policy.leases import CallEnd, Correction, EndOfCall
from tests.policy.lease_workers import Company, Nothing, limits, most_in_any_window

ONE = CallCost()
MINUTE = Limit("requests", 600)


def request(
    number: int = 1,
    worker: str = "a",
    want: int = 1,
    quota: Quota | None = None,
    report: LeaseReport | None = None,
) -> LeaseRequest:
    return LeaseRequest(
        worker=worker,
        number=number,
        quota=quota or Quota(limits=(MINUTE,)),
        costs=(ONE,) * want,
        report=report or LeaseReport(),
    )


# 10,000 examples of this test were run once: --hypothesis-seed=14 with max_examples=10_000.
@given(
    workers=st.integers(1, 12),
    per_minute=st.integers(60, 3_000),
    hold=st.floats(0.25, 2.0),
    deaths=st.sampled_from([0.0, 0.02, 0.2]),
    seed=st.integers(0, 1_000_000),
)
@example(workers=11, per_minute=60, hold=1.5558122416010771, deaths=0.0, seed=11)
def test_no_window_ever_has_more_calls_than_the_quota(
    workers: int, per_minute: int, hold: float, deaths: float, seed: int
) -> None:
    """Late starts, late arrivals, lost answers and workers that die never add a unit."""
    per = 5.0
    quota = Quota(limits=limits(max(1, per_minute // 12), None, per), hold=hold)
    company = Company(Random(seed), quota)
    company.run(workers, 15.0, deaths)
    ones = [(at, 1) for at, _ in company.arrivals]
    assert most_in_any_window(ones, per) <= quota.limits[0].amount


@given(
    workers=st.integers(1, 12),
    hold=st.floats(0.25, 2.0),
    deaths=st.sampled_from([0.0, 0.02, 0.2]),
    seed=st.integers(0, 1_000_000),
)
def test_no_window_ever_has_more_tokens_than_the_quota(
    workers: int, hold: float, deaths: float, seed: int
) -> None:
    """Units that go back are those that were not taken, and they go back once."""
    quota = Quota(limits=limits(1_000, 5_000, 5.0), hold=hold)
    company = Company(Random(seed), quota, most_tokens=400)
    company.run(workers, 15.0, deaths)
    assert most_in_any_window(company.arrivals, 5.0) <= 5_000


def test_the_check_of_windows_notices_calls_that_come_later_than_was_booked_for() -> None:
    company = Company(Random(1), Quota(limits=limits(100, None, 5.0), hold=0.25))
    company.run(4, 40.0, 0.0)
    ordered = sorted(at for at, _ in company.sent)
    assert len(ordered) > 0.7 * 800
    late = [(at + (2.0 if number % 200 < 100 else 0.0), 1) for number, at in enumerate(ordered)]
    assert most_in_any_window(late, 5.0) > 100


@pytest.mark.parametrize("workers", [1, 4, 12])
def test_the_quota_is_used_to_the_share_that_holding_slots_leaves(workers: int) -> None:
    """The share is q / (q + J + hold + slack), less a little for the way to the authority."""
    book, quota = LeaseBook(), Quota(limits=(Limit("requests", 3_000),), hold=0.5)
    now, numbers, slots, due = 0.0, [0] * workers, 0, [0.0] * workers
    while (now := min(due)) < 120:
        place = due.index(now)
        numbers[place] += 1
        lease = book.lease(now, request(numbers[place], f"w{place}", 100, quota))
        slots += len(lease.opens)
        due[place] = now + max(lease.again_in, lease.opens[-1] - 0.25 if lease.opens else 0, 0.01)
    assert slots / 120 / 50 == pytest.approx(60 / 61.02, abs=0.012)


def test_slots_of_equal_calls_are_evenly_spaced_and_a_block_is_shared_by_those_who_ask() -> None:
    book = LeaseBook()
    first = book.lease(0.0, request(1, "a", 50))
    step = first.opens[2] - first.opens[1]
    assert step == pytest.approx(61.02 / 600, abs=1e-3)
    assert len(first.opens) == 10  # 0.8 seconds
    assert len(book.lease(0.0, request(1, "b", 50)).opens) == 1  # no more than a second ahead
    assert len(book.lease(1.0, request(2, "a", 50)).opens) == 5  # 0.4 seconds, as two ask


def test_no_slot_lies_more_than_a_second_ahead() -> None:
    book = LeaseBook()
    for number in range(1, 4):
        lease = book.lease(0.0, request(number, want=50))
    assert lease.opens == ()
    assert 0.4 < lease.again_in < 0.7
    assert book.lease(lease.again_in, request(9)).opens


def test_a_report_counts_once_however_often_its_number_comes() -> None:
    quota = Quota(limits=(Limit("tokens", 1_000, per=10.0),))
    book = LeaseBook()
    costs = (CallCost(1, 500, 0),)
    first = book.lease(0.0, LeaseRequest(worker="a", number=1, quota=quota, costs=costs))
    given = LeaseReport(corrections=(Correction(first.at + first.opens[0], -400, 0),))
    again = LeaseRequest(worker="a", number=2, quota=quota, report=given)
    used = [book.lease(0.1, again).used[0] for _ in range(3)]
    assert used == [0.1, 0.1, 0.1]


def test_what_a_slot_never_had_is_not_given_back() -> None:
    quota = Quota(limits=(Limit("tokens", 1_000, per=10.0),))
    book = LeaseBook()
    costs = (CallCost(1, 500, 0),)
    first = book.lease(0.0, LeaseRequest(worker="a", number=1, quota=quota, costs=costs))
    wrong = LeaseReport(
        corrections=(
            Correction(first.at + first.opens[0], -900, 0),
            Correction(-50.0, -400, 0),
            Correction(50.0, -400, 0),
        )
    )
    lease = book.lease(0.1, LeaseRequest(worker="a", number=2, quota=quota, report=wrong))
    assert lease.used == (0.0,)


def test_two_runs_that_declare_different_quotas_are_an_error_that_names_both() -> None:
    book = LeaseBook()
    book.lease(0.0, request(1, "a"))
    other = Quota(limits=(Limit("requests", 900),))
    with pytest.raises(ConfigError, match=r"900 requests per 60 s.*600 requests per 60 s"):
        book.lease(1.0, request(1, "b", quota=other))
    assert book.lease(1.0, request(1, "c", quota=Quota())).limits[0].amount == 600
    assert book.lease(30.0, request(2, "b", quota=other)).limits[0].amount == 900


def test_a_reported_limit_holds_for_all_unless_one_of_its_kind_is_declared() -> None:
    found = LeaseReport(found=(Limit("requests", 60), Limit("tokens", 9_000)))
    book = LeaseBook()
    assert book.lease(0.0, request(1, quota=Quota())).limits == ()
    lease = book.lease(0.1, request(2, quota=Quota(), report=found))
    assert [limit.amount for limit in lease.limits] == [60, 9_000]
    declared = LeaseBook()
    lease = declared.lease(0.0, request(1, report=found))
    assert [limit.amount for limit in lease.limits] == [600, 9_000]


def test_a_refusal_closes_for_all_and_one_canary_goes_to_one_worker() -> None:
    book = LeaseBook()
    book.lease(0.0, request(1, "a"))
    book.lease(0.0, request(1, "b"))
    closed = book.lease(1.0, request(2, "a", report=LeaseReport(closed_for=5.0)))
    assert (closed.opens, closed.again_in) == ((), 5.0)
    assert book.lease(2.0, request(2, "b", 9)).again_in == 4.0
    canary = book.lease(6.1, request(3, "b", 9))
    assert canary.canary
    assert len(canary.opens) == 1
    assert book.lease(6.2, request(3, "a", 9)).opens == ()
    taken = book.lease(6.5, request(4, "b", 9, report=ended(canary, "accepted")))
    assert len(taken.opens) > 1
    assert book.lease(6.6, request(4, "a", 9)).opens


def ended(lease: Lease, how: EndOfCall, wait: float | None = None) -> LeaseReport:
    """The report of the call in the first slot of *lease*."""
    at = lease.at + lease.opens[0]
    return LeaseReport(ends=(CallEnd(how=how, at=at, mark=lease.mark, wait=wait),))


def with_a_canary_of_a() -> tuple[LeaseBook, Lease]:
    """A book that a refusal closed for a second, and whose canary worker "a" has since 1.1 s."""
    book = LeaseBook()
    book.lease(0.0, request(1, "a", report=LeaseReport(closed_for=1.0)))
    canary = book.lease(1.1, request(2, "a"))
    assert canary.canary
    return book, canary


def test_after_a_refused_canary_the_next_one_waits_a_second() -> None:
    book, canary = with_a_canary_of_a()
    assert not book.lease(1.5, request(3, "a", report=ended(canary, "refused"))).canary
    assert not book.lease(2.2, request(1, "b")).canary
    assert book.lease(2.8, request(2, "b")).canary


def test_a_canary_whose_worker_died_goes_to_another() -> None:
    book, _ = with_a_canary_of_a()
    assert not book.lease(9.0, request(1, "b")).canary
    assert book.lease(12.0, request(2, "b")).canary


def test_a_canary_without_a_refusal_opens_if_its_worker_is_there() -> None:
    book, _ = with_a_canary_of_a()
    book.lease(7.0, request(3, "a", want=0))
    lease = book.lease(7.1, request(1, "b", 3))
    assert len(lease.opens) == 3
    assert not lease.canary


def test_a_book_goes_on_from_what_it_wrote_down() -> None:
    quota = Quota(limits=(Limit("requests", 600), Limit("tokens", 50_000)))
    whole, resumed = LeaseBook(), LeaseBook()
    for number in range(1, 60):
        asked = LeaseRequest(
            worker=f"w{number % 3}",
            number=number,
            quota=quota,
            costs=(CallCost(1, 40 + number, 7),) * 9,
            report=LeaseReport(closed_for=2.0 if number == 20 else 0.0),
        )
        now = number * 0.4
        resumed = LeaseBook.unpack(resumed.pack())
        assert resumed.lease(now, asked) == whole.lease(now, asked)


ENDS: tuple[EndOfCall, ...] = (
    "accepted", "accepted", "accepted", "unproven", "refused", "overloaded", "capped", "lost",
    "unsent",
)  # fmt: skip


@given(seed=st.integers(0, 1_000_000), refused=st.sampled_from([0.0, 0.05, 0.5]))
def test_a_book_that_learns_goes_on_from_what_it_wrote_down(seed: int, refused: float) -> None:
    """Each answer is that of a book that was never written down, whatever its workers report."""
    rng, whole, resumed = Random(seed), LeaseBook(), LeaseBook()
    now, numbers, flying = 0.0, [0, 0, 0], [list[CallEnd](), list[CallEnd](), list[CallEnd]()]
    for _ in range(80):
        now += rng.choice((0.0, 0.01, 0.1, 0.3, 2.0))
        place = rng.randrange(3)
        numbers[place] += 1
        sent, flying[place] = flying[place], []
        ends = [evolve(each, how=chosen_end(rng, refused)) for each in sent]
        report = LeaseReport(ends=tuple(ends), closed_for=rng.choice((0.0,) * 9 + (1.0,)))
        asked = request(numbers[place], f"w{place}", rng.choice((0, 3, 40)), Quota(), report)
        resumed = LeaseBook.unpack(resumed.pack())
        lease = resumed.lease(now, asked)
        assert lease == whole.lease(now, asked)
        for slot, opens in enumerate(lease.opens):
            mark, others = lease.mark + slot, lease.others + slot
            flying[place].append(
                CallEnd(how="unsent", at=lease.at + opens, mark=mark, others=others)
            )


def chosen_end(rng: Random, refused: float) -> EndOfCall:
    return rng.choice(ENDS) if rng.random() < refused else "accepted"


def test_calls_of_a_worker_that_died_do_not_hold_places_of_a_search() -> None:
    book = LeaseBook()
    first = book.lease(0.0, request(1, "a", 100, Quota()))
    assert len(first.opens) == 8
    assert book.lease(0.01, request(1, "b", 100, Quota())).opens == ()
    assert len(book.lease(11.0, request(2, "b", 100, Quota())).opens) >= 8


def test_after_a_restart_of_the_machine_what_was_sent_stays_counted() -> None:
    quota = Quota(limits=(Limit("requests", 3, per=86_400.0),))
    book = LeaseBook()
    assert len(book.lease(90_000.0, request(want=3, quota=quota)).opens) == 3
    book = LeaseBook.load(book.dump(), shift=-89_000.0)
    assert book.lease(2_000.0, request(1, "b", quota=quota)).opens == ()
    assert book.lease(1_000.0 + 86_402.0, request(2, "b", quota=quota)).opens


def test_a_book_without_its_state_gives_nothing_until_earlier_slots_are_over() -> None:
    book = LeaseBook()
    book.keep_silent()
    lease = book.lease(5.0, request())
    assert lease.opens == ()
    assert lease.again_in == 1.5
    assert book.lease(6.6, request(2)).opens


# -- a worker's side -----------------------------------------------------------------------------


def test_a_slot_is_good_from_its_latest_reading_to_its_earliest_end() -> None:
    book, bucket = LeaseBook(), LeasedBucket("a", "", Quota(limits=(MINUTE,), hold=0.5), Nothing())
    asked = bucket.ask(100.0, [ONE] * 3, 0.0)
    bucket.on_lease(asked, book.lease(7.0, asked), 100.0, 100.2)
    assert bucket.next_time(100.2, ONE) == 100.2
    assert bucket.next_time(100.5, ONE) == 100.5
    assert bucket.next_time(100.51, ONE) == 100.51  # by the second slot
    assert bucket.next_time(101.0, ONE) == inf


def test_without_an_answer_no_call_starts_ever() -> None:
    bucket = LeasedBucket("a", "", Quota(limits=(MINUTE,)), Nothing())
    for now in (0.0, 10.0, 1e6):
        bucket.ask(now, [ONE], 0.0)
        assert bucket.next_time(now, ONE) == inf


def test_an_answer_that_comes_twice_counts_once() -> None:
    book, bucket = LeaseBook(), LeasedBucket("a", "", Quota(limits=(MINUTE,)), Nothing())
    asked = bucket.ask(0.0, [ONE], 0.0)
    lease = book.lease(0.0, asked)
    bucket.on_lease(asked, lease, 0.0, 0.0)
    bucket.on_lease(asked, lease, 0.0, 0.0)
    assert bucket.counts().slots == 1


def test_an_answer_that_took_longer_than_the_hold_gives_nothing() -> None:
    book, bucket = LeaseBook(), LeasedBucket("a", "", Quota(limits=(MINUTE,)), Nothing())
    asked = bucket.ask(0.0, [ONE] * 2, 0.0)
    bucket.on_lease(asked, book.lease(0.3, asked), 0.0, 0.6)
    assert bucket.counts().late == 2
    assert bucket.next_time(0.6, ONE) == inf


def test_a_report_whose_answer_is_lost_goes_again_by_its_number() -> None:
    quota = Quota(limits=(Limit("tokens", 1_000, per=10.0),))
    bucket = LeasedBucket("a", "", quota, Nothing())
    bucket.on_found(MINUTE)
    first = bucket.ask(0.0, [], 0.0)
    bucket.on_found(Limit("requests", 5))
    again = bucket.ask(1.0, [], 0.0)
    assert (again.number, again.report) == (first.number, first.report)


def test_another_event_loop_gets_no_slot_by_the_clock_of_the_one_before() -> None:
    book, bucket = LeaseBook(), LeasedBucket("a", "", Quota(limits=(MINUTE,)), Nothing())
    asked = bucket.ask(500.0, [ONE] * 3, 0.0)
    bucket.on_lease(asked, book.lease(0.0, asked), 500.0, 500.0)
    bucket.restart(3.0)
    assert bucket.next_time(500.0, ONE) == inf
    assert bucket.due(3.0, [ONE], 2.0) <= 3.0


def test_an_end_from_the_event_loop_before_is_reported_as_one_of_this_one() -> None:
    """Clocks that differ by a day would make a hint of half a minute one of a day, for all."""
    book, bucket = LeaseBook(), LeasedBucket("a", "", Quota(), Nothing())
    asked = bucket.ask(90_000.0, [ONE], 0.0)
    bucket.on_lease(asked, book.lease(0.0, asked), 90_000.0, 90_000.0)
    bucket.on_end(90_001.0, bucket.take(90_000.0, ONE), "refused", wait=30.0)
    bucket.restart(3.0)
    again = bucket.ask(3.5, [ONE], 0.0)
    (end,) = again.report.ends
    assert (end.how, end.wait, end.ago) == ("refused", 30.0, 0.5)
    pause = book.lease(2.0, again).pause
    assert pause is not None
    assert pause.seconds <= 30.0


def test_a_call_that_never_left_leaves_its_slot_to_another() -> None:
    book, bucket = LeaseBook(), LeasedBucket("a", "", Quota(limits=(MINUTE,)), Nothing())
    asked = bucket.ask(0.0, [ONE], 0.0)
    bucket.on_lease(asked, book.lease(0.0, asked), 0.0, 0.0)
    taken = bucket.take(0.0, ONE)
    assert bucket.next_time(0.1, ONE) == inf
    bucket.release(taken)
    assert bucket.next_time(0.1, ONE) == 0.1
    with pytest.raises(ValueError, match="ended already"):
        bucket.release(taken)
