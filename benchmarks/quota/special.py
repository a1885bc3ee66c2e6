"""Runs that are no hour of one client: short jobs, shared quotas, a dead server, a cold start."""

from __future__ import annotations

from typing import Final

from batchllm.simulator import LeakyQueue, Limits, RefusesFrom, TokenBucket
from benchmarks.quota.cases import ALWAYS, NOT_PARKED, Case, Check, refused
from benchmarks.quota.makers import ROUND_TRIP, Make, bucket, fixed, noisy, sliding
from benchmarks.quota.world import Traffic, lognormal

ITEMS: Final = 2000
RATE: Final = 50.0
"""Requests per second of the quota that short jobs meet."""
_PER_MINUTE: Final = 60 * RATE
_SPREAD: Final = 0.05
"""Sigma of the answers: a heavy tail would add its own last answer to any job."""
_LENGTHS: Final = ((0.05, 500), (3.0, 500), (15.0, 1000))
"""Seconds of an answer, and callers."""
JOB_LIMIT: Final = 3000.0
"""Seconds after which a job counts as not finished."""


def _counting_bucket() -> Make:
    return lambda rng, hint: Limits(TokenBucket(RATE, 1.0, RATE, counts_refusals=True), hint=hint)


def _leaky() -> Make:
    return lambda rng, hint: LeakyQueue(RATE, 10.0, hint=hint)


def _ratio(most: float) -> tuple[Check, ...]:
    return (Check("x ideal", most=most), NOT_PARKED)


_JOBS: Final[tuple[tuple[str, Make, tuple[Check, ...]], ...]] = (
    ("bucket 1 s", bucket(_PER_MINUTE, 1), _ratio(1.1)),
    ("leaky 10 s", _leaky(), _ratio(1.1)),
    ("bucket, counts refusals", _counting_bucket(), _ratio(1.1)),
    (
        "noise 1 %",
        noisy(bucket(_PER_MINUTE, 1), 0.01),
        (*_ratio(1.3), Check("x ideal", most=1.4, of="worst")),
    ),
    ("fixed 10 s", fixed(_PER_MINUTE, 10), _ratio(1.15)),
    ("fixed 17 s", fixed(_PER_MINUTE, 17), _ratio(1.1)),
    ("bucket 30 s", bucket(_PER_MINUTE, 30), _ratio(1.1)),
)
JOBS: Final = (
    *(
        Case(
            part="job",
            name=f"{name}, answers {answer:g} s",
            make=make,
            checks=checks,
            traffic=Traffic(items=ITEMS, callers=callers, answer=lognormal(answer, _SPREAD)),
            ideal=ITEMS / RATE + answer + ROUND_TRIP,
            hour=JOB_LIMIT,
        )
        for name, make, checks in _JOBS
        for answer, callers in _LENGTHS
    ),
    *(
        Case(
            part="job",
            name=f"no quota in reach, answers {answer:g} s",
            make=bucket(1e6, 60),
            checks=_ratio(1.3),
            traffic=Traffic(items=ITEMS, callers=500, answer=lognormal(answer, _SPREAD)),
            # Each of 500 callers makes four calls in a row, and the last answer comes on top.
            ideal=ITEMS / 500 * (answer + ROUND_TRIP) + answer,
            hour=JOB_LIMIT,
        )
        for answer in (3.0, 15.0)
    ),
)

_SHARED: Final = (
    ("bucket 10 s", bucket(600, 10)),
    ("sliding 60 s", sliding(600, 60)),
    ("fixed 60 s", fixed(600, 60)),
)
SHARED: Final = (
    *(
        Case(
            part="shared",
            name=f"3 clients, {name}",
            make=make,
            clients=3,
            checks=(Check("used", least=1 / 1.3), refused(0.03), *ALWAYS),
        )
        for name, make in _SHARED
    ),
    *(
        Case(
            part="shared job",
            name=f"3 clients, {items:,} items, {name}",
            make=make,
            clients=3,
            traffic=Traffic(items=items, callers=200),
            ideal=items / 10 + 3.0 + ROUND_TRIP,
            hour=JOB_LIMIT,
            checks=(*_ratio(1.3), refused(0.03)),
        )
        for items in (500, ITEMS)
        for name, make in _SHARED
    ),
)

DEAD: Final = (
    Case(
        part="dead",
        name="refuses all from second 100 on",
        make=lambda rng, hint: RefusesFrom(Limits(TokenBucket(600, 60.0, 100), hint=hint), 100.0),
        # Given up after 900 s without an accepted call: not before, and after one more pause.
        checks=(
            Check("parked", least=1.0, of="worst"),
            Check("last send", least=950.0, most=1100.0, of="worst"),
            Check("silence over", most=0.0, of="worst"),
        ),
        hour=3600.0,
    ),
)


def _overshoot(burst: float) -> tuple[Check, ...]:
    return (Check("refused first minute", most=2 * burst + 10), NOT_PARKED)


COLD: Final = tuple(
    Case(part="cold", name=f"60/min, {name}", make=make, checks=_overshoot(burst), hour=300.0)
    for name, make, burst in (
        ("bucket of 1", bucket(60, 1), 1),
        ("bucket of 10", bucket(60, 10), 10),
        ("bucket of 60", bucket(60, 60), 60),
        ("fixed 60 s", fixed(60, 60), 60),
    )
)
SPECIAL: Final = (*JOBS, *SHARED, *DEAD, *COLD)
