"""Declared and adopted limits stand beside each other, and what was sent stays counted."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchllm.core import CallCost
from batchllm.policy.bucket import Limit
from batchllm.policy.buckets import Buckets, alike
from tests.examples import examples

ONE = CallCost()


def test_an_adopted_limit_is_another_amount_or_another_bucket() -> None:
    """Of one dimension and period there is one; what it says again is no news."""
    buckets = Buckets([], "refund")
    assert buckets.adopt(Limit("requests", 60))
    assert not buckets.adopt(Limit("requests", 60))
    assert buckets.adopt(Limit("requests", 90))
    assert buckets.adopt(Limit("requests", 10, per=1.0))
    assert [(each.limit.amount, each.limit.per) for each in buckets.kept] == [(90, 60.0), (10, 1.0)]


def test_an_adopted_limit_can_be_dropped_and_a_declared_one_cannot() -> None:
    """Of all that the server reported nothing undoes what the user said."""
    buckets = Buckets([Limit("tokens", 1000)], "refund")
    buckets.adopt(Limit("requests", 60))
    buckets.drop("tokens", 60.0)
    buckets.drop("requests", 1.0)
    assert [each.limit.dimension for each in buckets.kept] == ["tokens", "requests"]
    buckets.drop("requests", 60.0)
    assert [each.limit.dimension for each in buckets.kept] == ["tokens"]


@pytest.mark.parametrize(
    ("period", "like"), [(48.1, True), (47.9, False), (74.9, True), (75.1, False)]
)
def test_a_limit_is_covered_by_one_of_about_its_period(period: float, like: bool) -> None:
    """A fifth less or a quarter more is the scatter of measuring."""
    buckets = Buckets([Limit("requests", 60)], "refund")
    assert alike(period, 60.0) == like
    assert buckets.covers(Limit("requests", 5, per=period)) == like
    assert not buckets.covers(Limit("tokens", 5, per=period))


def test_what_was_sent_stays_counted_if_the_same_window_gets_another_amount() -> None:
    """Sixty were sent, so that a limit of sixty-one has room for one more."""
    buckets = Buckets([Limit("requests", 100)], "refund")
    for number in range(60):
        buckets.kept[0].take(number / 10, ONE)
    buckets.declare([Limit("requests", 61)])
    assert buckets.kept[0].held == 60
    buckets.declare([Limit("requests", 61, per=30.0)])
    assert buckets.kept[0].held == 0


class BucketsMachine(RuleBasedStateMachine):
    """Limits declared, adopted and dropped in any order: the declared ones are kept, and first."""

    def __init__(self) -> None:
        super().__init__()
        self.buckets = Buckets([], "refund")
        self.declared: list[Limit] = []

    limits = st.builds(
        Limit,
        st.sampled_from(["requests", "tokens"]),
        st.integers(1, 50),
        per=st.sampled_from([1.0, 60.0]),
    )

    @rule(limits=st.lists(limits, max_size=2, unique_by=lambda one: (one.dimension, one.per)))
    def declare(self, limits: list[Limit]) -> None:
        self.buckets.declare(limits)
        self.declared = limits

    @rule(limit=limits)
    def adopt(self, limit: Limit) -> None:
        if limit.dimension not in self.buckets.declared:
            self.buckets.adopt(limit)
            assert limit in [each.limit for each in self.buckets.kept]

    @rule(limit=limits)
    def drop(self, limit: Limit) -> None:
        self.buckets.drop(limit.dimension, limit.per)

    @invariant()
    def the_declared_ones_are_first_and_alone_in_their_dimension(self) -> None:
        kept = [each.limit for each in self.buckets.kept]
        assert kept[: len(self.declared)] == self.declared
        adopted = kept[len(self.declared) :]
        assert not {one.dimension for one in adopted} & self.buckets.declared
        assert len({(one.dimension, one.per) for one in adopted}) == len(adopted)


TestBucketsLaws = BucketsMachine.TestCase
TestBucketsLaws.settings = settings(max_examples=examples(40), stateful_step_count=15)
