"""Quotas of a scenario at work: charges, settlements, changes and neighbours."""

import random

import pytest

from batchllm.simulator import scenario
from batchllm.simulator.quotas import Charge, Quotas, Refusal
from batchllm.simulator.wires import Answer, Call

CALL = Call(model="m", prompt="p", headline="p", digest="d", input_tokens=100, tokens_allowed=50)


def quotas(**overrides: object) -> Quotas:
    return Quotas(scenario("instant", **overrides), random.Random(5))


def remaining(made: Quotas, now: float) -> dict[str, float]:
    return {state.dimension: round(state.remaining) for state in made.states(now)}


def charge_of(made: Quotas, now: float, call: Call = CALL) -> Charge:
    charge = made.admit(now, call)
    assert isinstance(charge, Charge)
    return charge


def test_all_limits_are_charged_and_settled() -> None:
    """The bound on the output is reserved first; what was not used is given back at the end."""
    made = quotas(rpm=600, tpm=6000, itpm=6000, otpm=6000, rpd=1000, concurrency=2)
    charge = charge_of(made, 0.0)
    assert remaining(made, 0.0) == {
        "requests": 599,
        "tokens": 5850,
        "input_tokens": 5900,
        "output_tokens": 5999,
        "requests_per_day": 999,
        "concurrency": 1,
    }
    charge.settle(0.0, Answer(input_tokens=100, output_tokens=20, cached_tokens=60), refunds=True)
    assert remaining(made, 0.0) == {
        "requests": 599,
        "tokens": 5880,
        "input_tokens": 5960,
        "output_tokens": 5980,
        "requests_per_day": 999,
        "concurrency": 2,
    }


def test_a_failed_request_costs_a_request_only() -> None:
    """Without an answer the tokens are given back and the request is not."""
    made = quotas(rpm=600, tpm=6000, itpm=6000, otpm=6000)
    charge_of(made, 0.0).settle(0.0, None, refunds=True)
    assert remaining(made, 0.0) == {
        "requests": 599, "tokens": 6000, "input_tokens": 6000, "output_tokens": 6000,
    }  # fmt: skip


def test_some_providers_refund_nothing() -> None:
    """Where reservations are final, settling leaves the tokens charged."""
    made = quotas(tpm=6000, itpm=6000)
    charge_of(made, 0.0).settle(0.0, Answer(input_tokens=100, output_tokens=1), refunds=False)
    assert remaining(made, 0.0) == {"tokens": 5850, "input_tokens": 5900}


def test_a_refusal_charges_nothing() -> None:
    """When one limit refuses, the others are left as they were."""
    made = quotas(rpm=600, tpm=200)
    charge_of(made, 0.0)
    refusal = made.admit(0.0, CALL)
    assert isinstance(refusal, Refusal)
    assert (refusal.dimension.name, refusal.cost, refusal.wait) == ("tokens", 150, 30)
    assert remaining(made, 0.0) == {"requests": 599, "tokens": 50}


def test_refusals_count_where_the_provider_counts_them() -> None:
    """A client that never pauses gets the first window's worth and then nothing."""
    made = quotas(rpm=10, enforcement="counting")
    passed = [isinstance(made.admit(float(second), CALL), Charge) for second in range(300)]
    assert passed == [True] * 10 + [False] * 290


def test_without_a_bound_the_models_own_is_reserved() -> None:
    """A request that gives no bound is charged as the scenario says; embeddings have no output."""
    made = quotas(tpm=6000, reserved_output=1000)
    unbounded = Call(model="m", prompt="p", headline="p", digest="d", input_tokens=100)
    charge_of(made, 0.0, unbounded)
    assert remaining(made, 0.0) == {"tokens": 4900}
    texts = Call(kind="embed", model="m", prompt="p", headline="p", digest="d", input_tokens=100)
    charge_of(made, 0.0, texts)
    assert remaining(made, 0.0) == {"tokens": 4800}


@pytest.mark.parametrize(
    ("enforcement", "window", "at_once"),
    [("bucket", 60, 60), ("bucket", 1, 1), ("fixed", 10, 10), ("sliding", 10, 10),
     ("counting", 1, 1)],
)  # fmt: skip
def test_a_quota_per_minute_is_enforced_over_its_window(
    enforcement: str, window: float, at_once: int
) -> None:
    """As many pass at once as the window's share of a minute holds."""
    made = quotas(rpm=60, enforcement=enforcement, window=window)
    passed = [isinstance(made.admit(0.0, CALL), Charge) for _ in range(100)]
    assert sum(passed) == at_once
    assert made.states(0.0)[0].limit == 60


def test_the_quota_changes_when_told() -> None:
    """A minute in, the quota halves; two minutes in, it is a third more than declared."""
    made = quotas(rpm=60, burst=1, concurrency=50, quota_changes="60*0.5,120*1.5")
    passed: dict[int, int] = {}
    for tick in range(1800):
        now = 1000 + tick / 10
        if isinstance(charge := made.admit(now, CALL), Charge):
            charge.settle(now, None, refunds=True)
            passed[tick // 600] = passed.get(tick // 600, 0) + 1
    assert passed == {
        0: pytest.approx(60, abs=1),
        1: pytest.approx(30, abs=1),
        2: pytest.approx(90, abs=1),
    }
    requests, concurrency = made.states(1180.0)
    assert (requests.limit, concurrency.limit) == (90, 50)


def test_a_neighbour_takes_a_share() -> None:
    """Beside a tenant that sends a third as much, three quarters of the quota are left."""
    made = quotas(rpm=600, enforcement="fixed", neighbour=200)
    passed = sum(isinstance(made.admit(tick / 10, CALL), Charge) for tick in range(10 * 600))
    assert passed / 6000 == pytest.approx(3 / 4, abs=0.03)
