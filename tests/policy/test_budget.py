"""The books of a budget: booked and reserved never exceed it, whatever happens in between."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchllm.core import Budget
from batchllm.policy import BudgetLedger, Need, Reservation

TOKENS = st.integers(0, 5_000)
DOLLARS = st.floats(0, 0.05)
CLOSINGS = ("settle", "keep", "release")


class Ledger(RuleBasedStateMachine):
    """Calls reserve, take at most what they reserved, and are closed in any order and way."""

    @initialize(
        tokens=st.none() | st.integers(1, 20_000),
        cost=st.none() | st.floats(0.000_001, 0.2),
    )
    def open(self, tokens: int | None, cost: float | None) -> None:
        if cost is None:
            tokens = tokens or 20_000
        bounds = Budget(max_tokens_total=tokens, max_cost=cost)
        self.budget = bounds
        self.ledger = BudgetLedger(bounds)
        self.under_way: list[tuple[Need, Reservation]] = []
        self.closed: list[Reservation] = []

    @rule(tokens=TOKENS, cost=DOLLARS)
    def reserve(self, tokens: int, cost: float) -> None:
        need = Need(tokens, cost)
        fits, reservation = self.ledger.fits(need), self.ledger.reserve(need)
        assert (reservation is not None) == fits
        if reservation is not None:
            self.under_way.append((need, reservation))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), how=st.sampled_from(CLOSINGS), share=st.floats(0, 1))
    def close(self, data: st.DataObject, how: str, share: float) -> None:
        index = data.draw(st.integers(0, len(self.under_way) - 1))
        need, reservation = self.under_way.pop(index)
        if how == "settle":
            took = Need(int(share * need.tokens), share * (need.cost or 0.0))
            self.ledger.settle(reservation, took)
        else:
            getattr(self.ledger, how)(reservation)
        self.closed.append(reservation)

    @precondition(lambda self: self.closed)
    @rule(data=st.data(), how=st.sampled_from(CLOSINGS))
    def close_again(self, data: st.DataObject, how: str) -> None:
        reservation = data.draw(st.sampled_from(self.closed))
        before = self.state()
        if how == "settle":
            self.ledger.settle(reservation, Need(7, 0.01))
        else:
            getattr(self.ledger, how)(reservation)
        assert self.state() == before

    def state(self) -> tuple[float, ...]:
        ledger = self.ledger
        return (
            *(ledger.tokens, ledger.reserved_tokens, ledger.calls),
            *(ledger.cost, ledger.reserved_cost, ledger.uncertain_cost),
        )

    @invariant()
    def within_the_budget(self) -> None:
        ledger, budget = self.ledger, self.budget
        if budget.max_tokens_total is not None:
            assert ledger.tokens + ledger.reserved_tokens <= budget.max_tokens_total
        if budget.max_cost is not None:
            assert ledger._booked + ledger._reserved <= budget.max_cost * 10**12
        assert 0 <= ledger._uncertain <= ledger._booked

    @invariant()
    def what_is_reserved_belongs_to_calls_under_way(self) -> None:
        assert self.ledger.calls == len(self.under_way)
        assert self.ledger.reserved_tokens == sum(one.tokens for _, one in self.under_way)
        assert self.ledger._reserved == sum(one.units for _, one in self.under_way)


TestLedger = Ledger.TestCase


@given(st.lists(st.floats(0, 1e-4), min_size=1, max_size=200), st.randoms())
def test_the_order_of_calls_changes_no_sum(costs: list[float], rng: object) -> None:
    """Money is counted in whole units, so no digit is lost over a million calls."""

    def total(ordered: list[float]) -> float:
        ledger = BudgetLedger(Budget(max_cost=1.0))
        for cost in ordered:
            reservation = ledger.reserve(Need(0, cost))
            assert reservation is not None
            ledger.settle(reservation, Need(0, cost))
        return ledger.cost

    mixed = list(costs)
    rng.shuffle(mixed)  # type: ignore[attr-defined]
    assert total(costs) == total(mixed)


def test_a_call_that_took_more_than_was_reserved_is_booked_as_it_was() -> None:
    """The budget is passed by that much, and nothing further fits."""
    ledger = BudgetLedger(Budget(max_tokens_total=100))
    reservation = ledger.reserve(Need(60))
    assert reservation is not None
    ledger.settle(reservation, Need(130))
    assert (ledger.tokens, ledger.reserved_tokens) == (130, 0)
    assert not ledger.fits(Need(1))


def test_a_call_whose_cost_is_unknown_is_booked_as_reserved() -> None:
    """Its tokens are those that it reported."""
    ledger = BudgetLedger(Budget(max_cost=1.0))
    reservation = ledger.reserve(Need(100, 0.25))
    assert reservation is not None
    ledger.settle(reservation, Need(40))
    assert (ledger.tokens, ledger.cost, ledger.uncertain_cost) == (40, 0.25, 0.0)


def test_what_may_be_billed_counts_and_is_known_apart() -> None:
    """All that was reserved, since no one knows better."""
    ledger = BudgetLedger(Budget(max_cost=1.0, max_tokens_total=1_000))
    reservation = ledger.reserve(Need(100, 0.25))
    assert reservation is not None
    ledger.keep(reservation)
    assert (ledger.cost, ledger.uncertain_cost) == (0.25, 0.25)
    assert (ledger.tokens, ledger.uncertain_tokens) == (100, 100)


def test_what_is_known_to_be_billed_is_the_least_that_counts() -> None:
    """An answer that was cut off may have taken more than was reserved for it already."""
    for least, tokens, cost in ((Need(40, 0.5), 100, 0.5), (Need(140, 0.1), 140, 0.25)):
        ledger = BudgetLedger(Budget(max_cost=1.0, max_tokens_total=1_000))
        reservation = ledger.reserve(Need(100, 0.25))
        assert reservation is not None
        ledger.keep(reservation, least)
        ledger.keep(reservation, Need(900, 0.9))  # it is closed
        assert (ledger.cost, ledger.uncertain_cost) == (cost, cost)
        assert (ledger.tokens, ledger.uncertain_tokens) == (tokens, tokens)
