"""Against an unknown quota few calls go first, then ever more, by time alone."""

from __future__ import annotations

import pytest

from batchllm.policy.cold_start import ColdStart


def opened(start: ColdStart, places: int, answer: float | None = None) -> list[float]:
    """Take each place as soon as there is one; returns the instants."""
    now, starts = 0.0, list[float]()
    if answer is not None:
        start.on_answer(answer, 1e9)
    while len(starts) < places:
        while (at := start.next_time(now, len(starts))) > now:
            now = at
        starts.append(now)
    return starts


def test_eight_calls_go_at_once_and_their_number_doubles_every_quarter_of_a_second() -> None:
    """Up to a hundred, without an answer; from there every second."""
    starts = opened(ColdStart(), 400)
    assert starts[7] == 0.0 < starts[8]
    assert [starts[n - 1] for n in (16, 32, 64)] == pytest.approx([0.25, 0.5, 0.75])
    assert starts[99] == pytest.approx(0.911, abs=0.001)
    assert starts[199] - starts[99] == pytest.approx(1.0)
    assert starts[399] - starts[199] == pytest.approx(1.0)
    assert starts[101] - starts[100] > 3 * (starts[99] - starts[98])


def test_it_doubles_in_four_times_the_time_to_connect_where_that_is_longer() -> None:
    """A refusal on a new connection is known that much later; from a hundred on it is a second."""
    assert opened(ColdStart(connect_seconds=0.06), 16)[15] == pytest.approx(0.25)
    starts = opened(ColdStart(connect_seconds=0.2), 200)
    assert [starts[n - 1] for n in (16, 32)] == pytest.approx([0.8, 1.6])
    assert starts[199] - starts[99] == pytest.approx(1.0)
    late = ColdStart(100, connect_seconds=0.5)
    assert opened(late, 200)[199] == pytest.approx(2.0)


def test_it_is_quick_where_answers_take_no_time() -> None:
    """Fifty answers one after the other stand for a doubling: a local function is no provider."""
    assert opened(ColdStart(), 16, answer=0.0001)[15] == pytest.approx(0.005)
    assert opened(ColdStart(), 16, answer=1.0)[15] == pytest.approx(0.25)


def test_a_stretch_without_callers_opens_nothing() -> None:
    """The clock runs only while the window is what holds calls back."""
    start = ColdStart()
    assert start.next_time(0.0, 8) > 0.0
    assert start.next_time(100.0, 8) > 100.0
    assert start.window == 8


def test_it_ends_at_the_cap_or_at_a_hundred_thousand_calls() -> None:
    """Beyond the cap on calls it has nothing left to do."""
    assert ColdStart().on_answer(1.0, 9)
    assert not ColdStart().on_answer(1.0, 8)
    assert ColdStart(99_999).on_answer(1.0, 1e9)
    assert not ColdStart(100_000).on_answer(1.0, 1e9)
