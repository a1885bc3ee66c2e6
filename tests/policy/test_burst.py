"""A bucket that holds less than the limit it reports is read as what it is, and nothing else is."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import LimitHint
from batchllm.policy.reported import Kind, ReportedLimit
from batchllm.policy.reported.burst import Burst
from batchllm.policy.reported.reading import Reading
from tests.policy.reported_servers import (
    Client,
    Limiter,
    Server,
    Sliding,
    Steady,
    Window,
    openai,
)


def replies(server: Limiter, calls: int, gap: float, seed: int = 0) -> list[Reading]:
    """Return what a client reads that sends so many calls, *gap* seconds apart on average."""
    rng, now, found = Random(seed), 0.0, []
    for order in range(1, calls + 1):
        now += rng.expovariate(1 / gap)
        verdict = server.check(now, 1)
        reset = float(f"{verdict.reset:.3f}")
        hint = LimitHint(
            dimension="requests", amount=server.amount, remaining=verdict.remaining, reset=reset
        )
        reading = Reading.of(hint, now + 0.05, now, order)
        found += [] if reading is None else [reading]
    return found


@pytest.mark.parametrize("holds", [30, 50, 300])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_limit_and_its_period_are_named_right(holds: int, seed: int) -> None:
    """Three thousand a minute, of which few are there at once: no 3,000 per 0.3 s."""
    bucket = Steady(3000, 60.0, holds=holds)
    client = Client(Server({"requests": bucket}, openai), 800, seed=seed)
    took = client.run()
    (limit,) = client.admission.limits
    assert (limit.amount, limit.per) == (3000, 60.0)
    assert took <= 1.1 * 800 / 50
    (used,) = client.admission.used(took)
    assert used > 0.5
    (rested,) = client.admission.used(took + holds / 50 + 1.0)
    assert rested < 0.2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_until_it_is_known_no_other_limit_is_adopted(seed: int) -> None:
    """In no reply does the scope keep a limit of another period."""
    client = Client(Server({"requests": Steady(3000, 60.0, holds=50)}, openai), 400, seed=seed)
    seen: set[tuple[int, float]] = set()

    class Watched(Server):
        def answer(self, now: float, rng: Random) -> tuple[bool, dict[str, str]]:
            seen.update((limit.amount, limit.per) for limit in client.admission.limits)
            return super().answer(now, rng)

    client.server = Watched({"requests": Steady(3000, 60.0, holds=50)}, openai)
    client.run()
    assert seen == {(3000, 60.0)}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_bucket_too_small_for_many_points_is_known_by_all_of_its_own(seed: int) -> None:
    """Ten of six hundred a minute: no more than eleven different rests will ever be reported."""
    line = Burst()
    for reading in replies(Steady(600, 60.0, holds=10), 200, 0.08, seed):
        line.add(reading)
    assert line.sure
    assert line.holds(600) == pytest.approx(10, abs=2)


@given(
    rate=st.floats(0.5, 200.0),
    holds=st.integers(24, 400),
    load=st.floats(1.1, 3.0),
    seed=st.integers(0, 1000),
)
def test_the_line_shows_rate_and_depth_of_any_bucket(
    rate: float, holds: int, load: float, seed: int
) -> None:
    """Once it is known it is right to a tenth, and so is what the bucket holds."""
    amount = round(60 * rate) + 2 * holds
    bucket, line = Steady(amount, amount / rate, holds=holds), Burst()
    for reading in replies(bucket, 400, 1 / (load * rate), seed):
        line.add(reading)
        period = line.period(amount)
        if period is not None:
            assert period == pytest.approx(amount / rate, rel=0.1)
            assert line.is_smaller_than(amount)
            assert line.holds(amount) == pytest.approx(holds, rel=0.1, abs=3)
    assert line.period(amount) is not None


@given(
    amount=st.integers(20, 400),
    per=st.floats(1.0, 60.0),
    load=st.floats(0.3, 2.0),
    seed=st.integers(0, 1000),
    kind=st.sampled_from([Window, Sliding, Steady]),
)
def test_no_other_limit_is_taken_for_a_small_bucket(
    amount: int, per: float, load: float, seed: int, kind: type[Limiter]
) -> None:
    """Windows and logs have no such line, and a bucket as large as its limit holds all of it."""
    line = Burst()
    for reading in replies(kind(amount, per), 300, per / amount / load, seed):
        line.add(reading)
        assert line.period(amount) is None or not line.is_smaller_than(amount)


def test_a_bucket_that_becomes_a_window_is_followed_as_one() -> None:
    """Another server behind the same name: the line ends, and what it showed is over."""
    reported, begun, now, sent = ReportedLimit("requests"), 0.0, 0.0, 0
    for server, calls in ((Steady(600, 60.0, holds=60), 120), (Window(600, 60.0), 200)):
        for reading in replies(server, calls, 0.05):
            sent, now = sent + 1, begun + reading.sent_at
            hint = LimitHint(
                dimension="requests",
                amount=600,
                remaining=int(reading.remaining),
                reset=reading.reset,
            )
            reported.observe(hint, now + 0.01, now, sent)
        begun = now
        if calls == 120:
            assert (reported.kind, reported.sure) == (Kind.STEADY, True)
    assert reported.kind is Kind.WINDOW or not reported.sure
