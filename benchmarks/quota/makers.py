"""Makers of the simulated servers: each call gives one with nothing used of its quota."""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from random import Random
from typing import Final

from batchllm.simulator import (
    FixedWindow,
    GrowingByUse,
    HintRule,
    Limits,
    ParallelCalls,
    QuotaServer,
    RandomRefusals,
    Schedule,
    SlidingLog,
    TokenBucket,
    always_hint,
)

Make = Callable[[Random, HintRule], QuotaServer]
"""Makes a server from its chance and the rule for its hints."""
_STEADY: Final = Schedule()
MEAN_ANSWER: Final = 3.0 * exp(0.5**2 / 2)
"""Seconds: the mean of the lognormal answers with a median of 3 s and a sigma of 0.5."""
ROUND_TRIP: Final = 0.09
"""Seconds there and back, 15 to 75 ms each."""


def bucket(per_minute: float, depth_s: float, schedule: Schedule = _STEADY) -> Make:
    """Make a bucket that holds `depth_s` seconds' worth."""
    depth = max(1.0, per_minute * depth_s / 60)
    return lambda rng, hint: Limits(
        TokenBucket(per_minute, 60.0, depth), hint=hint, schedule=schedule
    )


def fixed(per_minute: float, window: float) -> Make:
    """Make a window of the clock with a phase by chance."""

    def make(rng: Random, hint: HintRule) -> QuotaServer:
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

    def noise(rng: Random, hint: HintRule) -> QuotaServer:
        chance = always_hint(1.0) if hint(1.0) is not None else hint
        return RandomRefusals(make(rng, hint), share, rng, hint=chance)

    return noise


def two_windows(per_second: int, per_minute: int) -> Make:
    """Make a window of a second inside one of a minute."""

    def make(rng: Random, hint: HintRule) -> QuotaServer:
        second = FixedWindow(per_second, 1.0, phase=rng.random())
        return Limits(FixedWindow(per_minute, 60.0, phase=60 * rng.random()), (second,), hint=hint)

    return make


def grows_by_use(per_minute: float, depth_s: float) -> Make:
    """Make a quota that allows in each quarter half as much again as was used in the last."""
    depth = per_minute * depth_s / 60
    return lambda rng, hint: GrowingByUse(TokenBucket(per_minute, 60.0, depth), hint=hint)
