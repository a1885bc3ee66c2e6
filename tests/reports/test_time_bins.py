"""Counts over time: nothing is lost, however long the time gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.reports.time_bins import TimeBins

times = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


@given(times)
def test_the_sums_stay_and_the_bins_are_few(moments: list[float]) -> None:
    """Each event is in one bin, whose middle lies within a width of it at most."""
    bins = TimeBins(2)
    for moment in moments:
        bins.add(moment, (1, 10))
    middles, (events, tokens) = bins.rates()
    assert len(middles) <= 120
    assert sum(events) * bins.width == pytest.approx(len(moments))
    assert tokens == pytest.approx([10 * rate for rate in events])
    last = max(moments)
    assert middles[-1] - bins.width / 2 <= last <= middles[-1] + bins.width / 2 + 1e-6


def test_a_steady_course_is_flat() -> None:
    """A hundred events a second are seen as such, but for the bin that is not full."""
    bins = TimeBins(1)
    for n in range(100 * 3600):
        bins.add(n / 100, (1,))
    _, (rates,) = bins.rates()
    assert rates[:-1] == pytest.approx([100.0] * (len(rates) - 1), rel=0.01)


def test_a_bin_that_is_cut_by_the_end_is_as_high_as_the_others() -> None:
    """A run that ends within it did not get slower."""
    bins = TimeBins(1)
    for n in range(100 * 205):
        bins.add(n / 100, (1,))
    _, (rates,) = bins.rates(205.0)
    assert rates == pytest.approx([100.0] * len(rates), rel=0.02)


def test_without_events_there_is_no_course() -> None:
    """Neither points nor values."""
    assert TimeBins(2).rates() == ([], [[], []])
