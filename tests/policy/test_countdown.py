"""A limit that never says when more comes is counted down, one reply at a time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchllm.core import LimitHint
from batchllm.policy.reported import Countdown
from tests.examples import examples


def left(count: Countdown, remaining: int, at: float, order: int, amount: int = 60) -> None:
    """Have the reply to call *order*, sent at *at*, say what remains; it comes 0.1 s later."""
    hint = LimitHint(dimension=count.dimension, amount=amount, remaining=remaining)
    count.observe(hint, at + 0.1, at, order)


def test_no_more_is_sent_than_remains_and_then_one_call_tries_after_a_second() -> None:
    """Less what was sent since; a later reply that says more opens it at once."""
    count = Countdown("requests")
    assert count.next_time(0.0, 1, 5) == 0.0
    assert not count.binds
    left(count, 2, 0.0, 1)
    assert [count.next_time(0.5, 1, sent) for sent in (1, 2, 3)] == [0.5, 0.5, 1.1]
    assert count.used(0.5, 3) == 1.0
    left(count, 7, 0.6, 3)
    assert count.next_time(0.8, 1, 3) == 0.8
    assert count.next_time(0.8, 0, 30) == 0.8, "a call that takes none of it"


def test_a_refused_try_waits_twice_as_long_up_to_sixteen_seconds() -> None:
    """So no silence is longer than one that a refusal makes; an accepted one begins anew."""
    count, now, waits = Countdown("requests"), 1.0, list[float]()
    left(count, 0, 0.9, 1)
    for sent in range(2, 9):
        at = count.next_time(now, 1, sent - 1)
        waits.append(at - now)
        count.on_take(at, 1, sent)
        for _ in range(3):  # of calls that went with it
            count.on_refused(at + 0.1, at)
        now = at
    assert waits == pytest.approx([1, 2, 4, 8, 16, 16, 16])
    count.on_accepted(now + 5.0, now)
    assert count.next_time(now, 1, 9) == pytest.approx(now + 1.0)


def test_a_try_under_way_keeps_the_next_one_waiting_and_no_longer_than_that() -> None:
    """Its reply may never come."""
    count = Countdown("requests")
    left(count, 0, 0.0, 1)
    count.on_take(1.1, 1, 2)
    assert count.next_time(1.2, 1, 2) == pytest.approx(2.1)


def test_three_tries_that_are_taken_with_nothing_left_prove_the_number_wrong() -> None:
    """It holds nothing back from then on, whatever it says."""
    count = Countdown("requests")
    for order in range(1, 4):
        left(count, 0, float(order), order)
        assert count.binds
        count.on_take(order + 1.1, 1, order + 1)
        count.on_accepted(order + 1.2, order + 1.1)
    assert not count.binds
    left(count, 0, 9.0, 9)
    assert count.next_time(9.5, 1, 20) == 9.5


def test_what_is_left_after_a_taken_try_is_no_proof() -> None:
    """A window that came back says so."""
    count = Countdown("requests")
    for order in range(1, 9):
        left(count, 0 if order % 2 else 30, float(order), order)
        count.on_accepted(order + 0.1, float(order))
    assert count.binds


def test_of_calls_that_were_under_way_together_the_one_counts_that_leaves_the_least() -> None:
    """A busy server takes them in another order than they were sent; one far behind saw another
    window, and a call that was sent after the newest reply says what is left for sure."""
    count = Countdown("requests")
    left(count, 5, 1.0, 3)  # eight in all
    for remaining, order, in_all in ((9, 2, 8), (20, 9, 8), (3, 4, 7), (1, 1, 7)):
        left(count, remaining, 0.9, order, 10)
        rooms = [count.next_time(2.0, 1, sent) == 2.0 for sent in (in_all - 1, in_all)]
        assert rooms == [True, False]
    left(count, 20, 1.2, 6)
    assert count.next_time(2.0, 1, 25) == 2.0


def test_tokens_are_counted_as_the_server_takes_them() -> None:
    """A gateway reserves 750 for a call that was booked as 30, so three fit into 3,000."""
    count = Countdown("tokens")
    left(count, 2250, 0.0, 30, 3000)
    left(count, 1500, 0.2, 60, 3000)
    assert [count.next_time(0.5, 30, sent) == 0.5 for sent in (60, 90, 120)] == [True, True, False]
    assert count.next_time(0.5, 1000, 60) > 0.5
    left(count, 3000, 0.9, 120, 3000)
    assert count.next_time(1.0, 1000, 120) == 1.0, "a larger one is the server's to refuse"


def test_what_a_call_takes_is_averaged_over_about_ten_replies() -> None:
    """One reply that took little changes it by half at most, twenty by all."""
    count, order, needed = Countdown("tokens"), 30, 0.0
    left(count, 9000, 0.0, order, 10_000)
    for number in range(1, 25):
        order += 30
        took = 750 * number if number < 3 else 1500 + 30 * (number - 2)
        left(count, 9000 - took, float(number), order, 10_000)
        needed = 30 * count._scale
        if number == 3:
            assert 13 * 30 < needed < 19 * 30
    assert 30 <= needed < 5 * 30


@given(st.integers(-5, -1) | st.none())
def test_what_makes_no_sense_has_no_effect(remaining: int | None) -> None:
    """Nothing, or less than nothing."""
    count = Countdown("requests")
    count.observe(LimitHint(dimension="requests", amount=60, remaining=remaining), 0.1, 0.0, 1)
    assert (count.binds, count.sure) == (False, False)


class CountdownMachine(RuleBasedStateMachine):
    """Replies of any kind: the next call waits 16 s at most after the last one was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.now, self.sent = Countdown("requests"), 0.0, 0
        self.last = 0.0

    @rule(seconds=st.floats(0.0, 30.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(remaining=st.none() | st.integers(-1, 5), refused=st.booleans())
    def call(self, remaining: int | None, refused: bool) -> None:
        self.now = at = self.count.next_time(self.now, 1, self.sent)
        self.sent += 1
        self.count.on_take(at, 1, self.sent)
        self.now += 0.1
        self.last = self.now
        hint = LimitHint(dimension="requests", amount=5, remaining=remaining)
        self.count.observe(hint, self.now, at, self.sent)
        (self.count.on_refused if refused else self.count.on_accepted)(self.now, at)

    @invariant()
    def the_next_start_is_near(self) -> None:
        at = self.count.next_time(self.now, 1, self.sent)
        assert self.now <= at <= max(self.now, self.last + 16.0)
        assert 0.0 <= self.count.used(self.now, self.sent) <= 1.0


TestCountdownLaws = CountdownMachine.TestCase
TestCountdownLaws.settings = settings(max_examples=examples(40), stateful_step_count=15)
