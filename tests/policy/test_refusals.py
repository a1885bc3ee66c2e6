"""Either the user's fixed policy answers refusals, or the pace that adapts; never both."""

from __future__ import annotations

from math import inf
from random import Random

import pytest

from batchllm.core import CallCost
from batchllm.policy.adaptive import AdaptivePace
from batchllm.policy.call_cap import CallCap
from batchllm.policy.cooldown import Cause, CooldownPolicy, State
from batchllm.policy.events import (
    CooldownEnded,
    EpisodeStarted,
    GateEvent,
    ScopeParked,
    Send,
)
from batchllm.policy.fixed_cooldown import FixedCooldown
from batchllm.policy.refusals import Refusals


class Scope:
    """Refusals with a clock, and one call after the other."""

    def __init__(self, policy: CooldownPolicy | None = None) -> None:
        rng = Random(1)
        self.events = list[GateEvent]()
        self.adaptive = AdaptivePace(rng, 900.0, CallCap())
        fixed = None if policy is None else FixedCooldown(policy, rng)
        self.refusals = Refusals(self.adaptive, fixed, 900.0, self.events)
        self.now = 0.0

    def send(self) -> Send:
        send = Send(self.now, CallCost(), self.adaptive.log.on_send(self.now), 0, None)
        self.refusals.on_send(self.now, send)
        return send

    def refuse(self, wait: float | None = None) -> None:
        send = self.send()
        self.now += 0.1
        self.refusals.on_refused(self.now, send, wait, Cause.THROTTLED, explained=False)

    @property
    def state(self) -> State:
        return self.refusals.cooldown.state


FIXED = CooldownPolicy(first=30.0, slow_start_items=0, refused_in_a_row=3)


def test_a_fixed_policy_pauses_for_its_own_time_and_learns_no_pace() -> None:
    """One event begins the pause and one ends it; the pace that adapts is never shown anything."""
    scope = Scope(FIXED)
    assert scope.refusals.room == 8
    scope.refuse()
    assert scope.refusals.room == 0
    at = scope.refusals.next_time(scope.now, 0)
    assert at == pytest.approx(30.1)
    assert (scope.adaptive.cooldown.state, scope.adaptive.events) == (State.OPEN, [])
    scope.now = at
    scope.send()
    assert [type(event) for event in scope.events] == [EpisodeStarted, CooldownEnded]
    ended = scope.events[-1]
    assert isinstance(ended, CooldownEnded)
    assert ended.length == pytest.approx(30.0)


def test_a_fixed_policy_parks_after_refusals_in_a_row_and_a_success_ends_the_row() -> None:
    """It counts, as its user has asked."""
    for success, parked in ((False, True), (True, False)):
        scope = Scope(FIXED)
        for number in range(3):
            scope.now = max(scope.now, scope.refusals.next_time(scope.now, 0))
            if success and number == 2:
                scope.refusals.on_ok(scope.send())
            scope.refuse()
        assert (scope.state is State.PARKED) == parked
        assert any(isinstance(event, ScopeParked) for event in scope.events) == parked


def test_without_one_the_pace_that_adapts_judges_first() -> None:
    """A lone refusal waits for its hint, and its events are the pace's own."""
    scope = Scope()
    assert scope.refusals.room == 8
    scope.refuse(5.0)
    assert scope.state is State.CLOSED
    assert scope.refusals.next_time(scope.now, 0) == pytest.approx(5.1)
    assert [type(event) for event in scope.adaptive.events] == [EpisodeStarted]
    assert scope.events == []


@pytest.mark.parametrize("policy", [None, FIXED])
def test_a_longer_wait_than_the_user_allows_parks_at_once_and_says_so_once(
    policy: CooldownPolicy | None,
) -> None:
    """With either policy; it is left by hand, and the next call tries."""
    scope = Scope(policy)
    scope.refuse(901.0)
    scope.refusals.park(scope.now, Cause.EXHAUSTED, None)
    assert scope.events == [
        ScopeParked(at=scope.now, cause=Cause.HINT_TOO_LONG, until=scope.now + 901.0)
    ]
    assert scope.refusals.next_time(scope.now, 0) == inf
    scope.refusals.reopen(scope.now)
    assert scope.refusals.cooldown.parked is None
    assert scope.refusals.next_time(scope.now, 0) <= scope.now
