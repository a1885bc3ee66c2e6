"""A declared limit: never exceeded in any window, used to the brim, without drift."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from batchllm.core import CallCost
from batchllm.policy.bucket import Bucket, Limit, Reservation
from tests.examples import examples

ONE = CallCost()


def starts(bucket: Bucket, costs: list[CallCost], lags: list[float]) -> list[float]:
    """Start every call as early as the bucket lets it, each *lag* too late."""
    now, sent = 0.0, []
    for cost, lag in zip(costs, lags, strict=True):
        now = max(now, bucket.next_time(now, cost)) + lag
        while (at := bucket.next_time(now, cost)) > now:
            now = at
        bucket.take(now, cost)
        sent.append(now)
    return sent


def most_in_any_window(arrivals: list[tuple[float, int]], width: float) -> int:
    """The largest sum in any half-open window, which begins at some arrival."""
    return max(
        sum(cost for at, cost in arrivals if begin <= at < begin + width) for begin, _ in arrivals
    )


@given(
    amount=st.integers(2, 40),
    seed=st.integers(0, 10_000),
    lag=st.sampled_from([0.0, 0.019, 0.05, 3.0]),
)
@example(amount=7, seed=1, lag=0.019)
def test_no_window_ever_receives_more_requests_than_the_limit(
    amount: int, seed: int, lag: float
) -> None:
    """With any delays within J on the way to the server, no window of q holds more than L_q."""
    rng = Random(seed)
    bucket = Bucket(Limit("requests", amount, per=10.0, jitter=0.5))
    count = 3 * amount
    sent = starts(bucket, [ONE] * count, [rng.uniform(0, lag) for _ in range(count)])
    arrivals = [(at + rng.choice((0.0, 0.5, rng.uniform(0, 0.5))), 1) for at in sent]
    assert most_in_any_window(arrivals, 10.0) <= amount


def test_the_window_check_notices_a_pace_without_the_jitter_bound() -> None:
    """This check fails if the bound on jitter is left out of the pace."""
    bucket = Bucket(Limit("requests", 10, per=10.0, jitter=0.0))
    sent = starts(bucket, [ONE] * 30, [0.0] * 30)
    late = [(at + (0.5 if at < sent[10] else 0.0), 1) for at in sent]
    assert most_in_any_window(late, 10.0) > 10


@given(seed=st.integers(0, 10_000), settled=st.booleans())
def test_no_window_ever_receives_more_tokens_than_the_limit(seed: int, settled: bool) -> None:
    """The ledger holds for weighted costs, refunds at the end of calls included."""
    rng = Random(seed)
    bucket = Bucket(Limit("tokens", 1000, per=10.0, jitter=0.5))
    now, arrivals = 0.0, list[tuple[float, int]]()
    for _ in range(40):
        cost = CallCost(1, rng.randint(1, 150), rng.randint(0, 150))
        while (at := bucket.next_time(now, cost)) > now:
            now = at
        taken = bucket.take(now, cost)
        used = rng.randint(0, cost.tokens) if settled else cost.tokens
        bucket.settle(taken, CallCost(1, used, 0))
        arrivals.append((now + rng.uniform(0, 0.5), used))
    assert most_in_any_window(arrivals, 10.0) <= 1000


@pytest.mark.parametrize("amount", [60, 600, 3000])
def test_a_minutes_requests_are_used_to_more_than_99_percent(amount: int) -> None:
    """A loop that wakes up to 20 ms late loses nothing, because the schedule goes on."""
    rng = Random(3)
    bucket = Bucket(Limit("requests", amount))
    count = amount * 3
    sent = starts(bucket, [ONE] * count, [rng.uniform(0, 0.9 * 0.02) for _ in range(count)])
    assert (count - 1) / sent[-1] >= 0.99 * amount / 60


def test_nothing_drifts_over_many_starts() -> None:
    """After 200,000 starts the schedule stands exactly where multiplication puts it."""
    bucket = Bucket(Limit("requests", 7, per=1.0, jitter=0.0))
    start, now = 1e6, 1e6
    for _ in range(200_000):
        now = max(now, bucket.next_time(now, ONE))
        bucket.take(now, ONE)
    step = (1.0 + 0.02 + 2e-6) / 7
    assert now - start == pytest.approx(199_999 * step - 0.02, abs=2e-6)


@given(seed=st.integers(0, 1000), shift=st.integers(-(2**20), 2**20))
def test_adding_a_constant_to_the_clock_changes_nothing(seed: int, shift: int) -> None:
    """The origin of the clock is arbitrary."""

    def trace(origin: float) -> list[float]:
        rng = Random(seed)
        bucket = Bucket(Limit("tokens", 100, per=8.0))
        answers = []
        now = origin
        for _ in range(30):
            cost = CallCost(1, rng.randint(1, 40), 0)
            at = bucket.next_time(now, cost)
            answers.append(at - origin)
            now = max(now + rng.randint(0, 64) / 64, at)
            while bucket.next_time(now, cost) > now:
                now = bucket.next_time(now, cost)
            bucket.take(now, cost)
        return answers

    assert trace(float(shift)) == pytest.approx(trace(0.0), abs=1e-6)


def test_a_cost_beyond_the_window_never_fits_and_no_cost_always_does() -> None:
    """An item that can never pass is told apart from one that has to wait."""
    bucket = Bucket(Limit("tokens", 100))
    assert bucket.oversize(CallCost(1, 101, 0))
    assert bucket.next_time(5.0, CallCost(1, 101, 0)) == inf
    assert not bucket.oversize(CallCost(1, 50, 50))
    assert bucket.next_time(5.0, CallCost(1, 0, 0)) == 5.0


def test_a_day_is_a_stock_and_not_a_pace() -> None:
    """A limit per day lets a burst through and then waits for the day to pass."""
    bucket = Bucket(Limit("requests", 3, per=86_400.0))
    for now in (0.0, 1.0, 2.0):
        assert bucket.next_time(now, ONE) == now
        bucket.take(now, ONE)
    # The three starts count as one entry of the ledger, which ends with its last.
    assert bucket.next_time(3.0, ONE) == pytest.approx(86_402.5, abs=0.1)


@pytest.mark.parametrize(
    ("settlement", "held"), [("refund", 30), ("keep", 100), ("input_only", 20)]
)
def test_unused_tokens_are_booked_by_the_providers_rule(settlement: str, held: int) -> None:
    """OpenAI gives unused tokens back, Azure keeps them, Gemini counts no output."""
    bucket = Bucket(Limit("tokens", 1000), settlement=settlement)  # type: ignore[arg-type]
    taken = bucket.take(0.0, CallCost(1, 40, 60))
    bucket.settle(taken, CallCost(1, 20, 10))
    assert bucket.held == held


def test_a_call_that_took_more_than_reserved_is_charged_for_it() -> None:
    """Under every rule, what was used above the reservation counts."""
    bucket = Bucket(Limit("tokens", 1000), settlement="keep")
    bucket.settle(bucket.take(0.0, CallCost(1, 10, 0)), CallCost(1, 25, 5))
    assert bucket.held == 30


def test_a_released_place_is_reused_only_at_the_end_of_the_line() -> None:
    """Closing a gap in the middle would put two starts side by side."""
    bucket = Bucket(Limit("requests", 60, jitter=0.0))
    first = bucket.take(0.0, ONE)
    second_at = bucket.next_time(0.0, ONE)
    second = bucket.take(second_at, ONE)
    third_at = bucket.next_time(second_at, ONE)
    bucket.release(second)
    assert bucket.next_time(second_at, ONE) == pytest.approx(second_at)
    bucket.take(second_at, ONE)
    bucket.release(first)
    assert bucket.next_time(second_at, ONE) == pytest.approx(third_at)


def test_a_reservation_ends_once() -> None:
    """Settling what was released would give the same room back twice."""
    bucket = Bucket(Limit("tokens", 100))
    taken = bucket.take(0.0, CallCost(1, 10, 0))
    bucket.release(taken)
    with pytest.raises(ValueError, match="ended already"):
        bucket.settle(taken, None)


def test_an_amount_may_change_and_the_schedule_keeps_its_instant() -> None:
    """A server that tells another amount changes the pace from then on."""
    bucket = Bucket(Limit("requests", 60, jitter=0.0))
    bucket.take(0.0, ONE)
    before = bucket.next_time(0.0, ONE)
    assert bucket.resize(Limit("requests", 600, jitter=0.0))
    assert bucket.next_time(0.0, ONE) == pytest.approx(before, abs=1e-6)
    bucket.take(before, ONE)
    assert bucket.next_time(before, ONE) - before == pytest.approx(0.1, abs=0.01)
    assert not bucket.resize(Limit("requests", 600, jitter=0.0))


@pytest.mark.parametrize(
    ("limit", "enforced"),
    [
        (Limit("requests", 600, window=10.0), (100, 10.0)),
        (Limit("requests", 3, window=1.0), (3, 60.0)),
        (Limit("requests", 3, per=1.0, window=60.0), (3, 1.0)),
    ],
)
def test_the_enforced_window_gets_its_share(limit: Limit, enforced: tuple[int, float]) -> None:
    """A window too short for one unit falls back to the whole period."""
    assert limit.enforced == enforced


@pytest.mark.parametrize(
    ("field", "value"), [("amount", 0), ("per", -1.0), ("window", inf), ("jitter", -0.1)]
)
def test_a_senseless_limit_is_refused_with_its_field(field: str, value: float) -> None:
    """The message names the field and the value."""
    given = {"dimension": "requests", "amount": 1, field: value}
    with pytest.raises(ValueError, match=rf"Limit\.{field} .*{value!r}"):
        Limit(**given)  # type: ignore[arg-type]


class LedgerMachine(RuleBasedStateMachine):
    """Calls start, end, and are taken back in any order; the ledger never lies."""

    def __init__(self) -> None:
        super().__init__()
        self.bucket = Bucket(Limit("tokens", 100, per=4.0, jitter=0.0))
        self.now = 0.0
        self.open: list[Reservation] = []
        self.kept: list[tuple[float, int, Reservation]] = []

    @rule(seconds=st.integers(0, 256))
    def wait(self, seconds: int) -> None:
        self.now += seconds / 64

    @rule(units=st.integers(1, 60))
    def start(self, units: int) -> None:
        cost = CallCost(1, units, 0)
        at = self.bucket.next_time(self.now, cost)
        assert self.now <= at < self.now + 20
        if at == self.now:
            taken = self.bucket.take(self.now, cost)
            self.open.append(taken)
            self.kept.append((self.now, units, taken))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        taken = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        used = data.draw(st.integers(0, taken.cost))
        if used == 0:
            self.bucket.release(taken)
        else:
            self.bucket.settle(taken, CallCost(1, used, 0))
        self.kept = [(at, used if each is taken else units, each) for at, units, each in self.kept]

    @invariant()
    def the_last_window_is_within_the_limit(self) -> None:
        recent = sum(units for at, units, _ in self.kept if at > self.now - 4.0)
        assert recent <= 100
        assert self.bucket.held >= 0

    @invariant()
    def the_largest_call_has_to_wait_for_a_few_windows_only(self) -> None:
        assert self.bucket.next_time(self.now, CallCost(1, 100, 0)) < self.now + 20


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=examples(60), stateful_step_count=30)
