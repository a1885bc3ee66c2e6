"""Rates between the remembered episodes of a scope: of buckets, of windows, of the last minute."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from batchllm.policy.rate_meter import RateMeter
from batchllm.policy.send_log import Point, SendLog
from batchllm.policy.windows import Episode


class Scope:
    """A log and a meter with a clock."""

    def __init__(self) -> None:
        self.log = SendLog()
        self.meter = RateMeter(self.log)
        self.now = 0.0

    def send(self, calls: int, rate: float = 10.0) -> None:
        """Have so many calls accepted, the first of them now."""
        for _ in range(calls):
            self.log.on_send(self.now)
            self.now += 1 / rate

    def runs_out(self, pause: float = 0.0, canaries: int = 0) -> Episode:
        """Have one call refused, and the canaries; the quota is back after *pause* seconds."""
        begun = empty = Point(self.now, self.log.on_send(self.now))
        self.log.on_lost(begun.mark)
        for _ in range(canaries):
            self.now += pause / (canaries + 1)
            empty = Point(self.now, self.log.on_send(self.now))
            self.log.on_lost(empty.mark)
        self.now = begun.at + pause
        back = self.log.now(self.now)
        return Episode(begun=begun, empty=empty, back=back, leak=not pause, canaries=canaries)


def test_the_first_rate_spans_the_first_send_and_the_recovery_or_the_last_refused_canary() -> None:
    """At most a minute before the first refusal."""
    scope = Scope()
    scope.send(100)
    assert scope.meter.first(scope.runs_out(10.0)) == (100, pytest.approx(100 / 20))
    scope = Scope()
    scope.send(100)
    assert scope.meter.first(scope.runs_out(10.0, canaries=1)) == (100, pytest.approx(100 / 15))
    scope = Scope()
    scope.send(900)
    assert scope.meter.first(scope.runs_out(40.0)) == (pytest.approx(600, abs=3), pytest.approx(6))


def test_the_first_rate_of_a_leak_ends_with_the_last_send() -> None:
    """Nothing was asked for while it was judged, which takes as long as a refusal does."""
    scope = Scope()
    scope.send(100)
    leak = scope.runs_out()
    scope.send(20)
    judged = evolve(leak, back=scope.log.now(scope.now + 1.0))
    assert scope.meter.first(judged)[1] == pytest.approx(120 / 13, rel=0.01)
    assert scope.meter.first(evolve(judged, taken=0.9))[1] == pytest.approx(10, rel=0.01)


def test_after_an_episode_that_showed_nothing_it_spans_from_its_recovery() -> None:
    """The quota came back there."""
    scope = Scope()
    scope.meter.episodes.append(scope.runs_out(30.0))
    scope.send(100)
    assert scope.meter.first(scope.runs_out(10.0))[1] == pytest.approx(100 / 20)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_a_bucket_is_measured_over_the_last_episodes_with_thirty_calls(calls: list[int]) -> None:
    """From the nearest empty moment from which on so many were accepted; else from the first."""
    scope, since = Scope(), list[int]()
    for each in calls:
        scope.meter.episodes.append(scope.runs_out())
        scope.send(each)
        since = [before + each for before in [*since, 0]]
    accepted, rate = scope.meter.between_empties(scope.runs_out(), 300.0)
    assert accepted == next((one for one in reversed(since) if one >= 30), since[0])
    assert rate == pytest.approx(10.0, rel=0.01)


def test_nothing_is_measured_over_more_than_the_time_looked_back_on() -> None:
    """Where the last episodes are older, the stretch begins between them."""
    scope = Scope()
    scope.meter.episodes.append(scope.runs_out())
    scope.send(100, 10.0)
    scope.send(100, 2.0)
    accepted, rate = scope.meter.between_empties(scope.runs_out(), 20.0)
    assert (accepted, rate) == (pytest.approx(40, abs=1), pytest.approx(2.0, rel=0.05))


def test_a_window_is_measured_from_recovery_to_recovery() -> None:
    """All that was accepted from one to the next counts, over the pause as well."""
    scope = Scope()
    scope.send(60)
    scope.meter.episodes.append(scope.runs_out(30.0))
    scope.send(60)
    assert scope.meter.between_returns(scope.runs_out(54.0), 300.0) == pytest.approx(1.0)


def test_a_leak_after_a_few_calls_shows_no_less_than_two_calls_more_would_have() -> None:
    """After three in 0.3 s, five in that time; without an episode before, all looked back on."""
    scope = Scope()
    scope.meter.episodes.append(scope.runs_out())
    scope.send(3)
    assert scope.meter.at_most(scope.runs_out(), 300.0) == pytest.approx(5 / 0.3)
    scope = Scope()
    scope.send(98, 10.0)
    assert scope.meter.at_most(scope.runs_out(), 9.8) == pytest.approx(100 / 9.8, rel=0.02)


@pytest.mark.parametrize(("calls", "rate"), [(50, 10.0), (3000, 10.0), (90, 0.5)])
def test_the_minute_before_begins_at_the_first_send(calls: int, rate: float) -> None:
    """A run of five seconds has no minute, and no fifty-five seconds without a call."""
    scope = Scope()
    scope.send(calls, rate)
    episode = scope.runs_out()
    assert scope.meter.minute_before(episode) == pytest.approx(rate, rel=0.03)
    assert scope.meter.has_minute(episode) == (calls / rate > 60)


def test_the_minute_before_does_not_reach_into_a_pause() -> None:
    """Nothing was asked for there; a leak pauses nothing."""
    for pause in (30.0, 0.0):
        scope = Scope()
        scope.send(300)
        scope.meter.episodes.append(scope.runs_out(pause))
        scope.send(200)
        assert scope.meter.minute_before(scope.runs_out()) == pytest.approx(10.0, rel=0.01)


def test_thirty_two_episodes_are_remembered() -> None:
    """So many that thirty calls can be measured although each was the last."""
    scope = Scope()
    for _ in range(40):
        scope.meter.episodes.append(scope.runs_out())
        scope.send(1)
    assert scope.meter.between_empties(scope.runs_out(), 300.0)[0] == 30
    assert len(scope.meter.episodes) == 32
