"""A cap on calls in flight is found where refusals coincide at one number, tested and kept."""

from __future__ import annotations

from math import inf

import pytest

from batchllm.policy.cap_search import CapSearch


def coincide(cap: CapSearch, beside: int, times: int = 10) -> int:
    """Refuse beside so many calls until they are held; returns how often that took."""
    for number in range(1, times + 1):
        if cap.on_episode(beside, first=False, spent=False):
            return number
    return 0


def refused(cap: CapSearch, mark: int = 100, sent: int = 100) -> bool:
    """Refuse a call that was sent after all others."""
    return cap.on_refused(mark, sent)


def answers(cap: CapSearch, count: int) -> None:
    for _ in range(count):
        assert not cap.on_answer(0)


def believed(beside: int = 24) -> CapSearch:
    cap = CapSearch()
    coincide(cap, beside)
    answers(cap, 20)
    assert cap.believed == beside
    return cap


def test_three_refusals_at_one_number_are_tested() -> None:
    """Numbers within one or 5 % count as one; below three calls any slow pace looks like a cap."""
    assert coincide(CapSearch(), 24) == 3
    assert coincide(CapSearch(), 3) == 3
    assert coincide(CapSearch(), 2) == 0
    for beside, near, far in ((10, 11, 12), (100, 105, 106)):
        for other, held in ((near, True), (far, False)):
            cap = CapSearch()
            cap.on_episode(beside, first=False, spent=False)
            cap.on_episode(other, first=False, spent=False)
            assert cap.on_episode(beside, first=False, spent=False) == held


@pytest.mark.parametrize(
    ("beside", "taken", "held"), [(5, 7, True), (5, 8, False), (100, 104, True), (100, 105, False)]
)
def test_a_number_that_was_exceeded_is_no_cap(beside: int, taken: int, held: bool) -> None:
    """More calls were taken at a time before the refusals than an answer on its way explains."""
    cap = CapSearch()
    for _ in range(3):
        cap.on_answer(taken)
        found = cap.on_episode(beside, first=False, spent=False)
    assert found == held


def test_what_was_taken_before_the_last_refusal_says_nothing_of_the_next() -> None:
    """A cap may be lowered; and what an exceeded number was seen before does not count on."""
    cap = CapSearch()
    assert coincide(cap, 24, 2) == 0
    cap.on_answer(40)
    assert not cap.on_episode(24, first=False, spent=False)
    assert coincide(cap, 24) == 3


def test_only_three_of_the_last_four_count() -> None:
    """Among more episodes a quota, too, would refuse at like numbers now and then."""
    for between, held in ((1, True), (2, False)):
        cap = CapSearch()
        for beside in (24, 24, *(100 * (1 + each) for each in range(between))):
            assert not cap.on_episode(beside, first=False, spent=False)
        assert cap.on_episode(24, first=False, spent=False) == held


def test_a_spent_quota_at_the_very_start_suggests_up_to_32_calls() -> None:
    """A cap of 24 with a hint of a minute is so found in one pause instead of three."""
    assert CapSearch().on_episode(32, first=True, spent=True)
    assert not CapSearch().on_episode(33, first=True, spent=True)
    assert not CapSearch().on_episode(32, first=True, spent=False)
    assert not CapSearch().on_episode(32, first=False, spent=True)


def test_twenty_answers_make_it_believed() -> None:
    """Until then its sends are spread, eight over the time to a refusal."""
    cap = CapSearch()
    assert (cap.limit, cap.gap(0.8), cap.on_answer(0)) == (inf, 0.0, False)
    coincide(cap, 24)
    assert (cap.limit, cap.believed) == (24, None)
    assert cap.gap(0.8) == pytest.approx(0.1)
    answers(cap, 19)
    assert cap.believed is None
    answers(cap, 1)
    assert cap.believed == 24
    assert cap.gap(0.8) == 0.0


def test_each_answer_of_a_test_lets_two_calls_go_at_once() -> None:
    """So that a server that takes seconds to refuse is asked for the whole cap soon."""
    cap = CapSearch()
    coincide(cap, 24)
    cap.on_answer(0)
    for _ in range(2):
        assert cap.gap(0.8) == 0.0
        cap.on_send()
    assert cap.gap(0.8) == pytest.approx(0.1)
    cap.on_send()
    cap.on_answer(0)
    assert cap.gap(0.8) == 0.0
    refused(cap)
    coincide(cap, 24, 6)
    assert cap.gap(0.8) == pytest.approx(0.1), "of answers to the next test alone"


def test_a_try_forgives_what_was_sent_until_its_refusal_came() -> None:
    """A server that lets calls wait refuses several of them, and some of them late."""
    cap = believed()
    answers(cap, 1)
    assert cap.limit == 25
    assert refused(cap, 90, 100)
    assert [refused(cap, mark, 110) for mark in range(91, 100)] == [True] * 9
    assert cap.held == 24
    assert not refused(cap, 100, 110)
    assert cap.held is None


def test_a_refused_test_ends_it_and_asks_for_more_coincidences() -> None:
    """Six, then eighteen, then sixty-six."""
    cap = CapSearch()
    for needed in (3, 6, 18, 66, 66):
        assert coincide(cap, 24, 100) == needed
        assert not refused(cap)
        assert (cap.held, cap.limit) == (None, inf)
        assert not refused(cap)


def test_one_call_more_is_tried_after_twenty_answers_and_ever_more_rarely() -> None:
    """A refusal of it binds only its call; the rest doubles up to a thousand answers."""
    cap = believed()
    for rest in (20, 40, 80, 160, 320, 640, 1000, 1000):
        left = rest - 20 if rest == 20 else rest
        answers(cap, left - 1 if left else 0)
        if left:
            assert cap.limit == 24
        else:
            answers(cap, 0)
        answers(cap, 1)
        assert cap.limit == 25
        assert refused(cap), "the cap stands"
        assert cap.limit == 24
        assert cap.believed == 24


def test_a_try_forgives_as_many_refusals_as_it_may_cause_and_no_more() -> None:
    """Step and two: requests overtake each other on their way."""
    cap = believed()
    answers(cap, 1)
    assert cap.limit == 25
    assert [refused(cap) for _ in range(4)] == [True, True, True, False]
    late = believed()
    answers(late, 1)
    assert refused(late)
    answers(late, 20)
    assert not refused(late), "what was tried has long been answered"


def test_more_than_it_takes_away_shows_that_there_is_no_cap() -> None:
    """One, two and four calls more are taken one after the other: it was a quota."""
    cap = believed()
    for held, more in ((24, 1), (25, 2), (27, 4)):
        assert cap.held == held
        while cap.limit == held:
            answers(cap, 1)
        assert cap.limit == held + more
        answers(cap, 19)
        assert cap.on_answer(0) == (more == 4)
    assert cap.held is None
