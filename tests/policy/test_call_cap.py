"""The cap on calls in flight is the least of what is declared, reported and searched for."""

from __future__ import annotations

from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchllm.policy.call_cap import CallCap
from batchllm.policy.concurrency_search import ConcurrencySearch
from tests.examples import examples

NUMBERS = st.none() | st.integers(1, 500)


@given(NUMBERS, NUMBERS)
def test_the_least_counts_and_none_is_no_cap(declared: int | None, reported: int | None) -> None:
    """In whichever order they come."""
    cap, other = CallCap(declared), CallCap()
    cap.report(reported)
    other.report(reported)
    other.declare(declared)
    least = min((one for one in (declared, reported) if one is not None), default=inf)
    assert cap.limit == other.limit == least
    assert cap.declared == declared


class CallCapMachine(RuleBasedStateMachine):
    """Successes, refusals, and other numbers of the user's and the server's, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.cap = CallCap(100, ConcurrencySearch())
        self.reported: int | None = None
        self.now = 0.0

    @rule(calls=NUMBERS)
    def declare(self, calls: int | None) -> None:
        self.cap.declare(calls)

    @rule(calls=NUMBERS)
    def report(self, calls: int | None) -> None:
        self.cap.report(calls)
        self.reported = calls

    @rule(took=st.floats(0.01, 10.0), count=st.integers(1, 30))
    def succeed(self, took: float, count: int) -> None:
        for _ in range(count):
            self.now += took
            self.cap.on_ok(self.now, self.now - took, int(min(self.cap.limit, 1000)))

    @rule(took=st.floats(0.01, 10.0))
    def refuse(self, took: float) -> None:
        before, self.now = self.cap.limit, self.now + took
        self.cap.on_refused(self.now, self.now - took)
        assert self.cap.limit <= before

    @invariant()
    def it_is_the_least_of_the_three(self) -> None:
        search = self.cap.search
        assert search is not None
        numbers = (self.cap.declared, self.reported, search.limit)
        assert self.cap.limit == min(one for one in numbers if one is not None) >= 1


TestCallCapLaws = CallCapMachine.TestCase
TestCallCapLaws.settings = settings(max_examples=examples(40), stateful_step_count=15)
