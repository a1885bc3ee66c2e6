"""Reported limits are adopted if they name their period, and followed if they do not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import LimitHint
from batchllm.policy.bucket import Limit
from batchllm.policy.buckets import Buckets
from batchllm.policy.reported import Countdown, ReportedLimit
from batchllm.policy.reports import Reports


def reports(*declared: Limit, own_address: bool = False) -> tuple[Reports, Buckets]:
    buckets = Buckets(declared, "refund")
    return Reports(buckets, own_address=own_address), buckets


def hint(dimension: Any = "requests", amount: int | None = 60, **parts: Any) -> LimitHint:
    return LimitHint(dimension=dimension, amount=amount, **{"source": "headers", **parts})


def kept(buckets: Buckets) -> list[tuple[str, int, float]]:
    return [(one.limit.dimension, one.limit.amount, one.limit.per) for one in buckets.kept]


def test_a_limit_with_its_period_is_adopted_at_once_and_logged_once() -> None:
    """A claim gives up a tenth of its period for jitter at most."""
    found, buckets = reports()
    assert found.observe(hint(per=2.0), 0.1, 0.0, 1)
    assert not found.observe(hint(per=2.0), 0.2, 0.1, 2)
    assert kept(buckets) == [("requests", 60, 2.0)]
    assert buckets.kept[0].limit.jitter == pytest.approx(0.2)
    assert found.drain_adopted() == [(buckets.kept[0].limit, "headers, stated period")]
    assert found.drain_adopted() == []
    found.observe(hint(amount=90, per=2.0, source="body"), 0.3, 0.2, 3)
    assert found.drain_adopted()[0][1] == "words of a refusal, stated period"


def test_a_declared_limit_is_not_replaced_by_a_reported_one() -> None:
    """Neither by one with a period nor by one that several replies show."""
    found, buckets = reports(Limit("requests", 10))
    assert not found.observe(hint(per=60.0), 0.1, 0.0, 1)
    for number in range(5):
        found.observe(hint(remaining=59 - number, reset=30.0 - number), number, number, number)
    assert kept(buckets) == [("requests", 10, 60.0)]
    assert found.extra() == {}


@pytest.mark.parametrize(("own_address", "adopted"), [(True, True), (False, False)])
def test_a_minute_is_assumed_at_a_providers_own_address_alone(
    own_address: bool, adopted: bool
) -> None:
    """Elsewhere the period has to show in what replies say."""
    found, buckets = reports(own_address=own_address)
    assert found.observe(hint(per=60.0, assumed=True), 0.1, 0.0, 1) == adopted
    assert bool(buckets.kept) == adopted


def test_calls_that_were_accepted_take_a_claim_back() -> None:
    """200 within two seconds are more than 60 a minute allow."""
    found, buckets = reports()
    found.observe(hint(per=60.0), 0.1, 0.0, 1)
    for number in range(200):
        found.on_accepted(0.1 + number / 100, number / 100)
    assert not found.observe(hint(per=60.0), 2.2, 2.1, 200)
    assert kept(buckets) == []


def test_what_has_no_reset_is_counted_down_until_a_reply_has_one() -> None:
    """Then it is followed by its resets; what words of a refusal say is left is not followed."""
    found, _ = reports()
    found.observe(hint(remaining=0, source="body"), 0.1, 0.0, 1)
    assert found.limits == {}
    found.observe(hint(remaining=9, name="key"), 0.1, 0.0, 1)
    (follower,) = found.limits.values()
    assert isinstance(follower, Countdown)
    found.observe(hint(remaining=8, name="key", reset=5.0), 0.3, 0.2, 2)
    (follower,) = found.limits.values()
    assert isinstance(follower, ReportedLimit)
    assert found.sure == {}


@pytest.mark.parametrize(
    ("dimension", "remaining", "followed", "explained"),
    [
        ("tokens", 0, "tokens", True),
        ("tokens", 0, "output_tokens", False),
        ("tokens", 5, "tokens", False),
        ("requests", 0, "requests", False),
    ],
)
def test_a_refusal_for_tokens_that_are_counted_down_is_explained(
    dimension: str, remaining: int, followed: str, explained: bool
) -> None:
    """Answers say how many calls fit; it is no pace of requests."""
    found, _ = reports()
    refused = hint(dimension, remaining=remaining, source="body")
    assert not found.explains(refused)
    found.observe(hint(followed, 3000, remaining=2250), 0.1, 0.0, 30)
    assert found.explains(refused) == explained


@given(st.lists(st.integers(-3, 40), max_size=12))
def test_a_cap_on_parallel_calls_is_adopted_unless_more_were_accepted_at_once(
    caps: list[int],
) -> None:
    """The last that makes sense counts; ten that overlapped contradict four and six."""
    found, _ = reports()
    for cap in caps:
        found.observe_parallel(hint("concurrency", cap))
    assert found.parallel_cap == next((cap for cap in reversed(caps) if cap > 0), None)
    found, _ = reports()
    for number in range(10):
        found.on_accepted(9.0 + number / 10, number / 10)
    for cap in caps:
        found.observe_parallel(hint("concurrency", cap))
    assert found.parallel_cap not in range(1, 7)


def test_no_more_than_32_limits_are_followed() -> None:
    """Their names are the server's."""
    found, _ = reports()
    for number in range(40):
        found.observe(hint(remaining=9, name=f"limit {number}"), 0.1, 0.0, 1)
    assert len(found.limits) == 32
