"""A fixed policy pauses exactly as its user says, without a canary, and starts slowly."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchllm.policy.cooldown import Cause, CooldownPolicy, State
from batchllm.policy.fixed_cooldown import FixedCooldown
from tests.examples import examples

QUICK = CooldownPolicy(first=1.0, multiplier=2.0, longest=20.0, slow_start_items=0)


def make(policy: CooldownPolicy = QUICK) -> FixedCooldown:
    return FixedCooldown(policy, Random(1))


def throttle(
    cooldown: FixedCooldown, now: float, sent_at: float, wait: float | None = None
) -> bool:
    return cooldown.refused(now, sent_at, wait, Cause.THROTTLED)


def test_it_pauses_exactly_so_and_multiplies_up_to_its_longest() -> None:
    """Refusals in a row last 300, 450, 600, 600 seconds."""
    policy = CooldownPolicy()
    assert [policy.pause(n) for n in (1, 2, 3, 4)] == [300, 450, 600, 600]
    assert CooldownPolicy(longest=1e9).pause(10_000) == 1e9


def test_it_starts_slowly_in_one_line() -> None:
    """The delay between starts falls in a straight line from the first to the last."""
    policy = CooldownPolicy(
        first=10.0, slow_start_items=5, slow_start_initial=2.0, slow_start_final=0.0
    )
    cooldown = make(policy)
    throttle(cooldown, 0.0, 0.0)
    assert not cooldown.free
    now, starts = 0.0, []
    for number in range(7):
        now = cooldown.next_time(now)
        assert cooldown.on_send(now) == (number == 0)
        starts.append(now)
    assert starts == pytest.approx([10.0, 12.0, 13.5, 14.5, 15.0, 15.0, 15.0])
    assert cooldown.free


def test_the_slow_start_by_default_is_fifty_calls_in_52_seconds() -> None:
    """From 2 s to 0.1 s between two of them."""
    policy = CooldownPolicy()
    delays = [policy.slow_start_delay(number) for number in range(1, 52)]
    assert (delays[0], delays[49], delays[50]) == (2.0, pytest.approx(0.1), 0.0)
    assert sum(delays) == pytest.approx(52.5)


def test_it_parks_after_as_many_refusals_without_a_success() -> None:
    """Without canaries, every refusal of a call from after the pause counts: ten."""
    cooldown = make(CooldownPolicy(first=1.0, longest=1.0))
    now = 0.0
    for _ in range(10):
        assert cooldown.parked is None
        throttle(cooldown, now, now)
        now = max(now, cooldown.next_time(now)) if cooldown.parked is None else now
        cooldown.on_send(now)
    assert cooldown.parked is not None
    assert cooldown.parked.cause is Cause.CANARIES_REFUSED
    assert cooldown.next_time(1e9) == inf
    cooldown.reopen(5000.0)
    assert cooldown.next_time(5000.0) == 5000.0
    assert not cooldown.free
    assert cooldown.consecutive == 0


def test_a_herd_that_is_refused_together_is_one_episode() -> None:
    """500 calls in flight are refused: one pause, and each later refusal changes nothing."""
    cooldown = make()
    begun = [throttle(cooldown, 10.0 + i / 1000, 9.0) for i in range(500)]
    assert begun == [True] + [False] * 499
    assert cooldown.episodes == 1
    assert cooldown.until == 11.0


def test_a_longer_hint_prolongs_the_pause_and_a_shorter_one_does_not_shorten_it() -> None:
    """The longest thing that the server asked for is what holds, to the second."""
    cooldown = make()
    throttle(cooldown, 10.0, 9.0, 5.0)
    throttle(cooldown, 10.5, 9.0, 1.0)
    assert cooldown.until == 15.0
    throttle(cooldown, 11.0, 9.0, 30.0)
    assert cooldown.until == 41.0
    assert cooldown.episodes == 1
    exact = make()
    throttle(exact, 10.0, 9.0, 0.644)
    assert exact.next_time(10.0) == pytest.approx(10.644)


def test_only_a_success_that_started_after_the_pause_resets_the_row() -> None:
    """Answers to calls of before the pause are no evidence that it helped."""
    cooldown = make()
    throttle(cooldown, 10.0, 9.0)
    cooldown.on_send(11.0)
    throttle(cooldown, 11.1, 11.0)
    cooldown.on_ok(8.0)
    assert (cooldown.consecutive, cooldown.until) == (2, pytest.approx(13.1))
    cooldown.on_send(cooldown.until)
    cooldown.on_ok(cooldown.until)
    assert cooldown.consecutive == 0


def test_a_late_refusal_with_a_hint_closes_an_open_scope_without_a_new_episode() -> None:
    """A hint always holds here, even that of a call from before the pause."""
    cooldown = make()
    throttle(cooldown, 10.0, 9.0)
    cooldown.on_send(11.0)
    assert not throttle(cooldown, 12.0, 9.5, 4.0)
    assert cooldown.next_time(12.0) == 16.0
    assert cooldown.episodes == 1


def test_an_overload_has_a_row_of_its_own_and_may_pause_a_minute() -> None:
    """Full jitter up to half a second doubled per refusal; ten of them park nothing."""
    pauses = []
    for seed in range(100):
        cooldown = FixedCooldown(QUICK, Random(seed))
        now = 0.0
        for number in range(1, 13):
            cooldown.refused(now, now, None, Cause.OVERLOADED)
            assert 0 <= cooldown.until - now <= min(60.0, 0.5 * 2.0**number)
            pauses.append(cooldown.until - now)
            now = cooldown.until
            cooldown.on_send(now)
        assert cooldown.parked is None
        assert cooldown.consecutive == 12
    assert max(pauses) > 55.0


def test_a_senseless_policy_is_refused_with_its_field() -> None:
    """The message names the field and the value."""
    with pytest.raises(ValueError, match=r"CooldownPolicy\.first .*-1"):
        CooldownPolicy(first=-1.0)


class FixedMachine(RuleBasedStateMachine):
    """Calls are sent when allowed and end in any order; the laws of a pause hold."""

    def __init__(self) -> None:
        super().__init__()
        self.cooldown = FixedCooldown(
            CooldownPolicy(first=1.0, longest=20.0, slow_start_items=3, refused_in_a_row=10**9),
            Random(1),
        )
        self.now = 0.0
        self.flying: list[float] = []
        self.until = -inf

    @rule(quarters=st.integers(1, 40))
    def wait(self, quarters: int) -> None:
        self.now += quarters / 4

    @rule()
    def send(self) -> None:
        if self.cooldown.next_time(self.now) <= self.now:
            assert self.now >= self.cooldown.until
            self.cooldown.on_send(self.now)
            self.flying.append(self.now)

    @rule(data=st.data(), how=st.sampled_from(["ok", "throttled", "hinted", "overloaded"]))
    def end(self, data: st.DataObject, how: str) -> None:
        if not self.flying:
            return
        sent_at = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        before = self.cooldown.episodes
        was_open, old = self.cooldown.state is State.OPEN, sent_at < self.cooldown.until
        if how == "ok":
            self.cooldown.on_ok(sent_at)
        elif how == "overloaded":
            self.cooldown.refused(self.now, sent_at, None, Cause.OVERLOADED)
        else:
            throttle(self.cooldown, self.now, sent_at, 3.0 if how == "hinted" else None)
            assert how != "hinted" or self.cooldown.next_time(self.now) >= self.now + 3.0
        assert self.cooldown.episodes - before == int(how != "ok" and was_open and not old)

    @invariant()
    def until_never_comes_closer(self) -> None:
        assert self.cooldown.until >= self.until
        self.until = self.cooldown.until


TestFixedLaws = FixedMachine.TestCase
TestFixedLaws.settings = settings(max_examples=examples(60), stateful_step_count=30)
