"""A refusal is spent, a leak or a lone call, by what was sent from it on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import CallCost
from batchllm.policy import Send
from batchllm.policy.diagnosis import Diagnosis, Meaning, RefusalTimes
from batchllm.policy.send_log import Point


def sent(instants: list[float]) -> list[Send]:
    sends: list[Send] = []
    for mark, at in enumerate(instants):
        sends.append(Send(at, CallCost(), mark, mark, sends[-1] if sends else None))
    return sends


def judge(instants: list[float], refused: list[int]) -> Meaning:
    sends = sent(instants)
    diagnosis = Diagnosis(5.0, {send.mark for send in sends})
    for mark in refused:
        diagnosis.add(5.0, sends[mark], None)
    return diagnosis.meaning(len(sends))


@pytest.mark.parametrize(
    ("instants", "refused", "meaning"),
    [
        ([1, 2, 3], [2], Meaning.LONE),
        ([1, 2, 3, 4], [2, 3], Meaning.SPENT),
        ([1, 2, 3, 4, 5], [2, 3], Meaning.SPENT),
        ([1, 2, 3, 4, 5, 6], [2, 3], Meaning.LEAK),
        ([1, 2, 3, 4], [2], Meaning.LEAK),
        ([1, 2, 2, 2], [1], Meaning.LONE),
        ([1, 2, 2, 2], [1, 2], Meaning.SPENT),
        ([1, 2, 2, 2, 3, 4], [1], Meaning.LEAK),
        ([1, 1, 1, 1], [0, 1, 2, 3], Meaning.SPENT),
    ],
)
def test_more_than_half_refused_is_spent_and_a_call_of_the_same_instant_shows_nothing(
    instants: list[float], refused: list[int], meaning: Meaning
) -> None:
    """The server may have taken a call of the same instant before its quota was spent."""
    assert judge(instants, refused) is meaning


@given(st.permutations(range(8)))
def test_the_order_in_which_refusals_arrive_changes_nothing(order: list[int]) -> None:
    """Requests overtake each other on their way."""
    sends = sent([float(number // 2) for number in range(12)])
    diagnosis = Diagnosis(9.0, {send.mark for send in sends})
    for mark in order:
        diagnosis.add(9.0, sends[mark + 2], None)
    assert diagnosis.first is sends[2]
    assert (diagnosis.begun.mark, diagnosis.empty.mark) == (2, 9)
    assert diagnosis.meaning(12) is Meaning.SPENT
    assert diagnosis.beside() == 2


def test_the_latest_hint_holds_and_what_was_refused_is_pending_no_more() -> None:
    """A shorter hint that comes later does not shorten it."""
    sends = sent([1.0, 2.0, 3.0])
    diagnosis = Diagnosis(5.0, {send.mark for send in sends})
    diagnosis.add(5.0, sends[0], 30.0)
    diagnosis.add(6.0, sends[1], 3.0)
    diagnosis.add(7.0, sends[2], None)
    assert diagnosis.hinted_until == 35.0
    assert diagnosis.pending == set()


def test_beside_counts_what_was_in_flight_and_not_refused() -> None:
    """Of ten in flight beside the third refused call two had been refused: it saw eight."""
    sends = sent([float(number) for number in range(12)])
    diagnosis = Diagnosis(20.0, set())
    for mark in (8, 9, 10):
        diagnosis.add(20.0, sends[mark], None)
    assert diagnosis.beside() == 8


def test_the_patience_is_twice_the_median_time_to_a_refusal() -> None:
    """A second at first; of the last nine, between a tenth of a second and five."""
    times = RefusalTimes()
    assert times.patience == 1.0
    times.add(0.3)
    assert times.patience == pytest.approx(0.6)
    for _ in range(4):
        times.add(1.0)
    assert times.patience == pytest.approx(2.0)
    for _ in range(4):
        times.add(0.2)
    assert times.patience == pytest.approx(0.6)
    times.add(0.2)
    assert times.patience == pytest.approx(0.4), "the first of ten is forgotten"
    for seconds, patience in ((0.001, 0.1), (60.0, 5.0)):
        for _ in range(5):
            times.add(seconds)
        assert times.patience == patience


@pytest.mark.parametrize(
    ("accepted", "refused", "taken"), [(17, [0], 16 / 18), (9, [0, 3], 8 / 11), (2, [0], 1 / 3)]
)
def test_a_leak_says_what_share_was_taken_from_the_refused_call_on(
    accepted: int, refused: list[int], taken: float
) -> None:
    """One call less, as a bucket may have had a part of one."""
    sends = sent([float(number) for number in range(1 + accepted + len(refused))])
    diagnosis = Diagnosis(99.0, set())
    for mark in refused:
        diagnosis.add(99.0, sends[1 + mark], None)
    back = Point(99.0, len(sends))
    for leak, at, share in ((True, None, taken), (False, None, 0.0), (True, 98.0, 0.0)):
        episode = diagnosis.episode(back, sent=len(sends), leak=leak, canaries=0, taken_at=at)
        assert episode.taken == pytest.approx(share)
