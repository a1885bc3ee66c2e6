"""Does memory grow with the batch? ``python -m benchmarks.memory``.

A million lazy items are streamed, once without usage and once with that of a chat endpoint; the
resident memory is read along the way. The goal is less than 30 MB above what it is after the first
20,000. The exit code is 1 if it is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio

from batchllm import LLMCallStrategy, stream_batch
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


async def stream(count: int, reports_usage: bool) -> list[tuple[str, float, float]]:
    """Stream them, and note the memory at ten points."""
    rows: list[tuple[str, float, float]] = []
    begun, seen, base = time.perf_counter(), 0, resident()
    async with stream_batch(items(count), Echo(reports_usage), concurrency=100) as run:
        async for _ in run:
            seen += 1
            if seen == _WARM:
                base = resident()
            if seen % (count // 10) == 0:
                rows.append((f"{seen:,}", resident() - base, time.perf_counter() - begun))
    return rows


def main() -> int:
    """Print the table; 1 where memory grew too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 items")
    parser.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"))
    asked = parser.parse_args()
    print(f"{machine()}, {asked.backend}")
    count, most = 100_000 if asked.quick else 1_000_000, 0.0
    for reports_usage in (False, True):
        rows = anyio.run(stream, count, reports_usage, backend=asked.backend)
        most = max(most, *(row[1] for row in rows))
        what = "items, with usage" if reports_usage else "items, without usage"
        print(table((what, "MB above the start", "s"), rows), flush=True)
    return int(most >= _GOAL)


if __name__ == "__main__":
    sys.exit(main())
