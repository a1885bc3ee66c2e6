"""The numbers of kind and period of a reported limit, each by what is concluded without it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from batchllm.core import LimitHint
from batchllm.policy.reported import Kind
from batchllm.policy.reported.period import PeriodEvidence
from batchllm.policy.reported.reading import Reading


def read(
    used: int, reset: float, at: float, *, order: int = 0, amount: int = 1_000, whole: bool = False
) -> Reading:
    """Return a reply to a call that was sent at *at*, in milliseconds or in whole seconds."""
    hint = LimitHint(dimension="requests", amount=amount, remaining=amount - used, reset=reset,
                     resolution=1.0 if whole else 0.001)  # fmt: skip
    found = Reading.of(hint, at, at, order)
    assert found is not None
    return found


def evidence(replies: Iterable[Reading], *, steady: bool = False) -> PeriodEvidence:
    found, last = PeriodEvidence(steady=steady), None
    for reply in replies:
        found.add(last, reply, 1.0, 0)
        last = reply
    return found


# -- the kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("later", "kind"), [(0.04, Kind.WINDOW), (0.08, Kind.SLIDING)])
def test_two_replies_mean_one_instant_if_they_differ_by_less_than_calls_do(
    later: float, kind: Kind
) -> None:
    """Clocks and ways differ by hundredths; of a log the oldest call is another one by then."""
    assert evidence([read(100, 5.0, 0.0), read(300, 4.5 + later, 0.5)]).kind is kind


@pytest.mark.parametrize(("period", "kind"), [(10.3, Kind.STEADY), (10.8, Kind.SLIDING)])
def test_two_replies_of_a_bucket_agree_on_its_period(period: float, kind: Kind) -> None:
    """Exact as they are; in a log the share of what is used differs by chance, and by more."""
    assert evidence([read(500, 5.0, 0.0), read(600, 0.6 * period, 0.5)]).kind is kind


def windows() -> list[Reading]:
    return [read(10 * 2**number, 9.0 - number / 10, number / 10) for number in range(2, 7)]


def of_a_log(count: int, since: float = 1.0) -> list[Reading]:
    """Replies of which none foretells the next."""
    resets = ((3.0, 7.0)[number % 2] for number in range(count))
    return [read(640, reset, since + number / 100) for number, reset in enumerate(resets)]


@pytest.mark.parametrize(("odd", "kind"), [(1, Kind.WINDOW), (10, Kind.SLIDING)])
def test_one_odd_reply_changes_nothing_and_ten_do(odd: int, kind: Kind) -> None:
    """A server that is replaced is followed; a reply that was late is no other server."""
    assert evidence([*windows(), *of_a_log(odd)]).kind is kind


@pytest.mark.parametrize(("replies", "sure"), [(15, False), (30, True)])
def test_a_limit_counts_as_sliding_after_some_twenty_replies(replies: int, sure: bool) -> None:
    """None of them foretells the next; that a few do not is chance."""
    assert evidence(of_a_log(replies)).sure is sure


# -- the period ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("gap", "period"), [(11.0, 11.0), (12.5, 10.0)])
def test_a_window_that_began_late_is_not_measured(gap: float, period: float) -> None:
    """It begins with the first call at some servers; a client would wait a quarter too long."""
    found = evidence([read(10, 10.0, 0.0)])
    found.add_window(gap)
    assert found.period == pytest.approx(period)


@pytest.mark.parametrize(("replies", "sure"), [(1, False), (2, True)])
def test_one_reply_is_no_measure_of_a_bucket(replies: int, sure: bool) -> None:
    """It may be the odd one, and calls would be held to it."""
    found = evidence([read(500, 5.0, number / 10) for number in range(replies)], steady=True)
    assert found.sure is sure


@pytest.mark.parametrize(("replies", "sure"), [(2, False), (4, True)])
def test_resets_of_whole_seconds_show_a_short_period_after_a_few(replies: int, sure: bool) -> None:
    """Of one second each may be off by half; after two, the pace would be off by a third."""
    found = [read(500, 1.0, number / 10, whole=True) for number in range(replies)]
    assert evidence(found, steady=True).sure is sure


@pytest.mark.parametrize(
    ("back", "took", "period"), [(12, 1.0, 8.3), (6, 1.0, None), (20, 0.5, None)]
)
def test_what_comes_back_is_counted_over_a_while(
    back: int, took: float, period: float | None
) -> None:
    """A unit of six is a sixth of the pace, and so are calls that overtake each other in 0.5 s."""
    found = [
        read(50, 1.0, at, order=order, amount=100, whole=True)
        for at, order in ((0.0, 0), (took, back))
    ]
    assert evidence(found, steady=True).period == (
        None if period is None else pytest.approx(period, abs=0.1)
    )


@pytest.mark.parametrize(("replies", "period"), [(5, 8.0), (16, 10.0)])
def test_counting_serves_until_resets_of_whole_seconds_are_exact(
    replies: int, period: float
) -> None:
    """Resets say ten seconds here, and what comes back says eight; calls in flight blur that."""
    found = [
        read(200, 2.0, number / 4, order=number * 125 // 4, whole=True) for number in range(replies)
    ]
    assert evidence(found, steady=True).period == pytest.approx(period, rel=0.03)
