"""The numbers of one reported limit, each by what a client sends."""

from __future__ import annotations

import pytest

from batchllm.core import LimitHint
from batchllm.policy.reported import Kind, ReportedLimit


def says(remaining: int, reset: float) -> LimitHint:
    return LimitHint(dimension="requests", amount=100, remaining=remaining, reset=reset)


@pytest.mark.parametrize(("earlier", "counts"), [(0.07, True), (0.15, False)])
def test_of_calls_that_overtake_each_other_the_least_that_is_left_counts(
    earlier: float, counts: bool
) -> None:
    """An older one saw another window, or less than is there by now."""
    limit = ReportedLimit("requests")
    limit.observe(says(50, 5.0), 1.2, 1.0, 2)
    limit.observe(says(0, 5.0), 1.21, 1.0 - earlier, 1)
    assert (limit.next_time(1.25, 1, 2) > 1.25) is counts


def test_a_window_is_used_evenly_over_all_but_its_end() -> None:
    """In half of it the calls would come as a herd; to the very end late ones would be refused."""
    limit = ReportedLimit("requests")
    limit.observe(says(80, 9.9), 0.11, 0.1, 20)
    limit.observe(says(60, 9.5), 0.51, 0.5, 40)
    limit.observe(says(99, 9.8), 10.21, 10.2, 41)
    assert (limit.kind, limit.period) == (Kind.WINDOW, pytest.approx(10.0, abs=0.1))
    now, sent, times = 10.3, 41, list[float]()
    while (now := limit.next_time(now, 1, sent)) < 20.0:
        sent += 1
        limit.on_take(now, 1, sent)
        times.append(now)
    assert len(times) == 99
    assert 18.0 < times[-1] < 19.5
