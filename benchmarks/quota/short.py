"""The few rows that are run with the tests and compared with checked-in figures.

python -m benchmarks.quota --short --json tests/benchmarks/pace.json     # accept new figures
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen

from benchmarks.quota.runs import GROUPS, Group, Row, Rule, Spec

MINUTES: Final = 20.0
"""Long enough for ten minutes of learning and ten of use, short enough for each test run."""


@frozen
class _Wish:
    group: Group
    name: str
    rule: Rule = "batchllm"
    hints: str = "no"


_WISHES: Final = (
    _Wish("tuned", "bucket 10 s"),
    _Wish("tuned", "bucket 10 s", "declared"),
    _Wish("tuned", "fixed 60 s"),
    _Wish("tuned", "fixed 60 s", hints="yes"),
    _Wish("tuned", "sliding, counts refusals", hints="yes"),
    _Wish("tuned", "1 s windows", "declared"),
    _Wish("tuned", "fixed 60 s, Retry-After 1", hints="yes"),
    _Wish("tuned", "bucket 10 s, Retry-After 60", hints="yes"),
    _Wish("tuned", "cap 24"),
    _Wish("tuned", "noise 1 %, bucket 10 s"),
    _Wish("tuned", "30/min, bucket 60 s"),
    _Wish("untuned", "fixed 17 s, 240/min"),
    _Wish("untuned", "9/s and 400/min"),
    _Wish("untuned", "480 calls and 300k tokens"),
    _Wish("untuned", "neighbour 2.5 min, 750/min"),
    _Wish("untuned", "bucket 15 s, 500/min, Retry-After 60", hints="yes"),
    _Wish("untuned", "fixed 45 s, 500/min, hint x 2", hints="yes"),
    _Wish("untuned", "leaky queue 5 s, 420/min"),
    _Wish("special", "bucket 1 s, answers 3 s"),
    _Wish("special", "no quota in reach, answers 15 s"),
    _Wish("special", "3 clients, 500 items, bucket 10 s", hints="yes"),
    _Wish("special", "refuses all from second 100 on"),
    _Wish("special", "60/min, bucket of 10"),
)


def _spec(wish: _Wish) -> Spec:
    seconds = GROUPS[wish.group][wish.name].hour
    if GROUPS[wish.group][wish.name].part == "hour":
        seconds = min(seconds, 60 * MINUTES)
    return Spec(wish.group, wish.name, wish.rule, wish.hints, seconds)


SHORT: Final = tuple(_spec(wish) for wish in _WISHES)

TOLERANCE: Final = 0.02
"""Two points: by so much a share may get worse, or the time of a job as a multiple of the ideal."""
_BETTER_BELOW: Final = {"used": False, "refused": True, "refused late": True, "x ideal": True}
"""The figures that are compared, and whether less is better."""

Expected = Mapping[str, Mapping[str, float]]


def key(spec: Spec) -> str:
    """Return the name of a row in the checked-in table."""
    return f"{spec.name} | {spec.rule} | hints {spec.hints}"


def accepted(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Return the table to check in."""
    return {
        key(row.spec): {
            **{figure: round(row.mean(figure), 4) for figure in _BETTER_BELOW},
            "parked": row.most("parked"),
        }
        for row in rows
    }


def worse(row: Row, expected: Expected) -> list[str]:
    """Return what got worse than the checked-in table says, one sentence per figure."""
    name = key(row.spec)
    if name not in expected:
        return [f"{name} is not in the table"]
    found = []
    for figure, better_below in _BETTER_BELOW.items():
        was, now = expected[name][figure], row.mean(figure)
        if (now - was if better_below else was - now) > TOLERANCE:
            found.append(f"{figure} was {was:.3f} and is {now:.3f}")
    # A dead server has to be given up, and any other must not be.
    parked, was_parked = row.most("parked"), expected[name]["parked"]
    if parked < was_parked if row.spec.case.part == "dead" else parked > was_parked:
        found.append(f"parked was {was_parked:.0f} and is {parked:.0f}")
    return found
