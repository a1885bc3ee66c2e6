"""A period is announced when it is sure, and as its server has it in its settings."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import CallCost, LimitHint
from batchllm.policy.admission import Admission
from tests.policy.reported_servers import Client, Server, Steady, anthropic, openai

ONE = CallCost()


def rounded(wait: float) -> dict[str, str]:
    return {"retry-after": str(math.ceil(wait))}


def announced(admission: Admission) -> list[float]:
    return [limit.per for limit, _ in admission.drain_adopted()]


@pytest.mark.parametrize("callers", [8, 50])
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("amount", "period"), [(20, 1.0), (50, 10.0), (50, 60.0)])
def test_resets_in_whole_seconds_announce_no_period_that_is_far_off(
    amount: int, period: float, seed: int, callers: int
) -> None:
    """The first replies of a bucket of one second said anything from 2 to 390 s."""
    server = Server({"requests": Steady(amount, period)}, anthropic, retry=rounded)
    client = Client(server, 4 * amount, callers=callers, seed=seed)
    client.run()
    assert all(0.8 <= per / period <= 1.25 for per in announced(client.admission))


def test_an_exact_reset_announces_its_period_with_the_second_reply() -> None:
    admission = Admission()
    for number in range(3):
        admitted = [admission.take(number / 100, ONE) for _ in range(60)][-1]
        left = 540 - 60 * number
        hint = LimitHint(dimension="requests", amount=600, remaining=left, reset=1.0 + number)
        admission.observe(hint, number / 100, number / 100, admitted)
    assert announced(admission) == [10.0]


def test_a_limit_of_which_little_is_used_is_not_announced_by_whole_seconds() -> None:
    """Its resets are all 0 or 1 s; what they show is chance."""
    admission, rng = Admission(), Random(1)
    for number in range(400):
        at = number / 10
        admitted = admission.take(at, ONE)
        hint = LimitHint(dimension="requests", amount=20_000, remaining=19_900,
                         reset=float(rng.random() < 0.3), name="anthropic requests",
                         resolution=1.0)  # fmt: skip
        admission.observe(hint, at, at, admitted)
    assert announced(admission) == []


@given(st.floats(5, 4_000), st.floats(-0.02, 0.02))
def test_a_period_that_is_nearly_a_plain_one_is_taken_for_it(per: float, off: float) -> None:
    """Measured, it comes out as 4.983 s or 59.2; and it is never changed by more than 3 %."""
    per = float(round(per)) if per >= 40 else per
    admission = Admission()
    for number in range(4):
        at = number / 1000
        admitted = [admission.take(at, ONE) for _ in range(100)][-1]
        hint = LimitHint(dimension="requests", amount=1_000, remaining=900 - 100 * number,
                         reset=per * (1 + off) * (number + 1) / 10)  # fmt: skip
        admission.observe(hint, at, at, admitted)
    (limit,) = admission.limits
    assert limit.per == pytest.approx(per * (1 + off), rel=0.035)
    if 58.8 <= per <= 61:
        assert limit.per == 60.0


def test_a_server_of_our_own_is_announced_as_it_is() -> None:
    server = Server({"requests": Steady(600, 60.0)}, openai)
    client = Client(server, 1_500, seed=2)
    client.run()
    assert announced(client.admission) == [60.0]
