"""The cost of a journal, and the speed at which finished items are passed over.

    python -m benchmarks.journal            # all, with 1,000,000 finished items
    python -m benchmarks.journal --quick    # with 50,000

The strategy answers at once, so all that is measured is the library. Results are read through
``stream_batch``, 100 calls in flight; CPU is that of the process, the journal's thread included. A
rate is per second of CPU of one core, and of the clock. The first table is measured in turns, so
that what else the machine does falls on both rows.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio

from batchllm.api import stream_batch
from batchllm.core import LLMCallStrategy, ProcessorConfig
from batchllm.journal import Journal

GOAL_CPU = 150e-6
GOAL_RATE = 10_000
GOAL_OPEN = 2.0
GOAL_SKIP = 100_000
TURNS = 3


class Answer(LLMCallStrategy[str]):
    """Answers with some forty words."""

    text = "An answer of some forty words is what a question gets. " * 4

    async def execute(self, prompt: Any, attempt: int, timeout: float, *args: Any) -> Any:
        usage = {"input_tokens": 20, "output_tokens": 60, "total_tokens": 80}
        return self.text, usage


def items(count: int) -> Iterator[tuple[str, str]]:
    """Yield *count* items with ids."""
    return ((f"item-{n}", f"Say something about the number {n}.") for n in range(count))


async def read_all(count: int, journal: Journal | None, more: int = 0) -> dict[str, float]:
    """Run a batch; return CPU, seconds, and when the first new result came."""
    config = ProcessorConfig(max_workers=100, fail_fast=None)
    began, cpu, first, seen = time.perf_counter(), time.process_time(), 0.0, 0
    async with stream_batch(items(count + more), Answer(), config=config, journal=journal) as run:
        async for _ in run:
            first = first or time.perf_counter() - began
            seen += 1
        before = run.result.tally.before
    return {
        "cpu": time.process_time() - cpu,
        "seconds": time.perf_counter() - began,
        "first": first,
        "seen": seen,
        "before": before,
    }


def cost_of_a_journal(count: int, backend: str, folder: Path) -> bool:
    """Print the table of costs; return whether the goals are met."""
    best: dict[str, dict[str, float]] = {}
    for turn in range(TURNS):
        for name, journal in (
            ("without", None),
            ("full", Journal(folder / f"{backend}{turn}.db")),
            ("normal", Journal(folder / f"{backend}{turn}n.db", durability="normal")),
        ):
            found = anyio.run(read_all, count, journal, backend=backend)
            if name not in best or found["cpu"] < best[name]["cpu"]:
                best[name] = found
    for name, found in best.items():
        print(
            f"{backend:8} {name:8} {found['cpu'] / count * 1e6:8.0f} µs CPU per item "
            f"{count / found['cpu']:10,.0f} /s of CPU {count / found['seconds']:10,.0f} /s"
        )
    size = (folder / f"{backend}0.db").stat().st_size
    print(f"{backend:8} the file takes {size / count:,.0f} bytes per item")
    full = best["full"]
    return full["cpu"] / count <= GOAL_CPU and count / full["cpu"] >= GOAL_RATE


def fill(path: Path, count: int) -> None:
    """Make a journal with *count* finished items, quickly: those of one real run, over and over."""
    anyio.run(read_all, 1_000, Journal(path))
    with sqlite3.connect(path) as db:
        (salt,) = db.execute("SELECT value FROM facts WHERE name = 'salt'").fetchone()
        row = db.execute("SELECT * FROM items LIMIT 1").fetchone()
        names = [one[0] for one in db.execute("SELECT * FROM items LIMIT 1").description][1:]
        from batchllm.journal.identity import digest_of

        def rows() -> Iterator[tuple[Any, ...]]:
            for name, prompt in items(count):
                yield row[1], f"={name}", digest_of(prompt, salt), *row[4:]

        marks = ", ".join("?" * len(names))
        columns = ", ".join(names)
        db.executemany(f"INSERT OR REPLACE INTO items ({columns}) VALUES ({marks})", rows())
    db.close()


def going_on(count: int, folder: Path) -> bool:
    """Print how a run goes on; return whether the goals are met."""
    path = folder / "finished.db"
    fill(path, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    opened = anyio.run(read_all, 0, Journal(path, on_resume="skip"))
    skipped = anyio.run(read_all, count, Journal(path, on_resume="skip"), 1)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (skipped["before"], skipped["seen"]) == (count, 1)
    rate = count / (skipped["seconds"] - opened["seconds"])
    print(f"{count:,} finished items, {path.stat().st_size / 1e6:,.0f} MB")
    print(f"  opened and closed in {opened['seconds']:.2f} s (goal {GOAL_OPEN:g})")
    print(
        f"  skipped at {rate:,.0f} /s, {count / skipped['cpu']:,.0f} /s of CPU (goal {GOAL_SKIP:,})"
    )
    print(f"  the first new result after {skipped['first']:.1f} s, the finished ones first")
    print(f"  memory grew by {(after - before) / 1024:.0f} MB")
    return opened["seconds"] <= GOAL_OPEN and count / skipped["cpu"] >= GOAL_SKIP


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer items")
    quick = parser.parse_args().quick
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for backend in ("asyncio", "trio"):
            good &= cost_of_a_journal(3_000 if quick else 20_000, backend, Path(folder))
        good &= going_on(50_000 if quick else 1_000_000, Path(folder))
    print("all goals are met" if good else "a goal is missed")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
