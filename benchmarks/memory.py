"""Does memory grow with the batch? ``python -m benchmarks.memory``.

A million lazy items are streamed, without usage, with that of a chat endpoint, and with a journal;
the resident memory is read along the way. The goal is less than 30 MB above what it is after the
first 20,000. The exit code is 1 if it is missed.

With a journal each item also has an id that the run has not seen before, and a journal that has
finished them all is passed over once more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio

from batchllm import Journal, LLMCallStrategy, stream_batch
from benchmarks._report import machine, table

_WARM = 20_000
_GOAL = 30.0


class Echo(LLMCallStrategy[str]):
    """Gives the prompt back, with a usage or without."""

    def __init__(self, reports_usage: bool) -> None:
        self._reports_usage = reports_usage

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> tuple[str, Any]:
        """Answer at once."""
        if not self._reports_usage:
            return prompt, None
        return prompt, {
            "prompt_tokens": 117,
            "completion_tokens": 64,
            "total_tokens": 181,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }


def resident() -> float:
    """Resident memory now, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def items(count: int) -> Iterator[tuple[str, str]]:
    """Make items one by one."""
    for number in range(count):
        yield f"item-{number}", f"prompt number {number}"


async def stream(
    count: int, reports_usage: bool, journal: Path | None = None
) -> list[tuple[str, float, float]]:
    """Stream them, and note the memory at ten points."""
    rows: list[tuple[str, float, float]] = []
    begun, seen, base = time.perf_counter(), 0, resident()
    async with stream_batch(
        items(count), Echo(reports_usage), concurrency=100, journal=journal
    ) as run:
        async for _ in run:
            seen += 1
            if seen == min(_WARM, count // 5):
                base = resident()
            if seen % (count // 10) == 0:
                rows.append((f"{seen:,}", resident() - base, time.perf_counter() - begun))
    return rows


async def pass_over(count: int, journal: Path) -> list[tuple[str, float, float]]:
    """Go on with a journal that has finished them all, and note the memory at ten points."""
    rows: list[tuple[str, float, float]] = []
    begun, base = time.perf_counter(), resident()

    def watched() -> Iterator[tuple[str, str]]:
        nonlocal base
        for number, item in enumerate(items(count), 1):
            if number == min(_WARM, count // 5):
                base = resident()
            if number % (count // 10) == 0:
                rows.append((f"{number:,}", resident() - base, time.perf_counter() - begun))
            yield item

    settings = Journal(journal, on_resume="skip")
    async with stream_batch(watched(), Echo(True), concurrency=100, journal=settings) as run:
        async for _ in run:
            raise AssertionError("an item was asked for again")
    return rows


def main() -> int:
    """Print the table; 1 where memory grew too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 items")
    parser.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"))
    parser.add_argument("--count", type=int, help="so many items")
    parser.add_argument("--journal-only", action="store_true", help="only with a journal")
    asked = parser.parse_args()
    print(f"{machine()}, {asked.backend}")
    count = asked.count or (100_000 if asked.quick else 1_000_000)
    most = 0.0

    def show(what: str, rows: list[tuple[str, float, float]]) -> None:
        nonlocal most
        most = max(most, *(row[1] for row in rows))
        print(table((f"items, {what}", "MB above the start", "s"), rows), flush=True)

    if not asked.journal_only:
        for reports_usage in (False, True):
            rows = anyio.run(stream, count, reports_usage, backend=asked.backend)
            show("with usage" if reports_usage else "without usage", rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        show("with a journal", anyio.run(stream, count, True, path, backend=asked.backend))
        print(f"the journal takes {path.stat().st_size / 1e6:,.0f} MB")
        show("passed over", anyio.run(pass_over, count, path, backend=asked.backend))
    return int(most >= _GOAL)


if __name__ == "__main__":
    sys.exit(main())
