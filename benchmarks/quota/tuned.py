"""The servers that the rate limiter is tuned on; the numbers of `untuned` are all others."""

from __future__ import annotations

from math import exp
from typing import Final

from batchllm.policy import Limit
from batchllm.simulator import (
    FixedWindow,
    GrowingByUse,
    LeakyQueue,
    Limits,
    ParallelCalls,
    RandomRefusals,
    Schedule,
    SlidingLog,
    TokenBucket,
    always_hint,
)
from benchmarks.quota.cases import ALWAYS, BUCKET, WINDOW, Case, Make, refused, refused_late, used
from benchmarks.quota.world import Traffic

MEAN_ANSWER: Final = 3.0 * exp(0.5**2 / 2)
"""Seconds: the mean of the lognormal answers with a median of 3 s and a sigma of 0.5."""
ROUND_TRIP: Final = 0.09
"""Seconds there and back, 15 to 75 ms each."""
MANY: Final = Traffic(callers=3000)
"""20,000 a minute keep 1,130 answers of 3.4 s in flight, more than the usual callers."""


def bucket(per_minute: float, depth_s: float, **moving: Schedule) -> Make:
    """Make a bucket that holds `depth_s` seconds' worth."""
    depth = max(1.0, per_minute * depth_s / 60)
    return lambda rng, hint: Limits(TokenBucket(per_minute, 60.0, depth), hint=hint, **moving)


def fixed(per_minute: float, window: float) -> Make:
    """Make a window of the clock with a phase by chance."""

    def make(rng, hint):  # type: ignore[no-untyped-def]
        amount = max(1, round(per_minute * window / 60))
        return Limits(FixedWindow(amount, window, phase=window * rng.random()), hint=hint)

    return make


def sliding(per_minute: float, window: float, *, counts_refusals: bool = False) -> Make:
    """Make a log of the last `window` seconds."""
    amount = max(1, round(per_minute * window / 60))
    return lambda rng, hint: Limits(SlidingLog(amount, window, counts_refusals), hint=hint)


def spaced(per_second: float) -> Make:
    """Make a server that wants its requests so far apart."""
    return lambda rng, hint: Limits(TokenBucket(per_second, 1.0, 1), hint=hint)


def capped(most: int, mean_answer: float = MEAN_ANSWER) -> Make:
    """Make a cap on parallel requests; a place stands empty for a round trip after each."""
    service = mean_answer + ROUND_TRIP
    return lambda rng, hint: ParallelCalls(most, service=service, hint=hint)


def noisy(make: Make, share: float) -> Make:
    """Put random refusals before a server; hinted ones name a second."""

    def noise(rng, hint):  # type: ignore[no-untyped-def]
        chance = always_hint(1.0) if hint(1.0) is not None else hint
        return RandomRefusals(make(rng, hint), share, rng, hint=chance)

    return noise


def two_windows(per_second: int, per_minute: int) -> Make:
    """Make a window of a second inside one of a minute."""

    def make(rng, hint):  # type: ignore[no-untyped-def]
        second = FixedWindow(per_second, 1.0, phase=rng.random())
        return Limits(FixedWindow(per_minute, 60.0, phase=60 * rng.random()), (second,), hint=hint)

    return make


def declares(per_minute: int, window: float | None = None) -> tuple[Limit, ...]:
    """Declare requests per minute; the ways of the world differ by 60 ms, so 100 are allowed."""
    return (Limit("requests", per_minute, window=window, jitter=0.1),)


STEPS: Final = Schedule(((1200.0, 0.5), (2400.0, 1.5)))
NEIGHBOUR: Final = (used(0.85), refused(0.02), *ALWAYS)
FAST_NEIGHBOUR: Final = (used(0.78), refused(0.02), *ALWAYS)
MOVED: Final = (used(0.90), refused(0.015), *ALWAYS)
NOISE: Final = (used(0.90), *ALWAYS)
CAP: Final = (used(0.90), refused(0.015), *ALWAYS)
RARE: Final = (used(0.95), refused_late(0.035), *ALWAYS)
RARE_HINTED: Final = (used(0.95), refused_late(0.02), *ALWAYS)

_BUCKET, _WINDOW = (*BUCKET, *ALWAYS), (*WINDOW, *ALWAYS)


def grows_by_use(per_minute: float, depth_s: float) -> Make:
    """Make a quota that allows in each quarter half as much again as was used in the last."""
    depth = per_minute * depth_s / 60
    return lambda rng, hint: GrowingByUse(TokenBucket(per_minute, 60.0, depth), hint=hint)


TUNED: Final = (
    Case(name="bucket 60 s", make=bucket(600, 60), checks=_BUCKET, declared=declares(600)),
    Case(name="bucket 10 s", make=bucket(600, 10), checks=_BUCKET, declared=declares(600)),
    Case(name="bucket 3 s", make=bucket(600, 3), checks=_BUCKET, declared=declares(600)),
    Case(name="bucket 1 s", make=bucket(600, 1), checks=_BUCKET, declared=declares(600)),
    Case(name="fixed 60 s", make=fixed(600, 60), checks=_WINDOW, declared=declares(600)),
    Case(name="fixed 17 s", make=fixed(600, 17), checks=_WINDOW),
    Case(name="sliding 60 s", make=sliding(600, 60), checks=_WINDOW, declared=declares(600)),
    Case(
        name="sliding, counts refusals",
        make=sliding(600, 60, counts_refusals=True),
        checks=_WINDOW,
        declared=declares(600),
    ),
    Case(
        name="10 s windows",
        make=fixed(600, 10),
        checks=_WINDOW,
        declared=declares(600, 10.0),
        declared_checks=(used(0.95), refused(0.0)),
    ),
    Case(
        name="1 s windows",
        make=fixed(600, 1),
        checks=(used(0.95), refused_late(0.01), *ALWAYS),
        # Declared without its window: the search has to stay on under a declared limit.
        declared=declares(600),
        declared_checks=(used(0.95), refused(0.01)),
    ),
    # Two requests whose ways differ by the whole jitter have to start a spacing and that apart.
    Case(name="strict 1 per 100 ms", make=spaced(10), checks=(used(0.62), refused(0.015), *ALWAYS)),
    Case(name="15/s and 600/min", make=two_windows(15, 600), checks=_WINDOW),
    Case(
        name="grows by use",
        make=grows_by_use(600, 10),
        checks=(used(0.78), refused(0.015), *ALWAYS),
    ),
    Case(
        name="fixed 60 s, Retry-After 1",
        make=fixed(600, 60),
        lies=always_hint(1.0),
        checks=(used(0.98), refused(0.015), *ALWAYS),
    ),
    Case(
        name="leaky queue 10 s",
        make=lambda rng, hint: LeakyQueue(10, 10.0, hint=hint),
        checks=_BUCKET,
    ),
    Case(name="cap 24", make=capped(24), checks=CAP),
    Case(
        name="noise 1 %, bucket 10 s",
        make=noisy(bucket(600, 10), 0.01),
        checks=NOISE,
        declared=declares(600),
        declared_checks=(used(0.90), refused_late(0.015)),
    ),
    Case(name="600, 300, 900", make=bucket(600, 10, schedule=STEPS), checks=MOVED),
    Case(name="30/min, bucket 60 s", make=bucket(30, 60), checks=RARE, hinted=RARE_HINTED),
    Case(
        name="20,000/min, fixed 60 s",
        make=fixed(20_000, 60),
        checks=_WINDOW,
        traffic=MANY,
        hour=1500.0,
    ),
)
