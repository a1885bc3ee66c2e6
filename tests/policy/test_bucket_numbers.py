"""The numbers of a bucket, each by what a call gets."""

from __future__ import annotations

import pytest

from batchllm.core import CallCost, ConfigError
from batchllm.policy import Limit
from batchllm.policy.bucket import Bucket
from batchllm.policy.ledger import Ledger

ONE = CallCost()


@pytest.mark.parametrize(("hours", "paced"), [(1, True), (2, False)])
def test_a_quota_of_an_hour_is_paced_and_one_of_two_is_a_stock(hours: int, paced: bool) -> None:
    """A day's quota is for a job to be done, and not for one call in a while."""
    bucket = Bucket(Limit("requests", 600 * hours, per=3600.0 * hours))
    for _ in range(2):
        bucket.take(0.0, ONE)
    assert (bucket.next_time(0.0, ONE) > 5.0) == paced


def test_a_late_call_finds_two_seconds_of_tokens() -> None:
    """Prompts differ in size, so that a loop is late for one because of another."""
    bucket = Bucket(Limit("tokens", 60_000, jitter=0.0))
    cost, now, started = CallCost(1, 500, 0), 100.0, 0
    bucket.take(0.0, cost)
    while bucket.next_time(now, cost) == now:
        bucket.take(now, cost)
        started += 1
    assert started == 4  # of half a second each


@pytest.mark.parametrize(("second", "together"), [(0.9, True), (1.5, False)])
def test_what_was_taken_within_a_4096th_of_the_window_comes_back_together(
    second: float, together: bool
) -> None:
    """Entries are bounded in number, and units come back by 0.02 % of the window too late."""
    bucket = Bucket(Limit("requests", 2, per=4096.0, jitter=0.0))
    assert not bucket.paced
    for at in (0.0, second):
        bucket.take(at, ONE)
    back = bucket.next_time(2.0, ONE)
    assert back == pytest.approx(4096.02 + (second if together else 0.0), abs=0.01)


def test_a_limit_per_year_is_one_and_a_limit_per_two_years_is_a_slip_of_the_pen() -> None:
    assert Limit("requests", 1_000, per=366 * 86_400.0).per == 366 * 86_400.0
    with pytest.raises(ConfigError, match="400 days"):
        Limit("requests", 1_000, per=730 * 86_400.0)


def test_a_ledger_keeps_some_hundred_entries_that_are_over_and_deletes_them_in_one_go() -> None:
    """Each deletion moves all that stand behind; and what is kept must not grow with the run."""
    ledger, kept = Ledger(granularity=1), 0
    for second in range(5_000):
        ledger.book(second * 10, 1)
        ledger.forget(second * 10 - 100)
        kept = max(kept, len(ledger._cost) - ledger.total)
    assert kept == 512


def test_a_ledger_that_was_written_down_gives_back_what_it_would_have_given() -> None:
    ledger, resumed = Ledger(granularity=1), Ledger(granularity=1)
    for second in range(1, 9):
        ledger.book(second * 10, second)
    resumed.load(ledger.dump(), ledger.total)
    for until in range(0, 90, 10):
        for one in (ledger, resumed):
            one.forget(until)
        assert (resumed.total, resumed.frees(9)) == (ledger.total, ledger.frees(9))
