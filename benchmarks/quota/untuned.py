"""Servers that the rate limiter must never be tuned on: they show what the tuning is worth.

Look at their rows when a rule stands, and do not change a constant because of them. If one has to
change, move that server to `tuned` and add another one here.
"""

from __future__ import annotations

from math import exp
from random import Random
from typing import Final

from batchllm.simulator import (
    HintRule,
    LeakyQueue,
    Limits,
    QuotaServer,
    Schedule,
    SlidingLog,
    Slots,
    TokenBucket,
    always_hint,
    stretched_hint,
)
from benchmarks.quota.cases import ALWAYS, Case, refused, used
from benchmarks.quota.cases import UNTUNED as _UNTUNED
from benchmarks.quota.makers import bucket, capped, fixed, grows_by_use, noisy, sliding, spaced
from benchmarks.quota.tuned import (
    CAP,
    FAST_NEIGHBOUR,
    MANY,
    MOVED,
    NEIGHBOUR,
    NOISE,
    RARE,
    RARE_HINTED,
)
from benchmarks.quota.world import Traffic, lognormal

_CHECKS = (*_UNTUNED, *ALWAYS)
_NEIGHBOUR: Final = Schedule.square_wave(0.4, 300.0)
_FAST_NEIGHBOUR: Final = Schedule.square_wave(0.4, 150.0)
_GROWING: Final = Schedule.growing(0.5, 900.0, step=900.0)
_HALVED_TRIPLED: Final = Schedule(((1200.0, 0.5), (2400.0, 1.5)))
_TOKENS: Final = 700.0
"""Tokens of an average item: 420 calls a minute are 294,000, so both limits bind by turns."""


def _requests_and_tokens(rng: Random, hint: HintRule) -> QuotaServer:
    return Limits(
        SlidingLog(480, 60.0),
        tokens=TokenBucket(300_000, 60.0, 50_000),
        mean_tokens=_TOKENS,
        hint=hint,
    )


def _second_and_minute(rng: Random, hint: HintRule) -> QuotaServer:
    return Limits(SlidingLog(400, 60.0), (TokenBucket(9, 1.0, 9),), hint=hint)


def _slots(rng: Random, hint: HintRule) -> QuotaServer:
    return Slots(Limits(TokenBucket(540, 60.0, 45), hint=hint), 36)


UNTUNED: Final = (
    Case(name="bucket 7 s, 450/min", make=bucket(450, 7), checks=_CHECKS),
    Case(name="fixed 25 s, 750/min", make=fixed(750, 25), checks=_CHECKS),
    Case(name="sliding 30 s, 900/min", make=sliding(900, 30), checks=_CHECKS),
    Case(name="fixed 17 s, 240/min", make=fixed(240, 17), checks=_CHECKS),
    Case(
        name="fixed 5 min, 300 in all",
        make=fixed(60, 300),
        warm=900.0,
        checks=(used(0.98), *_CHECKS[1:]),
    ),
    Case(name="sliding 5 min, 360/min", make=sliding(360, 300), warm=900.0, checks=_CHECKS),
    Case(
        name="480 calls and 300k tokens",
        make=_requests_and_tokens,
        traffic=Traffic(tokens=lognormal(_TOKENS / exp(0.6**2 / 2), 0.6)),
        checks=_CHECKS,
    ),
    Case(name="9/s and 400/min", make=_second_and_minute, checks=_CHECKS),
    Case(
        name="neighbour 5 min, 750/min",
        make=bucket(750, 6, schedule=_NEIGHBOUR),
        checks=NEIGHBOUR,
    ),
    Case(
        name="neighbour 2.5 min, 750/min",
        make=bucket(750, 6, schedule=_FAST_NEIGHBOUR),
        checks=FAST_NEIGHBOUR,
    ),
    Case(name="grows by the clock, 240/min", make=bucket(240, 8, schedule=_GROWING), checks=MOVED),
    Case(
        name="grows by use, 240/min",
        make=grows_by_use(240, 8),
        checks=(used(0.78), refused(0.015), *ALWAYS),
    ),
    Case(
        name="840, 420, 1260",
        make=bucket(840, 5, schedule=_HALVED_TRIPLED),
        checks=MOVED,
    ),
    Case(
        name="fixed 60 s, 100/min, Retry-After 1",
        make=fixed(100, 60),
        lies=always_hint(1.0),
        checks=(used(0.98), *_CHECKS[1:]),
    ),
    Case(
        name="bucket 15 s, 500/min, Retry-After 60",
        make=bucket(500, 15),
        lies=always_hint(60.0),
        checks=(used(0.90), *_CHECKS[1:]),
    ),
    Case(
        name="fixed 45 s, 500/min, hint x 2",
        make=fixed(500, 45),
        lies=stretched_hint(2.0),
        checks=_CHECKS,
    ),
    Case(
        name="leaky queue 5 s, 420/min",
        make=lambda rng, hint: LeakyQueue(7, 5.0, hint=hint),
        checks=_CHECKS,
    ),
    Case(
        name="cap 24, answers of 5 s",
        make=capped(24, 5.0 * exp(0.5**2 / 2)),
        traffic=Traffic(answer=lognormal(5.0, 0.5)),
        checks=CAP,
    ),
    Case(name="cap 9, Retry-After 60", make=capped(9), lies=always_hint(60.0), checks=CAP),
    Case(
        name="counts refusals, sliding 45 s, 540/min",
        make=sliding(540, 45, counts_refusals=True),
        checks=_CHECKS,
    ),
    Case(name="noise 1 %, bucket 20 s, 900/min", make=noisy(bucket(900, 20), 0.01), checks=NOISE),
    Case(
        name="slow answers of 25 s, bucket 5 s, 720/min",
        make=bucket(720, 5),
        traffic=Traffic(answer=lognormal(25.0, 0.5)),
        checks=_CHECKS,
    ),
    Case(name="slow under load, 36 slots, 540/min", make=_slots, checks=_CHECKS),
    Case(name="30/min, sliding 60 s", make=sliding(30, 60), checks=RARE, hinted=RARE_HINTED),
    Case(name="30/min, bucket 20 s", make=bucket(30, 20), checks=RARE, hinted=RARE_HINTED),
    Case(
        name="20,000/min, bucket 2 s",
        make=bucket(20_000, 2),
        checks=_CHECKS,
        traffic=MANY,
        hour=1500.0,
    ),
    # W / (W + J) of the limit: 200 ms apart, 60 ms of jitter.
    Case(name="strict 1 per 200 ms", make=spaced(5), checks=(used(0.76), *_CHECKS[1:])),
)
