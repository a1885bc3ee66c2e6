"""Calls accepted between two points are those sent there less those of them refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchllm.policy.send_log import KEPT, Point, SendLog


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=120))
def test_accepted_is_what_counting_one_by_one_gives(calls: list[tuple[int, bool]]) -> None:
    """For every pair of points, wherever they lie, and whatever was refused late."""
    log, now, sent = SendLog(), 0.0, list[tuple[float, bool]]()
    for sixtieths, lost in calls:
        now += sixtieths / 60
        mark = log.on_send(now)
        assert mark == len(sent)
        sent.append((now, lost))
    for mark in reversed(range(len(sent))):
        if sent[mark][1]:
            log.on_lost(mark)
    for begin in range(0, len(sent), 7):
        for end in range(begin, len(sent), 5):
            expected = sum(not lost for _, lost in sent[begin:end])
            points = Point(sent[begin][0], begin), Point(sent[end][0], end)
            assert log.accepted(*points) == expected
            assert log.accepted(points[1], points[0]) == 0
    assert log.accepted(Point(0.0, 0), log.now(now)) == sum(not lost for _, lost in sent)
    assert log.last_at == now


def test_a_point_is_known_to_a_quarter_of_a_second() -> None:
    """More is not remembered of calls that come by the thousand."""
    log = SendLog()
    for number in range(1000):
        log.on_send(number / 100)
    for when in (0.0, 1.234, 5.0, 9.5):
        assert 0 <= log.point(when).mark - 100 * when <= 25.5
    assert log.point(20.0) == Point(20.0, 1000)
    assert log.first == Point(0.0, 0)


def test_half_an_hour_is_remembered_and_no_more_than_they_need() -> None:
    """Neither a long run nor many refusals make it grow."""
    log = SendLog()
    for number in range(40_000):
        log.on_send(number / 10)
        if number % 2:
            log.on_lost(number)
    now = 3999.9
    begin = log.point(now - KEPT)
    assert log.accepted(begin, log.now(now)) in range(8998, 9003)
    assert len(log._times) <= 4 * (KEPT + 2)
    assert len(log._lost) < 10 * KEPT / 2 + 512


def test_after_a_restart_the_first_send_is_the_next_one() -> None:
    """Numbers go on, since calls from before may still be refused."""
    log = SendLog()
    log.on_send(0.0)
    log.restart()
    assert log.first is None
    assert log.on_send(500.0) == 1
    assert log.first == Point(500.0, 1)
    assert log.point(100.0).mark == 1
