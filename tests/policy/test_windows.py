"""The rate that whole windows show, from one recovery to the next."""

from __future__ import annotations

import pytest

from batchllm.policy.send_log import Point, SendLog
from batchllm.policy.windows import Episode, Windows


class Scope:
    """A server with a window that is used up again and again."""

    def __init__(self) -> None:
        self.log = SendLog()
        self.windows = Windows(self.log)
        self.before: list[Episode] = []
        self.now = 0.0

    def window(self, accepted: int, seconds: float, pause: float) -> float | None:
        """Have *accepted* calls taken and then a pause; returns the rate at the recovery."""
        begun = self.now
        for number in range(accepted):
            self.log.on_send(begun + (seconds - pause) * number / accepted)
        refused = Point(begun + seconds - pause, self.log.count)
        self.now = begun + seconds
        episode = Episode(begun=refused, empty=refused, back=self.log.now(self.now), leak=False)
        rate = self.windows.rate(self.before, episode, 0.0)
        self.windows.on_episode(episode)
        self.before.append(episode)
        return rate


@pytest.mark.parametrize(("pause", "window"), [(2.5, False), (3.5, True)])
def test_three_seconds_without_acceptance_are_a_window(pause: float, window: bool) -> None:
    """A bucket that stands at nothing takes a call again sooner, but for the slowest."""
    begun, back = Point(10.0, 5), Point(10.0 + pause, 5)
    assert Episode(begun=begun, empty=begun, back=back, leak=False).is_window == window


def test_the_windows_of_five_minutes_are_measured_together() -> None:
    """A recovery that is known to a quarter of a minute weighs little so; older ones are gone."""
    scope = Scope()
    rates = [scope.window(each, 60.0, 10.0) for each in (60, 60, 60, 120, 120, 120, 120, 120)]
    # From the recovery after the third window on there are 120 in each minute.
    assert rates[6] == pytest.approx((60 + 4 * 120) / 300, rel=0.01)
    assert rates[7] == pytest.approx(2.0, rel=0.01)


def test_three_windows_are_measured_however_long_they_are() -> None:
    scope = Scope()
    rates = [scope.window(each, 200.0, 20.0) for each in (100, 100, 100, 400, 400, 400, 400)]
    assert rates[4] == pytest.approx((100 + 800) / 600, rel=0.01)
    assert rates[5] == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize(("gap", "length"), [(179.0, 59.7), (250.0, 60.0)])
def test_up_to_three_windows_between_two_recoveries_show_how_long_one_is(
    gap: float, length: float
) -> None:
    """Of four their number is no longer sure."""
    scope = Scope()
    for _ in range(2):
        scope.window(60, 60.0, 10.0)
    scope.window(60, gap, 10.0)
    assert scope.windows._length == pytest.approx(length, abs=0.1)


@pytest.mark.parametrize(("gap", "rate"), [(80.0, 0.75), (110.0, 1.0)])
def test_a_window_and_a_half_after_a_recovery_one_in_between_was_not_used_up(
    gap: float, rate: float
) -> None:
    """Its calls say nothing of what it would have given: the length of the last one does."""
    scope = Scope()
    for _ in range(2):
        scope.window(60, 60.0, 10.0)
    scope.windows._length = 60.0
    begun = scope.now
    for number in range(60):
        scope.log.on_send(begun + gap - 60.0 + number * 50 / 60)
    refused = Point(begun + gap - 10.0, scope.log.count)
    back = scope.log.now(begun + gap)
    episode = Episode(begun=refused, empty=refused, back=back, leak=False)
    shown = scope.windows.rate(scope.before[-1:], episode, 0.0)
    assert shown == pytest.approx(rate, rel=0.02)


def test_a_probe_takes_three_quarters_of_a_window_or_half_of_the_longest_pause() -> None:
    """Only the end of a window shows that the pace was above it."""
    scope = Scope()
    scope.window(60, 60.0, 30.0)
    assert scope.windows.shortest_probe == 15.0
    scope.window(60, 60.0, 30.0)
    assert scope.windows.shortest_probe == 45.0
