"""Pauses: one per episode, never shortened, ended by one canary."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchllm.policy.cooldown import Cause, Cooldown, CooldownPolicy, State


def make(policy: CooldownPolicy | None = None, park_after: float = 120.0) -> Cooldown:
    return Cooldown(policy or CooldownPolicy(spread=0.0), park_after=park_after, rng=Random(1))


def refuse_canary(cooldown: Cooldown) -> float:
    """Send the canary when it is due and have it refused; returns the pause that follows."""
    at = cooldown.until
    assert cooldown.on_send(at)
    cooldown.on_throttled(at + 0.1, at, None)
    return cooldown.until - (at + 0.1)


def test_a_herd_that_is_refused_together_is_one_episode() -> None:
    """500 calls in flight are refused: one pause, and each later refusal changes nothing."""
    cooldown = make()
    begun = [cooldown.on_throttled(10.0 + i / 1000, 9.0, None) for i in range(500)]
    assert begun == [True] + [False] * 499
    assert cooldown.episodes == 1
    assert cooldown.until == 11.0


def test_a_longer_hint_prolongs_the_pause_and_a_shorter_one_does_not_shorten_it() -> None:
    """The longest thing that the server asked for is what holds."""
    cooldown = make()
    cooldown.on_throttled(10.0, 9.0, 5.0)
    cooldown.on_throttled(10.5, 9.0, 1.0)
    assert cooldown.until == 15.0
    cooldown.on_throttled(11.0, 9.0, 30.0)
    assert cooldown.until == 41.0
    assert cooldown.episodes == 1


def test_a_hint_is_obeyed_exactly() -> None:
    """644 ms are 644 ms, though the own pause would be longer."""
    cooldown = make()
    cooldown.on_throttled(10.0, 9.0, 0.644)
    assert cooldown.next_time(10.0) == pytest.approx(10.644)


def test_one_canary_goes_and_the_rest_follows_when_it_is_not_refused_in_time() -> None:
    """The line moves after a success, or once the canary has been patiently waited for."""
    cooldown = make()
    cooldown.on_throttled(10.0, 9.0, None)
    assert cooldown.on_send(11.0)
    assert cooldown.next_time(11.1) == 12.0
    assert cooldown.on_ok(11.0, canary=True)
    assert cooldown.next_time(11.2) == 11.2
    assert cooldown.state is State.OPEN


def test_a_silent_canary_counts_as_accepted_after_the_patience() -> None:
    """Calls that take long do not hold the scope back for all that time."""
    cooldown = make()
    cooldown.on_throttled(10.0, 9.0, None)
    cooldown.on_send(11.0)
    assert not cooldown.on_send(12.0)
    assert cooldown.state is State.OPEN


def test_a_refused_canary_doubles_the_pause_up_to_the_longest() -> None:
    """Without a hint: 1, 2, 4, 8, 16, 20, 20 seconds."""
    cooldown = make()
    cooldown.on_throttled(0.0, -1.0 + 1.0, None)
    pauses = [refuse_canary(cooldown) for _ in range(6)]
    assert pauses == pytest.approx([2, 4, 8, 16, 20, 20])
    assert cooldown.episodes == 1


def test_ten_refused_canaries_in_a_row_park_the_scope() -> None:
    """Waiting does not help: that is said instead of sleeping on."""
    cooldown = make()
    cooldown.on_throttled(0.0, 0.0, None)
    for _ in range(10):
        assert cooldown.parked is None
        refuse_canary(cooldown)
    assert cooldown.parked is not None
    assert cooldown.parked.cause is Cause.CANARIES_REFUSED
    assert cooldown.next_time(1e9) == inf


def test_a_hint_beyond_the_parking_bound_parks_until_then() -> None:
    """A pause of an hour is no pause of a run."""
    cooldown = make()
    assert not cooldown.on_throttled(10.0, 9.0, 3600.0)
    assert cooldown.parked is not None
    assert (cooldown.parked.cause, cooldown.parked.until) == (Cause.HINT_TOO_LONG, 3610.0)
    assert not cooldown.on_throttled(11.0, 9.0, 1.0)
    cooldown.reopen(20.0)
    assert cooldown.on_send(20.0), "the first call after parking is a canary"


def test_only_a_success_that_started_after_the_pause_resets_the_row() -> None:
    """Answers to calls of before the pause are no evidence that it helped."""
    cooldown = make()
    cooldown.on_throttled(10.0, 9.0, None)
    refuse_canary(cooldown)
    cooldown.on_ok(8.0)
    assert cooldown.consecutive == 2
    at = cooldown.until
    cooldown.on_send(at)
    cooldown.on_ok(at, canary=True)
    assert cooldown.consecutive == 0
    assert not cooldown.troubled


def test_a_late_refusal_with_a_hint_closes_an_open_scope_without_a_new_episode() -> None:
    """A hint always holds, even from a call of before the pause."""
    cooldown = make()
    cooldown.on_throttled(10.0, 9.0, None)
    cooldown.on_send(11.0)
    cooldown.on_ok(11.0, canary=True)
    assert not cooldown.on_throttled(12.0, 9.5, 4.0)
    assert cooldown.next_time(12.0) == 16.0
    assert cooldown.episodes == 1


def test_a_lost_canary_is_replaced_at_once() -> None:
    """A canary that was cancelled tells nothing, so another may go."""
    cooldown = make()
    cooldown.on_canary_lost(0.0)
    cooldown.on_throttled(10.0, 9.0, None)
    cooldown.on_send(11.0)
    cooldown.on_canary_lost(11.5)
    assert cooldown.next_time(11.5) == 11.5
    assert cooldown.on_send(11.5)


def test_an_overload_pauses_with_full_jitter_and_is_counted_apart() -> None:
    """Its pause lies anywhere up to half a second doubled per refusal, at most a minute."""
    policy = CooldownPolicy()
    rng = Random(5)
    for refusals in range(1, 80):
        assert 0 <= policy.overload_pause(refusals, rng) <= min(60.0, 0.5 * 2.0**refusals)
    cooldown = make()
    assert cooldown.on_overloaded(10.0, 9.0, None)
    assert cooldown.cause is Cause.OVERLOADED
    assert 10.0 <= cooldown.until <= 11.0


def test_a_breaker_waits_for_the_answer_of_its_canary() -> None:
    """A dead endpoint is silent, so patience proves nothing there."""
    cooldown = make()
    assert cooldown.on_breaker(10.0, 10.0)
    assert cooldown.on_send(11.0)
    assert cooldown.next_time(500.0) == inf
    assert not cooldown.on_breaker(12.0, 11.0)
    assert cooldown.until == 14.0
    cooldown.on_send(14.0)
    assert cooldown.on_answer(canary=True)
    assert cooldown.state is State.OPEN


def test_the_fixed_policy_pauses_exactly_so_and_multiplies_up_to_its_longest() -> None:
    """Refusals in a row last 300, 450, 600, 600 seconds."""
    policy = CooldownPolicy.fixed()
    assert [policy.pause(n, Random(1)) for n in (1, 2, 3, 4)] == [300, 450, 600, 600]


def test_the_fixed_policy_starts_slowly_in_one_line() -> None:
    """The delay between starts falls in a straight line from the first to the last."""
    policy = CooldownPolicy.fixed(
        cooldown_seconds=10.0,
        slow_start_items=5,
        slow_start_initial_delay=2.0,
        slow_start_final_delay=0.0,
    )
    cooldown = make(policy)
    cooldown.on_throttled(0.0, 0.0, None)
    assert not cooldown.free
    now, starts = 0.0, []
    for _ in range(7):
        now = cooldown.next_time(now)
        assert not cooldown.on_send(now)
        starts.append(now)
    assert starts == pytest.approx([10.0, 12.0, 13.5, 14.5, 15.0, 15.0, 15.0])
    assert cooldown.free


def test_the_fixed_policy_parks_after_as_many_refusals_without_a_success() -> None:
    """Without canaries, every refusal of a call from after the pause counts."""
    cooldown = make(CooldownPolicy.fixed(cooldown_seconds=1.0, max_cooldown_seconds=1.0))
    now = 0.0
    for _ in range(10):
        assert cooldown.parked is None
        cooldown.on_throttled(now, now, None)
        now = max(now, cooldown.next_time(now)) if cooldown.parked is None else now
        cooldown.on_send(now)
    assert cooldown.parked is not None


@given(st.integers(1, 10_000), st.integers(0, 2**32))
def test_the_spread_stays_within_a_fifth(refusals: int, seed: int) -> None:
    """However many refusals, the pause is finite and near its mean."""
    pause = CooldownPolicy().pause(refusals, Random(seed))
    mean = min(20.0, 2.0 ** min(refusals - 1, 64))
    assert 0.8 * mean <= pause <= 1.2 * mean


def test_a_senseless_policy_is_refused_with_its_field() -> None:
    """The message names the field and the value."""
    with pytest.raises(ValueError, match=r"CooldownPolicy\.first .*-1"):
        CooldownPolicy(first=-1.0)


class CooldownMachine(RuleBasedStateMachine):
    """Calls are sent when allowed and end in any order; the laws of a pause hold."""

    def __init__(self) -> None:
        super().__init__()
        self.cooldown = Cooldown(
            CooldownPolicy(refused_in_a_row=10**9), park_after=inf, rng=Random(1)
        )
        self.now = 0.0
        self.flying: list[tuple[float, bool]] = []
        self.until = -inf

    @rule(quarters=st.integers(1, 40))
    def wait(self, quarters: int) -> None:
        self.now += quarters / 4

    @rule()
    def send(self) -> None:
        if self.cooldown.next_time(self.now) <= self.now:
            assert self.cooldown.state is not State.CLOSED or self.now >= self.cooldown.until
            self.flying.append((self.now, self.cooldown.on_send(self.now)))

    @rule(data=st.data(), how=st.sampled_from(["ok", "throttled", "hinted", "overloaded", "lost"]))
    def end(self, data: st.DataObject, how: str) -> None:
        if not self.flying:
            return
        at = data.draw(st.integers(0, len(self.flying) - 1))
        sent_at, canary = self.flying.pop(at)
        before = self.cooldown.episodes
        was_open, old = self.cooldown.state is State.OPEN, sent_at < self.cooldown.until
        if how == "ok":
            self.cooldown.on_ok(sent_at, canary=canary)
        elif how == "lost":
            if canary:
                self.cooldown.on_canary_lost(self.now)
        elif how == "overloaded":
            self.cooldown.on_overloaded(self.now, sent_at, None)
        else:
            self.cooldown.on_throttled(self.now, sent_at, 3.0 if how == "hinted" else None)
            assert how != "hinted" or self.cooldown.next_time(self.now) >= self.now + 3.0
        assert self.cooldown.episodes - before == int(
            how in ("throttled", "hinted", "overloaded") and was_open and not old
        )

    @invariant()
    def until_never_comes_closer(self) -> None:
        assert self.cooldown.until >= self.until
        self.until = self.cooldown.until


TestCooldownLaws = CooldownMachine.TestCase
TestCooldownLaws.settings = settings(max_examples=60, stateful_step_count=30)
