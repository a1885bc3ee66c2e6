"""The pauses of a scope that adapts: never shortened, ended by one canary, 24 s at most."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchllm.policy.cooldown import Cause, Cooldown, State, overload_pause
from tests.examples import examples


def judged(cause: Cause = Cause.THROTTLED, rng: Random | None = None) -> Cooldown:
    """A scope whose refusal at 10.0 is being judged until 10.2."""
    cooldown = Cooldown(rng or Random(1))
    cooldown.judge(10.0, cause, 10.2)
    return cooldown


def closed(until: float = 15.0) -> Cooldown:
    cooldown = judged()
    cooldown.own_pause(None)
    cooldown.close(until)
    return cooldown


def refuse_canary(cooldown: Cooldown, pace: float | None = None) -> float:
    """Send the canary when it is due and have it refused; returns the pause that follows."""
    at = cooldown.until
    assert cooldown.on_send(at)
    cooldown.refused_again(at + 0.1, -inf, pace)
    return cooldown.until - (at + 0.1)


def test_an_open_scope_holds_nothing_back() -> None:
    """A call may go at once, and is no canary."""
    cooldown = Cooldown(Random(1))
    assert cooldown.free
    assert cooldown.next_time(3.0, 1.0) == 3.0
    assert not cooldown.on_send(3.0)
    assert cooldown.consecutive == 0


def test_while_a_refusal_is_judged_nothing_is_sent() -> None:
    """It is no pause yet, and no episode."""
    cooldown = judged()
    assert cooldown.state is State.JUDGING
    assert not cooldown.free
    assert cooldown.next_time(10.0, 1.0) == 10.2
    assert (cooldown.episodes, cooldown.begun, cooldown.cause) == (0, 10.0, Cause.THROTTLED)


def test_one_canary_goes_and_the_rest_follows_when_it_is_not_refused_in_time() -> None:
    """The pause is obeyed to its end; then one call, and none beside it within the patience."""
    cooldown = closed(15.0)
    assert cooldown.episodes == 1
    assert cooldown.next_time(10.0, 1.0) == 15.0
    assert cooldown.on_send(15.0)
    assert cooldown.state is State.CANARY
    assert cooldown.next_time(15.1, 0.4) == 15.4
    assert not cooldown.on_send(15.4)
    cooldown.resume()
    assert cooldown.next_time(15.5, 1.0) == 15.5


def test_a_longer_hint_prolongs_the_pause_and_a_shorter_one_does_not_shorten_it() -> None:
    """The longest thing that the server asked for is what holds, and only while it pauses."""
    cooldown = closed(15.0)
    assert not cooldown.lengthen(14.0)
    assert not cooldown.lengthen(15.0)
    assert cooldown.until == 15.0
    assert cooldown.lengthen(41.0)
    assert cooldown.until == 41.0
    cooldown.on_send(41.0)
    assert not cooldown.lengthen(60.0)
    assert cooldown.until == 41.0


def test_the_first_pause_of_our_own_is_a_second_or_four_calls_long_up_to_ten() -> None:
    """A slow quota then has something to give; its spread is a fifth either way."""
    for pace, mean in ((None, 1.0), (100.0, 1.0), (2.0, 2.0), (0.5, 8.0), (0.05, 10.0)):
        pauses = [judged(rng=Random(seed)).own_pause(pace) for seed in range(300)]
        assert min(pauses) == pytest.approx(0.8 * mean, rel=0.01)
        assert max(pauses) == pytest.approx(1.2 * mean, rel=0.01)


def test_a_refused_canary_doubles_the_pause_up_to_twenty_seconds() -> None:
    """Without a hint 2, 4, 8, 16, 20 and 20 seconds, give or take a fifth."""
    spread = []
    for seed in range(200):
        cooldown = judged(rng=Random(seed))
        cooldown.close(10.0 + cooldown.own_pause(None))
        pauses = [refuse_canary(cooldown) for _ in range(6)]
        assert cooldown.canaries_refused == 6
        assert cooldown.consecutive == 7
        spread += [p / mean for p, mean in zip(pauses, (2, 4, 8, 16, 20, 20), strict=True)]
        assert cooldown.episodes == 1
    assert min(spread) == pytest.approx(0.8, abs=0.005)
    assert max(spread) == pytest.approx(1.2, abs=0.005)


@pytest.mark.parametrize(("pace", "mean"), [(None, 1.0), (10.0, 1.0), (0.5, 8.0)])
def test_the_first_canary_refused_after_a_lone_call_waits_for_a_first_pause(
    pace: float | None, mean: float
) -> None:
    """Its refusal had no pause of our own yet; a slow quota has nothing to give after a second."""
    pauses = set[float]()
    for seed in range(200):
        cooldown = judged(rng=Random(seed))
        cooldown.close(10.2)
        pauses.add(refuse_canary(cooldown, pace))
    assert min(pauses) == pytest.approx(0.8 * mean, rel=0.01)
    assert max(pauses) == pytest.approx(1.2 * mean, rel=0.01)


def test_a_refused_canary_waits_for_the_longer_of_the_hint_and_our_own_pause() -> None:
    """A hint that is always too short is so asked for ever more rarely."""
    cooldown = closed(11.0)
    cooldown.on_send(11.0)
    cooldown.refused_again(11.1, 71.1, None)
    assert cooldown.until == 71.1
    cooldown.on_send(71.1)
    cooldown.refused_again(71.2, 71.7, None)
    assert cooldown.until >= 71.2 + 0.8 * 4


def test_a_lost_canary_is_replaced_at_once() -> None:
    """A canary that was cancelled shows nothing, so another may go."""
    cooldown = closed(11.0)
    cooldown.on_canary_lost(10.5)
    assert cooldown.until == 11.0
    cooldown.on_send(11.0)
    cooldown.on_canary_lost(11.5)
    assert cooldown.next_time(11.5, 1.0) == 11.5
    assert cooldown.on_send(11.5)


def test_an_overload_pauses_with_full_jitter_up_to_24_seconds() -> None:
    """Anywhere up to half a second doubled per refusal, and counted until a success."""
    for refusals in range(1, 80):
        most = min(24.0, 0.5 * 2.0**refusals)
        pauses = [overload_pause(refusals, Random(seed)) for seed in range(200)]
        assert min(pauses) < 0.05 * most
        assert 0.95 * most < max(pauses) <= most
    cooldown = judged(Cause.OVERLOADED)
    assert 0 <= cooldown.own_pause(10.0) <= 1.0
    assert cooldown.overloads == 1
    cooldown.close(11.0)
    cooldown.on_send(11.0)
    cooldown.refused_again(11.1, -inf, None)
    assert (cooldown.overloads, cooldown.until <= 13.1) == (2, True)
    cooldown.forgive()
    assert cooldown.overloads == 0


def test_a_parked_scope_sends_nothing_until_it_is_reopened_by_a_canary() -> None:
    """It keeps its first cause, and starts again with pauses of a second."""
    cooldown = closed(15.0)
    assert cooldown.park(Cause.HINT_TOO_LONG, 3610.0)
    assert not cooldown.park(Cause.EXHAUSTED, None)
    assert cooldown.parked is not None
    assert (cooldown.parked.cause, cooldown.parked.until) == (Cause.HINT_TOO_LONG, 3610.0)
    cooldown.resume()
    assert cooldown.next_time(1e9, 1.0) == inf
    cooldown.reopen(20.0)
    assert cooldown.begun == 20.0
    assert cooldown.on_send(20.0), "the first call after parking is a canary"
    cooldown.refused_again(20.1, -inf, None)
    assert 1.6 <= cooldown.until - 20.1 <= 2.4
    cooldown.reopen(21.0)
    assert cooldown.until > 21.0, "only a parked scope is reopened"


class CooldownMachine(RuleBasedStateMachine):
    """Calls are sent when allowed and refused at any time; the laws of a pause hold."""

    def __init__(self) -> None:
        super().__init__()
        self.cooldown = Cooldown(Random(1))
        self.now = 0.0
        self.canary = False
        self.until = -inf

    @rule(quarters=st.integers(1, 100))
    def wait(self, quarters: int) -> None:
        self.now += quarters / 4

    @rule()
    def send(self) -> None:
        if self.cooldown.next_time(self.now, 1.0) <= self.now:
            closed = self.cooldown.state is State.CLOSED
            assert not closed or self.now >= self.cooldown.until
            canary = self.cooldown.on_send(self.now)
            assert canary == closed
            self.canary |= canary

    @rule(hint=st.none() | st.integers(1, 40), overload=st.booleans())
    def refuse(self, hint: int | None, overload: bool) -> None:
        cooldown, until = self.cooldown, -inf if hint is None else self.now + hint
        match cooldown.state:
            case State.OPEN:
                cause = Cause.OVERLOADED if overload else Cause.THROTTLED
                cooldown.judge(self.now, cause, self.now)
                cooldown.close(max(until, self.now + cooldown.own_pause(None)))
            case State.CANARY:
                cooldown.refused_again(self.now, until, None)
                self.canary = False
            case _:
                cooldown.lengthen(until)
        assert cooldown.state is not State.CLOSED or cooldown.until >= until
        assert cooldown.until <= max(self.until, until, self.now + 24.0)

    @rule(how=st.sampled_from(["accepted", "lost"]))
    def end_canary(self, how: str) -> None:
        if self.canary:
            self.canary = False
            if how == "lost":
                self.cooldown.on_canary_lost(self.now)
            else:
                self.cooldown.resume()

    @invariant()
    def until_never_comes_closer(self) -> None:
        assert self.cooldown.until >= self.until
        self.until = self.cooldown.until


TestCooldownLaws = CooldownMachine.TestCase
TestCooldownLaws.settings = settings(max_examples=examples(60), stateful_step_count=30)


@given(st.integers(0, 2**32), st.integers(0, 30), st.floats(0.001, 1000))
def test_no_pause_of_our_own_is_longer_than_24_seconds(seed: int, again: int, pace: float) -> None:
    """However many canaries are refused and however slow the pace."""
    cooldown = judged(rng=Random(seed))
    first = cooldown.own_pause(pace)
    cooldown.close(10.0 + first)
    for pause in (first, *(refuse_canary(cooldown) for _ in range(again))):
        assert 0.8 <= pause <= 24.0
