"""Pace, cap, noise and overloads explain a refusal in one order."""

from __future__ import annotations

import pytest

from batchllm.policy.cooldown import Cause
from batchllm.policy.events import CapLearned, GateEvent, PaceLearned
from batchllm.policy.findings import Findings
from batchllm.policy.learned import Learned
from batchllm.policy.send_log import Point, SendLog
from batchllm.policy.windows import Episode


class Scope:
    """Findings with a clock and a log."""

    def __init__(self, learned: Learned | None = None) -> None:
        self.log, self.events = SendLog(), list[GateEvent]()
        self.findings = Findings(self.log, self.events, learned)
        self.now = 0.0

    def send(self, calls: int, apart: float = 0.1) -> None:
        for _ in range(calls):
            self.log.on_send(self.now)
            self.findings.on_send(self.now)
            self.now += apart

    def episode(
        self,
        beside: int = 0,
        cause: Cause = Cause.THROTTLED,
        *,
        leak: bool = True,
        explained: bool = False,
    ) -> None:
        """Have a call refused, and learn from it."""
        begun = Point(self.now, self.log.on_send(self.now))
        self.log.on_lost(begun.mark)
        episode = Episode(begun=begun, empty=begun, back=self.log.now(self.now), leak=leak)
        self.findings.learn(self.now, episode, cause, beside=beside, explained=explained)

    def hold(self, beside: int = 8) -> None:
        """Have refusals coincide until a cap is held."""
        for _ in range(3):
            self.episode(beside)
        assert self.findings.cap.held == beside


def test_nothing_binds_before_the_first_refusal_and_a_pace_after_it() -> None:
    """The pace is reported as it is learned."""
    scope = Scope()
    scope.send(100)
    assert not scope.findings.bind
    assert scope.findings.next_time(scope.now, 1.0) < scope.now
    scope.episode()
    assert scope.findings.bind
    assert scope.findings.next_time(scope.now, 1.0) > scope.now
    assert [type(event) for event in scope.events] == [PaceLearned]
    assert Scope(Learned(rate=5.0)).findings.bind


def test_an_overload_lowers_no_pace_and_a_limit_that_came_along_explains_a_refusal() -> None:
    """The next episode is measured from there all the same."""
    scope = Scope()
    scope.send(100)
    scope.episode(cause=Cause.OVERLOADED)
    assert scope.findings.search.rate is None
    scope.episode(explained=True)
    assert (scope.findings.search.rate, scope.findings.search.episodes) == (None, 1)


def test_a_held_cap_stands_in_the_place_of_a_pace() -> None:
    """Its test spreads the sends; a number that is believed holds the calls in flight alone."""
    scope = Scope()
    scope.send(100)
    scope.hold()
    assert scope.findings.next_time(scope.now, 0.8) == pytest.approx(scope.log.last_at + 0.1)
    for _ in range(20):
        assert not scope.findings.on_answer(scope.now, 7)
    assert scope.findings.next_time(scope.now, 0.8) == scope.log.last_at
    assert isinstance(scope.events[-1], CapLearned)
    assert scope.events[-1].calls == 8


def test_a_refusal_that_ends_a_cap_is_reported_and_begins_an_episode() -> None:
    """One of a call beyond it that was only tried is forgiven."""
    scope = Scope()
    scope.send(100)
    scope.hold()
    while not scope.findings.cap.trying:
        scope.findings.on_answer(scope.now, 7)
    assert scope.findings.forgives(scope.now, Cause.THROTTLED, scope.findings.log.count)
    assert scope.findings.cap.held == 8
    scope = Scope()
    scope.send(100)
    scope.hold()
    assert not scope.findings.forgives(scope.now, Cause.THROTTLED, scope.findings.log.count)
    assert scope.events[-1] == CapLearned(at=scope.now, calls=None)


def test_a_cap_that_takes_more_than_it_should_leaves_nothing_that_binds() -> None:
    """The caller starts cold again, unless a pace is known."""
    for learned, unbound in ((None, True), (Learned(rate=10.0), False)):
        scope = Scope(learned)
        scope.hold()
        answers = [scope.findings.on_answer(scope.now, 7) for _ in range(400)]
        assert scope.findings.cap.held is None
        assert any(answers) == unbound


def test_overloads_beside_calls_that_are_taken_pause_nothing() -> None:
    """Once one was judged to be of single calls; other refusals are judged as ever."""
    scope = Scope()
    scope.send(100)
    assert not scope.findings.forgives(scope.now, Cause.OVERLOADED, scope.findings.log.count)
    scope.episode(cause=Cause.OVERLOADED)
    assert scope.findings.forgives(scope.now, Cause.OVERLOADED, scope.findings.log.count)
    assert not scope.findings.forgives(scope.now, Cause.THROTTLED, scope.findings.log.count)
    scope.episode(cause=Cause.OVERLOADED, leak=False)
    assert not scope.findings.forgives(scope.now, Cause.OVERLOADED, scope.findings.log.count)


def suspected() -> tuple[Scope, float]:
    """Return a scope with two early leaks, and its rate before them."""
    scope = Scope()
    for calls in (400, 80):  # the second measurement is sure
        scope.send(calls)
        scope.episode()
    before = scope.findings.search.rate or 0.0
    for _ in range(2):
        scope.send(20, 0.2)
        scope.episode()
    assert scope.findings.noise.doubted
    assert scope.findings.search.rate == pytest.approx(before)
    return scope, before


def asked(scope: Scope) -> None:
    """Send what a doubt asks for, all at once."""
    while scope.findings.next_time(scope.now, 0.2) <= scope.now:
        scope.send(1, 0.0)


def test_two_early_leaks_are_doubted_and_the_pace_goes_back() -> None:
    """Calls go at once, and then none goes until it is known whether they are refused."""
    scope, before = suspected()
    sent = scope.log.count
    asked(scope)
    assert 4 <= scope.log.count - sent <= 8
    assert scope.findings.next_time(scope.now, 0.2) > scope.now + 0.2
    scope.findings.next_time(scope.now + 0.2, 0.2)
    assert not scope.findings.noise.doubted
    assert scope.findings.noise.share
    assert scope.findings.search.rate == pytest.approx(before)


def test_two_refusals_of_the_calls_that_a_doubt_asked_for_bring_the_lowered_rate_back() -> None:
    """They pause nothing; what was learned before it stands, and is probed no sooner."""
    scope, before = suspected()
    probe = scope.findings.search._k_doubted
    asked(scope)
    assert all(
        scope.findings.forgives(scope.now, Cause.THROTTLED, scope.findings.log.count)
        for _ in range(3)
    )
    scope.findings.next_time(scope.now + 0.2, 0.2)
    assert not scope.findings.noise.doubted
    assert (scope.findings.search.rate or 0.0) < 0.95 * before
    assert scope.findings.search.probe == probe


def test_a_refusal_before_the_calls_that_a_doubt_asks_for_are_sent_may_begin_an_episode() -> None:
    """One is borne; the second is a quota's, which takes the lowered rate."""
    scope, before = suspected()
    assert scope.findings.forgives(scope.now, Cause.THROTTLED, scope.findings.log.count)
    assert not scope.findings.forgives(scope.now, Cause.THROTTLED, scope.findings.log.count)
    assert (scope.findings.search.rate or 0.0) < 0.95 * before


def test_noise_that_is_proven_takes_back_what_it_did_before_it_was_suspected() -> None:
    """Refusals within a few calls of each other are no sign of noise, but may have been some."""
    scope = Scope()
    scope.send(400)
    scope.episode()
    before = scope.findings.search.rate or 0.0
    for calls, apart in ((10, 0.12), (10, 0.12), (20, 0.2), (20, 0.2)):
        scope.send(calls, apart)
        scope.episode()
    assert scope.findings.noise.doubted
    assert (scope.findings.search.rate or 0.0) < 0.9 * before
    asked(scope)
    scope.findings.next_time(scope.now + 0.2, 0.2)
    assert scope.findings.noise.share
    assert scope.findings.search.rate == pytest.approx(before)
