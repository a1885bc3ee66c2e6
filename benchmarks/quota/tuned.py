"""The servers that the rate limiter is tuned on; the numbers of `untuned` are all others."""

from __future__ import annotations

from typing import Final

from batchllm.policy import Limit
from batchllm.simulator import LeakyQueue, Schedule, always_hint
from benchmarks.quota.cases import (
    ALWAYS,
    BUCKET,
    DECLARED_IS_KEPT,
    WINDOW,
    Case,
    refused,
    refused_late,
    used,
)
from benchmarks.quota.makers import (
    bucket,
    capped,
    fixed,
    grows_by_use,
    noisy,
    sliding,
    spaced,
    two_windows,
)
from benchmarks.quota.world import Traffic

MANY: Final = Traffic(callers=3000)
"""20,000 a minute keep 1,130 answers of 3.4 s in flight, more than the usual callers."""


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
        name="bucket 10 s, Retry-After 60",
        make=bucket(600, 10),
        lies=always_hint(60.0),
        checks=(used(0.90), refused(0.015), *ALWAYS),
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
        declared_checks=(used(0.90), DECLARED_IS_KEPT),
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
