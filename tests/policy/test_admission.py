"""Several limits at once, and what the server says is left."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import CallCost, LimitHint
from batchllm.policy.admission import Admission
from batchllm.policy.bucket import Limit

ONE = CallCost()


def test_a_dimension_that_refuses_leaves_the_others_unchanged() -> None:
    """Asking takes nothing: the request limit still has its place when tokens are short."""
    admission = Admission([Limit("requests", 600), Limit("tokens", 100)])
    admission.take(0.0, CallCost(1, 100, 0))
    requests_only = Admission([Limit("requests", 600)])
    requests_only.take(0.0, ONE)
    for _ in range(100):
        assert admission.next_time(0.0, CallCost(1, 50, 0)) > 30
    assert admission.next_time(0.0, CallCost(1, 0, 0)) == requests_only.next_time(0.0, ONE)


def test_the_first_limit_that_can_never_be_passed_is_named() -> None:
    """An item too large for a limit is told which limit that is."""
    small = Limit("output_tokens", 10)
    admission = Admission([Limit("requests", 1), small])
    assert admission.oversize(CallCost(1, 0, 11)) == small
    assert admission.oversize(CallCost(1, 99, 10)) is None
    assert admission.next_time(0.0, CallCost(1, 0, 11)) == inf


def test_what_is_released_or_settled_leaves_no_trace() -> None:
    """After all calls have ended the limits hold what was really used."""
    admission = Admission([Limit("tokens", 100)])
    admission.release(admission.take(0.0, CallCost(1, 60, 0)))
    admission.settle(admission.take(0.0, CallCost(1, 60, 0)), CallCost(1, 10, 0))
    assert admission.next_time(10.0, CallCost(1, 90, 0)) == 10.0
    assert admission.next_time(10.0, CallCost(1, 91, 0)) > 60.0


def test_remaining_holds_back_what_is_sent_after_that_reply() -> None:
    """Two are left after the first call, so the fourth has to wait."""
    admission = Admission()
    first = admission.take(0.0, ONE)
    hint = LimitHint(dimension="requests", remaining=2, reset=30.0)
    admission.observe(hint, 1.0, 0.0, first)
    admission.take(1.0, ONE)
    assert admission.next_time(1.0, ONE) == 1.0
    admission.take(1.0, ONE)
    assert admission.next_time(1.0, ONE) == 31.0
    assert admission.next_time(31.0, ONE) == 31.0


def test_a_bucket_that_fills_up_is_not_waited_for_until_it_is_full() -> None:
    """With amount and reset told, one request's share of the time is enough."""
    admission = Admission([Limit("requests", 6000)])
    first = admission.take(0.0, ONE)
    hint = LimitHint(dimension="requests", amount=60, remaining=0, reset=60.0)
    admission.observe(hint, 1.0, 0.0, first)
    assert admission.next_time(1.0, ONE) == pytest.approx(2.0)


def test_a_reply_older_than_the_newest_has_no_effect() -> None:
    """Replies overtake each other; what the last call was told stands."""
    admission = Admission()
    first, second = admission.take(0.0, ONE), admission.take(1.0, ONE)
    admission.observe(LimitHint(dimension="requests", remaining=0, reset=9.0), 2.0, 1.0, second)
    admission.observe(LimitHint(dimension="requests", remaining=50, reset=9.0), 3.0, 0.0, first)
    assert admission.next_time(3.0, ONE) == 11.0


@given(
    remaining=st.one_of(st.none(), st.integers(-(10**9), -1)),
    reset=st.sampled_from([None, nan, inf, -1.0, 0.0, 1e300]),
    per=st.sampled_from([None, nan, inf, -1.0, 0.0, 1e300]),
    amount=st.one_of(st.none(), st.integers(-5, 0)),
)
def test_senseless_values_equal_no_values(
    remaining: int | None, reset: float | None, per: float | None, amount: int | None
) -> None:
    """Azure's -1 and whatever else makes no sense change nothing."""
    admission = Admission()
    first = admission.take(0.0, ONE)
    for left, back in ((remaining, reset), (remaining, 5.0), (3, reset)):
        hint = LimitHint(dimension="requests", amount=amount, per=per, remaining=left, reset=back)
        assert not admission.observe(hint, 1.0, 0.0, first)
    assert admission.empty


@given(remaining=st.integers(0, 100), reset=st.floats(0.1, 100), units=st.integers(1, 50))
def test_what_a_server_tells_never_lets_more_through(
    remaining: int, reset: float, units: int
) -> None:
    """For every value, the earliest instant is no earlier than without it."""
    cost = CallCost(1, units, 0)
    told, alone = (Admission([Limit("tokens", 60)]) for _ in range(2))
    first, _ = told.take(0.0, CallCost(1, 30, 0)), alone.take(0.0, CallCost(1, 30, 0))
    hint = LimitHint(dimension="tokens", amount=10**6, per=60.0, remaining=remaining, reset=reset)
    told.observe(hint, 1.0, 0.0, first)
    assert told.next_time(1.0, cost) >= alone.next_time(1.0, cost)


def test_a_limit_that_the_server_tells_is_kept_unless_one_is_declared() -> None:
    """It may change later; one per day and one per minute stand side by side."""
    admission = Admission([Limit("tokens", 500)])
    first = admission.take(0.0, ONE)
    for amount, new in ((60, True), (60, False), (30, True)):
        hint = LimitHint(dimension="requests", amount=amount, per=60.0)
        assert admission.observe(hint, 1.0, 0.0, first) is new
    assert admission.observe(
        LimitHint(dimension="requests", amount=1000, per=86_400.0), 1.0, 0.0, first
    )
    assert not admission.observe(LimitHint(dimension="tokens", amount=9, per=60.0), 1.0, 0.0, first)
    assert not admission.observe(
        LimitHint(dimension="concurrency", amount=9, per=60.0), 1.0, 0.0, first
    )
    assert [limit.amount for limit in admission.limits] == [500, 30, 1000]
    assert admission.limits_requests


def test_a_spent_stock_says_when_it_comes_back() -> None:
    """A day's limit is told apart from a pace that merely takes its time."""
    admission = Admission([Limit("requests", 1, per=86_400.0), Limit("requests", 60)])
    assert admission.spent_until(0.0, ONE) == 0.0
    admission.take(0.0, ONE)
    assert admission.spent_until(5.0, ONE) > 86_000
    assert Admission([Limit("requests", 60)]).spent_until(5.0, ONE) == 5.0
