"""The numbers of a reported limit whose bucket is small, each by what is concluded too soon."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from batchllm.core import LimitHint
from batchllm.policy.reported.burst import Burst
from batchllm.policy.reported.reading import Reading


def line(rests: Iterable[int], holds: float, rate: float = 10.0, amount: int = 600) -> Burst:
    """Return what replies show that name these rests of a bucket, and when it is full again."""
    found = Burst()
    for number, rest in enumerate(rests):
        hint = LimitHint(dimension="requests", amount=amount, remaining=rest,
                         reset=(holds - rest) / rate)  # fmt: skip
        reading = Reading.of(hint, number + 0.05, number, number)
        assert reading is not None
        found.add(reading)
    return found


def again_and_again(*rests: int, replies: int) -> list[int]:
    return [rests[number % len(rests)] for number in range(replies)]


def test_a_line_leads_through_any_two_replies() -> None:
    """Two of a window do not make a small bucket of it, and three may be one."""
    assert not line([40, 20], 50.0).is_smaller_than(600)
    assert line([40, 30, 20], 50.0).is_smaller_than(600)


@pytest.mark.parametrize(("rests", "sure"), [(12, False), (20, True)])
def test_a_dozen_rests_on_a_line_are_chance_and_twenty_are_none(rests: int, sure: bool) -> None:
    """A small log passes for a bucket otherwise, or a client waits long for what it knows."""
    assert line(range(10, 10 + rests), 50.0).sure is sure


@pytest.mark.parametrize(("replies", "sure"), [(36, False), (72, True)])
def test_a_bucket_of_ten_is_known_after_some_fifty_replies(replies: int, sure: bool) -> None:
    """It has no more rests than eleven, and a log that is seldom used up fits for a while."""
    assert line(again_and_again(*range(11), replies=replies), 10.5).sure is sure


def test_six_rests_again_and_again_are_no_bucket() -> None:
    """A busy log shows as many."""
    assert not line(again_and_again(*range(5, -1, -1), replies=100), 5.5).sure


def test_every_second_rest_of_a_bucket_is_too_few() -> None:
    """A client that takes one at a time sees nearly each of them."""
    assert not line(again_and_again(*range(0, 19, 2), replies=100), 18.5).sure


@pytest.mark.parametrize(("lacks", "sure"), [(1.5, True), (3.0, False)])
def test_a_bucket_is_known_by_a_reply_that_sees_it_full_but_for_its_own_call(
    lacks: float, sure: bool
) -> None:
    """A saturated log is on a line, too, where it is nearly used up, and is never seen full."""
    assert line(again_and_again(*range(14, -1, -1), replies=100), 14.0 + lacks).sure is sure


def test_a_period_of_55_seconds_is_not_taken_for_a_minute_while_replies_allow_both() -> None:
    """Calls would be sent a twelfth slower for as long as the line lasts."""
    near = line([8, *range(17)], 50.0, rate=600 / 55)
    assert near.sure
    assert near.period(600) is None
    far = line([30, *range(31)], 50.0, rate=600 / 55)
    assert far.period(600) == pytest.approx(55.0, rel=0.01)


@pytest.mark.parametrize(("holds", "smaller"), [(400.0, True), (590.0, False)])
def test_a_bucket_of_two_thirds_of_the_limit_is_smaller_and_a_whole_one_is_not(
    holds: float, smaller: bool
) -> None:
    """A burst of the whole limit would be refused by the third that is not there."""
    found = line([*range(int(holds) - 60, int(holds))], holds)
    assert found.is_smaller_than(600) is smaller
