"""The breaker: what opens it, who tries the endpoint, what is given back, and when it is over."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from batchllm.policy import (
    EndpointDown,
    OutageBreaker,
    OutageEnded,
    OutageStarted,
    PauseLengthened,
    Verdict,
)


def failing(breaker: OutageBreaker, items: int, now: float = 0.0) -> OutageBreaker:
    """Let so many different items fail at *now*."""
    for item in range(items):
        breaker.on_failure(now, item, untried_left=True)
    return breaker


def dead(outage_after: float = 600.0, *, answered: bool = True) -> OutageBreaker:
    """Give a breaker that has just opened, at 0."""
    breaker = OutageBreaker(outage_after)
    if answered:
        breaker.on_answer(-1.0)
    return failing(breaker, 20)


def test_twenty_different_items_open_it() -> None:
    """One less does not, and neither does one item that fails again and again."""
    breaker = failing(OutageBreaker(), 19)
    for _ in range(100):
        breaker.on_failure(0.0, 7, untried_left=True)
    assert breaker.free
    row = breaker.on_failure(3.0, 19, untried_left=True)
    assert breaker.open
    assert row.verdict is Verdict.GIVEN_BACK
    assert breaker.drain_events() == [OutageStarted(at=3.0, since=0.0, failures=20, until=4.0)]


def test_ten_failures_to_connect_open_it_for_an_endpoint_that_answered() -> None:
    """No request is at fault for those, so that no item need be left that was never tried."""
    breaker = OutageBreaker()
    for _ in range(12):  # one that never answered may be a wrong address
        breaker.on_failure(0.0, 1, untried_left=False, unconnected=True)
    assert breaker.free
    breaker.on_answer(1.0)
    breaker.on_failure(2.0, 1, untried_left=False)
    for _ in range(9):
        breaker.on_failure(3.0, 1, untried_left=False, unconnected=True)
    assert breaker.free
    row = breaker.on_failure(4.0, 1, untried_left=False, unconnected=True)
    assert breaker.open
    assert row.verdict is Verdict.GIVEN_BACK
    assert breaker.drain_events() == [OutageStarted(at=4.0, since=2.0, failures=10, until=5.0)]


def test_an_answer_between_begins_the_row_anew() -> None:
    """Failures before it count for their items."""
    breaker = OutageBreaker()
    row = breaker.on_failure(0.0, "a", untried_left=True)
    failing(breaker, 18)
    breaker.on_answer(1.0)
    failing(breaker, 19, 2.0)
    assert row.verdict is Verdict.COUNTS
    assert breaker.free


def test_while_it_is_calm_an_answer_changes_nothing() -> None:
    """So no answer has to be reported then; after a failure one has to be, once."""
    breaker = OutageBreaker()
    assert not breaker.calm, "that it answers at all is not known"
    breaker.on_answer(0.0)
    for at, fail in enumerate((False, True, False, False, True, True)):
        if fail:
            row = breaker.on_failure(float(at), at, untried_left=True)
            assert not breaker.calm
            breaker.on_answer(float(at))
            assert row.verdict is Verdict.COUNTS
        before = {name: getattr(breaker, name) for name in OutageBreaker.__slots__}
        assert breaker.calm
        breaker.on_answer(at + 0.5)
        assert {name: getattr(breaker, name) for name in OutageBreaker.__slots__} == before
    opened = failing(breaker, 20, 9.0)
    assert opened.open
    assert not opened.calm


def test_without_untried_items_it_protects_nothing() -> None:
    """It stays closed until there are some, and opens with the next failure then."""
    breaker = OutageBreaker()
    for item in range(100):
        row = breaker.on_failure(0.0, item, untried_left=False)
    assert breaker.free
    assert row.verdict is Verdict.PENDING
    assert breaker.on_failure(0.0, 1, untried_left=True).verdict is Verdict.GIVEN_BACK


def test_canaries_go_alone_after_pauses_that_double_to_twenty_seconds() -> None:
    """1, 2, 4, 8, 16, 20, 20 seconds after the last failed."""
    breaker, now, pauses = dead(), 0.0, []
    for _ in range(7):
        at = breaker.next_time(now, 0)
        pauses.append(at - now)
        canary = breaker.on_send(at)
        assert canary
        assert breaker.next_time(at, 1) > at + 1
        now = at + 0.5
        breaker.on_failure(now, "canary", canary, untried_left=True)
    assert pauses == [1, 2, 4, 8, 16, 20, 20]
    grown = [e for e in breaker.drain_events() if isinstance(e, PauseLengthened)]
    assert [round(event.until - event.at) for event in grown] == [2, 4, 8, 16, 20]


def test_a_canary_that_hangs_does_not_hide_that_the_endpoint_is_back() -> None:
    """After 20 s another one goes beside it; what the first one meets then plans nothing."""
    breaker = dead()
    first = breaker.on_send(1.0)
    assert breaker.next_time(1.0, 1) == 21.0
    second = breaker.on_send(21.0)
    breaker.on_failure(21.5, "first", first, untried_left=True)
    assert breaker.next_time(21.5, 1) == 41.0
    breaker.on_failure(22.0, "second", second, untried_left=True)
    assert breaker.next_time(22.0, 0) == 24.0


def test_a_canary_that_says_nothing_makes_room_for_another() -> None:
    """A cancelled call, or an exception of the user's own, is no evidence either way."""
    breaker = dead()
    breaker.on_silence(5.0, breaker.on_send(1.0))
    assert breaker.open
    assert breaker.next_time(5.0, 0) == 5.0


def test_an_answer_ends_the_outage_and_the_rest_comes_by_and_by() -> None:
    """5 calls in flight at first, twice as many each second."""
    breaker = dead()
    breaker.drain_events()
    breaker.on_answer(1.5, breaker.on_send(1.0))
    assert breaker.drain_events() == [OutageEnded(at=1.5, length=1.5)]
    assert breaker.next_time(1.5, 4) == 1.5
    at = breaker.next_time(1.5, 5)
    assert 1.5 < at < 1.6
    assert breaker.next_time(at, 5) == at
    assert breaker.next_time(1.5, 499) == pytest.approx(8.15, abs=0.05)
    assert breaker.next_time(20.0, 10**6) == 20.0
    assert breaker.free


def test_thousands_of_calls_come_by_and_by_too() -> None:
    """After 8.5 s no more than 1,810 are allowed; after 16 s whatever there is."""
    breaker = dead()
    breaker.on_answer(1.5, breaker.on_send(1.0))
    assert breaker.next_time(10.0, 2_000) > 10.0
    assert not breaker.free
    assert breaker.next_time(17.5, 10**6) == 17.5
    assert breaker.free


def test_an_answer_to_an_earlier_call_lets_everything_go_on_at_once() -> None:
    """There was no outage then."""
    breaker = dead()
    breaker.on_answer(0.2)
    assert breaker.free


def test_the_last_canary_goes_when_the_time_is_over() -> None:
    """An endpoint that is back at that very moment is found."""
    breaker = dead(10.0)
    now = 0.0
    while now < 10.0:
        now = breaker.next_time(now, 0)
        canary = breaker.on_send(now)
        if now < 10.0:
            breaker.on_failure(now, "canary", canary, untried_left=True)
    assert now == 10.0
    breaker.on_answer(10.1, canary)
    assert not breaker.open


@pytest.mark.parametrize(
    ("outage_after", "answered", "seconds"),
    [(600.0, True, 600.0), (600.0, False, 60.0), (30.0, False, 30.0), (inf, False, 60.0)],
)
def test_a_dead_endpoint_is_given_up(outage_after: float, answered: bool, seconds: float) -> None:
    """After outage_after; after a minute at most if it never answered."""
    breaker, now = dead(outage_after, answered=answered), 0.0
    while not breaker.down:
        now = breaker.next_time(now, 0)
        breaker.on_failure(now, "canary", breaker.on_send(now), untried_left=True)
    event = breaker.drain_events()[-1]
    assert event == EndpointDown(at=seconds, length=seconds, answered=answered)
    at = breaker.next_time(now, 0)
    assert at == now + 20.0
    breaker.on_answer(at, breaker.on_send(at))
    assert not breaker.down
    assert not breaker.open


def test_a_last_canary_that_hangs_has_twenty_seconds() -> None:
    """The run does not wait for its timeout."""
    breaker = dead(10.0)
    breaker.on_send(10.0)
    assert breaker.next_time(10.0, 1) == inf
    assert breaker.give_up_at == 30.0
    breaker.look(29.9)
    assert not breaker.down
    breaker.look(30.0)
    assert breaker.down


@given(st.lists(st.tuples(st.floats(0.0, 40.0), st.booleans()), max_size=60))
def test_no_order_of_answers_keeps_the_scope_shut_for_longer_than_twenty_seconds(
    steps: list[tuple[float, bool]],
) -> None:
    """After any canary another one may go 20 s later, or the endpoint is given up."""
    breaker, now = dead(), 0.0
    for took, answer in steps:
        if not breaker.open:
            failing(breaker, 20, now)
        at = min(breaker.next_time(now, 0), breaker.give_up_at)
        assert at <= now + 20.0
        now = at
        if breaker.give_up_at <= now:
            breaker.look(now)
            continue
        canary = breaker.on_send(now)
        now += took
        breaker.look(now)
        if answer:
            breaker.on_answer(now, canary)
        else:
            breaker.on_failure(now, object(), canary, untried_left=True)


class Machine(RuleBasedStateMachine):
    """Calls of any items end in any way, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = OutageBreaker(100.0)
        self.now = 0.0
        self.flight: list[int] = []
        self.rows: list[tuple[object, Verdict]] = []
        self.since_answer: set[int] = set()

    @rule(seconds=st.floats(0.0, 30.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.breaker.look(self.now)

    @rule()
    def send(self) -> None:
        if self.breaker.next_time(self.now, len(self.flight)) <= self.now:
            self.flight.append(self.breaker.on_send(self.now))

    @precondition(lambda self: self.flight)
    @rule(place=st.integers(0, 99), item=st.integers(0, 30), untried=st.booleans())
    def fail(self, place: int, item: int, untried: bool) -> None:
        canary = self.flight.pop(place % len(self.flight))
        opened = self.breaker.open
        row = self.breaker.on_failure(self.now, item, canary, untried_left=untried)
        self.since_answer.add(item)
        self.rows.append((row, row.verdict))
        if self.breaker.open and not opened:
            assert untried
            assert len(self.since_answer) >= 20
        assert (row.verdict is Verdict.GIVEN_BACK) == self.breaker.open

    @precondition(lambda self: self.flight)
    @rule(place=st.integers(0, 99))
    def answer(self, place: int) -> None:
        self.breaker.on_answer(self.now, self.flight.pop(place % len(self.flight)))
        self.since_answer.clear()
        assert not self.breaker.open

    @precondition(lambda self: self.flight)
    @rule(place=st.integers(0, 99))
    def silence(self, place: int) -> None:
        opened = self.breaker.open
        self.breaker.on_silence(self.now, self.flight.pop(place % len(self.flight)))
        assert self.breaker.open == opened

    @rule(untried=st.booleans())
    def storm(self, untried: bool) -> None:
        for item in range(25):
            self.breaker.on_failure(self.now, item, untried_left=untried)
            self.since_answer.add(item)

    @invariant()
    def a_verdict_is_final(self) -> None:
        for row, verdict in self.rows:
            assert verdict in (Verdict.PENDING, row.verdict)  # type: ignore[attr-defined]

    @invariant()
    def there_is_always_a_next_time(self) -> None:
        at = min(self.breaker.next_time(self.now, 10**4), self.breaker.give_up_at)
        assert self.now <= at or self.breaker.give_up_at <= self.now
        assert at <= self.now + 20.0

    @invariant()
    def down_is_open(self) -> None:
        assert self.breaker.open or not self.breaker.down


TestMachine = Machine.TestCase
