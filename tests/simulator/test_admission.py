"""Models of quota enforcement: what they never let through, and what they promise to."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.simulator import (
    AdmissionModel,
    ConcurrencyCap,
    FixedWindow,
    ServiceQueue,
    SlidingLog,
    TokenBucket,
)
from batchllm.simulator.admission import Place

Make = Callable[[], AdmissionModel]
MODELS: dict[str, Make] = {
    "bucket": lambda: TokenBucket(limit=12, window=60),
    "shallow bucket": lambda: TokenBucket(limit=12, window=60, depth=3),
    "fixed": lambda: FixedWindow(limit=12, window=60),
    "fixed 10 s": lambda: FixedWindow(limit=2, window=10, phase=3),
    "sliding": lambda: SlidingLog(limit=12, window=60),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
gaps = st.lists(st.floats(0, 30).map(lambda gap: round(gap, 3)), min_size=1, max_size=80)
costs = st.integers(1, 3)


def accepted(model: AdmissionModel, times: list[float], cost: float = 1.0) -> list[float]:
    """The times at which requests pass when they are sent at `times`, refused ones included."""
    passed = []
    for now in times:
        if model.wait(now, cost) == 0:
            model.take(now, cost)
            passed.append(now)
        else:
            model.refuse(now, cost)
    return passed


def times_of(steps: list[float]) -> list[float]:
    return [sum(steps[: number + 1]) for number in range(len(steps))]


@given(steps=gaps)
def test_a_bucket_keeps_to_its_law(steps: list[float]) -> None:
    """In any interval a bucket accepts at most its depth and what flows in meanwhile."""
    passed = accepted(TokenBucket(limit=12, window=60, depth=3), times_of(steps))
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            most = 3 + 12 / 60 * (passed[last] - start)
            assert last - first + 1 <= most + 1e-6


@given(steps=gaps)
def test_a_sliding_log_keeps_to_its_law(steps: list[float]) -> None:
    """In any half-open minute a sliding log accepts at most its limit."""
    passed = accepted(SlidingLog(limit=5, window=60), times_of(steps))
    for end in passed:
        assert sum(end - 60 < at <= end for at in passed) <= 5


@given(steps=gaps)
def test_a_fixed_window_keeps_to_its_law(steps: list[float]) -> None:
    """No window of the clock takes more than the limit."""
    passed = accepted(FixedWindow(limit=5, window=10), times_of(steps))
    for window in {at // 10 for at in passed}:
        assert sum(at // 10 == window for at in passed) <= 5


def test_a_fixed_window_takes_two_limits_round_its_boundary() -> None:
    """The known weakness is there: twice the limit within an instant of the boundary."""
    times = [59.9] * 12 + [60.0] * 12
    assert len(accepted(FixedWindow(limit=12, window=60), times)) == 24


def test_a_counting_log_locks_out_who_keeps_knocking() -> None:
    """Where refusals count, a client that never pauses gets nothing after the first window."""
    times = [number * 1.0 for number in range(300)]
    assert len(accepted(SlidingLog(limit=10, window=60), times)) == 50
    assert len(accepted(SlidingLog(limit=10, window=60, counts_refusals=True), times)) == 10
    assert len(accepted(FixedWindow(limit=10, window=60, counts_refusals=True), times)) == 50


@every_model
@given(steps=gaps, cost=costs)
def test_the_wait_that_is_told_is_enough(make: Make, steps: list[float], cost: int) -> None:
    """A client that waits as long as a refusal says is let in, and not much earlier."""
    model = make()
    for now in times_of(steps):
        wait = model.wait(now, cost)
        if wait == 0:
            model.take(now, cost)
        elif math.isfinite(wait):
            assert model.wait(now + wait * 0.5, cost) > 0
            assert model.wait(now + wait + 1e-6, cost) == 0
            return


@every_model
def test_what_is_larger_than_the_limit_never_passes(make: Make) -> None:
    """A cost above what the model can hold waits for ever."""
    assert make().wait(0.0, 13) == math.inf


@every_model
def test_a_refund_makes_room_again(make: Make) -> None:
    """A charge that is settled at nothing leaves the model as it was."""
    model = make()
    before = model.remaining(0.0)
    ticket = model.take(0.0, 2)
    assert model.remaining(0.0) == before - 2
    assert model.reset(0.0) > 0
    model.settle(0.0, ticket, 0)
    assert model.remaining(0.0) == pytest.approx(before)


@every_model
def test_a_late_settlement_changes_nothing_that_is_over(make: Make) -> None:
    """A charge of which the window has passed is not settled twice."""
    model = make()
    ticket = model.take(0.0, 1)
    model.settle(1000.0, ticket, 0)
    assert model.remaining(1000.0) == pytest.approx(make().remaining(1000.0))


@every_model
def test_after_the_reset_all_is_free(make: Make) -> None:
    """When the time told as reset has passed, nothing is charged any more."""
    model = make()
    model.take(5.0, 2)
    later = 5.0 + model.reset(5.0)
    assert model.remaining(later) == pytest.approx(make().remaining(later))
    assert model.reset(later) == pytest.approx(0.0)


@every_model
def test_a_smaller_limit_lets_less_in(make: Make) -> None:
    """After its quota is halved a model accepts half as much over ten minutes."""
    full, halved = make(), make()
    halved.resize(0.0, halved.limit / 2)
    times = [number * 0.5 for number in range(1200)]
    share = len(accepted(halved, times)) / len(accepted(full, times))
    assert share == pytest.approx(0.5, abs=0.03)


def test_a_concurrency_cap_counts_who_is_inside() -> None:
    """A place is free again when its request has ended; the limit can change meanwhile."""
    cap = ConcurrencyCap(limit=2)
    first, _ = cap.take(0.0, 1), cap.take(0.0, 1)
    assert (cap.wait(0.0, 1), cap.remaining(0.0), cap.reset(0.0)) == (1.0, 0.0, 0.0)
    cap.refuse(0.0, 1)
    cap.settle(1.0, first, 0)
    assert cap.wait(1.0, 1) == 0
    cap.resize(1.0, 1)
    assert cap.wait(1.0, 1) == 1.0


@given(
    arrivals=st.lists(st.tuples(st.floats(0, 3), st.floats(0.1, 5)), min_size=1, max_size=60),
    slots=st.integers(1, 4),
    capacity=st.integers(0, 5),
)
def test_a_queue_serves_in_order_within_its_bounds(
    arrivals: list[tuple[float, float]], slots: int, capacity: int
) -> None:
    """Never more at work than slots nor more waiting than room; first come, first served."""
    queue = ServiceQueue(slots, capacity)
    now = 0.0
    places: list[Place] = []
    for gap, service in arrivals:
        now += gap
        waiting = sum(place.start > now for place in places)
        place = queue.enter(now, service)
        if place is None:
            assert waiting >= capacity
            continue
        assert place.start >= now
        assert sum(each.start <= place.start < each.end for each in places) < slots
        assert waiting < capacity or place.start == now
        places.append(place)
    starts = [place.start for place in places]
    assert starts == sorted(starts)
