"""Kill the command line by SIGKILL a thousand times, and go on each time.

    python -m benchmarks.kills              # 500 kills on each backend
    python -m benchmarks.kills --count 20   # 10 on each
    python -m benchmarks.kills --minutes 10 # as many as that takes

A batch of 40 lines, 4 calls in flight, is killed at random moments and at the points at which state
changes hands, by turns, until it gets to its end; then the next. After each kill: no row that a
reader has seen is called for again. At each end: every line has one row, all rows are whole, and
the simulator has seen no more repeats than the window holds for each kill. The exit code is 1 if
one of these does not hold.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from attrs import define, field

from benchmarks._report import machine, table
from tests.e2e.kill_kit import ITEMS, WINDOW, Forks, Run, forks, witness
from tests.e2e.killed import POINTS

_LONGEST = 0.6
"""Seconds to a random kill at most; a run of 40 lines that is not killed takes about half of it."""
_POINTS = [point for point in POINTS if not point.startswith("replace")]


@define
class Counts:
    """The sums of one backend."""

    batches: int = 0
    kills: Counter[str] = field(factory=Counter)
    repeated: int = 0
    most: int = 0


def kill_one_batch(run: Run, chance: random.Random, counts: Counts, left: int) -> None:
    """Kill one batch until it has got to its end, or *left* kills are done."""
    before = sum(counts.kills.values())
    while sum(counts.kills.values()) - before < left:
        if chance.random() < 0.5:
            point = chance.choice(_POINTS)
            killed = run.kill_at(point, chance.randint(1, 1 if point == "opened" else 8))
        else:
            point = "a random moment"
            killed = run.kill_after(chance.uniform(0.02, _LONGEST))
        counts.kills[point] += killed
        if not killed:
            break
    repeated = run.finish()
    counts.batches += 1
    counts.repeated += repeated
    counts.most = max(counts.most, repeated)


def kill(backend: str, count: int, until: float, made: Forks) -> Counts:
    """Kill so often on one backend, or until the time is up."""
    chance, counts = random.Random(f"kills on {backend}"), Counts()
    while (left := count - sum(counts.kills.values())) > 0 and time.monotonic() < until:
        with tempfile.TemporaryDirectory() as folder, witness() as seen:
            kill_one_batch(Run(Path(folder), made, seen, backend), chance, counts, left)
    return counts


def main() -> int:
    """Print the table; 1 if something was lost or called for again."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=1_000, help="kills on both backends")
    parser.add_argument("--minutes", type=float, default=60.0, help="at most so long")
    parser.add_argument("--quick", action="store_true", help="20 kills")
    asked = parser.parse_args()
    count = 20 if asked.quick else asked.count
    print(machine())
    rows, good = [], True
    with forks() as made:
        for number, backend in enumerate(("asyncio", "trio"), 1):
            until = time.monotonic() + asked.minutes * 60 / 2
            try:
                found = kill(backend, count * number // 2 - count * (number - 1) // 2, until, made)
            except* AssertionError as errors:
                print(f"{backend}: {errors.exceptions}")
                good, found = False, Counts()
            kills = sum(found.kills.values())
            at_random = found.kills["a random moment"]
            rows.append(
                (
                    backend,
                    f"{kills:,}",
                    f"{at_random:,}",
                    f"{found.batches:,}",
                    f"{found.batches * ITEMS:,}",
                    "0",
                    f"{found.repeated / max(1, kills):.2f}",
                    f"{WINDOW}",
                )
            )
    names = ("backend", "kills", "at random", "batches", "lines", "lost or wrong")
    print(table((*names, "calls repeated a kill", "allowed"), rows), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
