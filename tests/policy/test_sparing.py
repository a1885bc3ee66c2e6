"""Replies of a busy scope that are passed over: which, and that no call waits for want of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import LimitHint
from batchllm.policy.reported import ReportedLimit
from batchllm.policy.reported.sparing import says_as_much
from tests.policy.reported_servers import Client, Limiter, Server, Steady, Window, openai

AMOUNT = 60_000


def hint(remaining: int | None, amount: int | None = AMOUNT) -> LimitHint:
    used = amount and remaining is not None and amount - remaining
    reset = used * 60 / amount if used and amount else None
    return LimitHint(
        dimension="requests", amount=amount, per=60.0, remaining=remaining, reset=reset
    )


def after(replies: int) -> tuple[ReportedLimit, float, int]:
    """Return a limit that has seen *replies*, one each millisecond, and the last one's moment."""
    limit, now = ReportedLimit("requests"), 0.0
    for number in range(1, replies + 1):
        now = number / 1000
        limit.on_take(now - 0.1, 1, number)
        limit.observe(hint(AMOUNT - 100 - number % 7), now, now - 0.1, number)
    return limit, now, replies


def test_a_reply_that_says_as_much_as_the_one_before_is_passed_over() -> None:
    limit, now, sent = after(100)
    assert limit.passes_over(hint(AMOUNT - 90), now + 0.001, sent + 1)


@pytest.mark.parametrize(
    ("remaining", "left", "since", "replies", "passed"),
    [
        (AMOUNT // 2, AMOUNT / 4, 0.019, 64, True),
        (AMOUNT // 2 - 1, AMOUNT / 4, 0.019, 64, False),
        (AMOUNT // 2, AMOUNT / 4 - 1, 0.019, 64, False),
        (AMOUNT // 2, AMOUNT / 4, 0.02, 64, False),
        (AMOUNT // 2, AMOUNT / 4, 0.019, 63, False),
    ],
)
def test_where_a_reply_begins_to_say_more(
    remaining: int, left: float, since: float, replies: int, passed: bool
) -> None:
    said = hint(remaining)
    assert says_as_much(said, AMOUNT, left, since=since, replies=replies) is passed


@pytest.mark.parametrize(
    ("said", "later", "more"),
    [
        (hint(AMOUNT - 90), 0.02, 1),
        (hint(AMOUNT // 2 - 1), 0.001, 1),
        (hint(AMOUNT - 90, AMOUNT + 1), 0.001, 1),
        (hint(AMOUNT - 90, None), 0.001, 1),
        (hint(None), 0.001, 1),
        (hint(AMOUNT - 90), 0.001, 3 * AMOUNT // 4),
    ],
    ids=["later", "little left", "another limit", "no limit", "nothing left said", "much sent"],
)
def test_a_reply_that_says_more_is_taken_in(said: LimitHint, later: float, more: int) -> None:
    limit, now, sent = after(100)
    assert not limit.passes_over(said, now + later, sent + more)


def test_the_first_replies_are_taken_in_however_fast_they_come() -> None:
    limit, now, sent = after(63)
    assert not limit.passes_over(hint(AMOUNT - 90), now, sent + 1)


@given(
    st.lists(
        st.tuples(st.integers(0, AMOUNT), st.floats(0, 0.05), st.integers(1, AMOUNT)), max_size=20
    )
)
def test_no_call_waits_for_what_was_passed_over(course: list[tuple[int, float, int]]) -> None:
    """Where a reply is passed over a call may go at once, however much was sent before."""
    limit, now, sent = after(70)
    for used, seconds_later, units in course:
        now, sent = now + seconds_later, sent + units
        limit.on_take(now, units, sent)
        said = hint(AMOUNT - used)
        if limit.passes_over(said, now, sent):
            assert limit.next_time(now, 1, sent) <= now
        else:
            limit.observe(said, now, now, sent)


BUSY = [
    # what it is, seconds of the quota for 6,000 calls, share of refusals
    (lambda: Steady(60_000, 60.0), 2.0, 0.0),
    (lambda: Steady(2_000, 2.0), 4.0, 0.09),
    (lambda: Window(1_000, 1.0), 6.0, 0.04),
    (lambda: Window(10_000, 10.0, 3.0), 2.0, 0.01),
]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("limiter", "ideal", "refused"), BUSY)
def test_a_quota_of_a_thousand_a_second_is_used_well(
    limiter: Callable[[], Limiter], ideal: float, refused: float, seed: int
) -> None:
    """In 1.1 of the quota's own time, though of many replies none but the first is taken in."""
    client = Client(Server({"requests": limiter()}, openai), 6_000, callers=400, seed=seed)
    assert client.run() <= 1.1 * ideal
    assert client.refused <= refused * 6_000
