"""The cost of a report: ``python -m benchmarks.report``.

A run with a journal is made, of answers, failures and retries, and reported on by the command line:
CPU, memory and the size of the page. The goals are 5 MB, of a million items too
(``--items 1000000``), and 100 MB of memory; the exit code is 1 if one is missed.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batchllm import LLMCallStrategy, ProcessorConfig, ProviderError, RetryConfig, run_batch_sync
from benchmarks._report import machine, table

_PAGE_GOAL, _MEMORY_GOAL = 5.0, 100.0
_WORDS = [f"word{n}" for n in range(1_000)]


class Mixed(LLMCallStrategy[str]):
    """Answers some sixty words; one in thirty fails, one in thirty at first."""

    def __init__(self) -> None:
        self._rng = random.Random(1)

    def identity(self) -> dict[str, Any]:
        """Name it without its state."""
        return {"class": "Mixed"}

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> tuple[str, Any, Any]:
        """Answer at once."""
        number = int(prompt.rpartition(" ")[2])
        if number % 30 == 0 or (number % 30 == 1 and attempt == 1):
            raise ProviderError(f"answered 500: request {number} failed", status=500)
        words = " ".join(self._rng.choices(_WORDS, k=60))
        usage = {"input_tokens": self._rng.randrange(20, 400), "output_tokens": 90}
        return words, usage, {"model": f"model-{number % 3}", "finish_reason": "stop"}


def prompts(count: int) -> Iterator[tuple[str, str]]:
    """Make items one by one."""
    for number in range(count):
        yield f"item-{number}", f"Say something about number {number}"


def report(journal: Path, page: Path) -> tuple[float, float]:
    """Report on a journal: seconds of CPU, and MB of memory at most."""
    words = ["batchllm", "report", str(journal), "-o", str(page)]
    child = os.posix_spawn(
        sys.executable, [sys.executable, "-m", *words], {**os.environ}, setsigdef=[]
    )
    _, status, used = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{words} failed")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="a tenth of the items")
    options = parser.parse_args()
    count = options.items // 10 if options.quick else options.items
    retry = RetryConfig(max_attempts=2, initial_wait=0.001, max_wait=0.001)
    config = ProcessorConfig(retry=retry, keep_results=False, fail_fast=None)
    library = Path("batchllm/reports/chart.umd.min.js").stat().st_size / 1e6
    with tempfile.TemporaryDirectory() as temporary:
        journal, page = Path(temporary, "run.db"), Path(temporary, "run.html")
        run_batch_sync(prompts(count), Mixed(), config=config, journal=journal)
        cpu, memory = report(journal, page)
        size = page.stat().st_size / 1e6 - library
        row = [f"{count:,}", journal.stat().st_size / 1e6, cpu, 1e6 * cpu / count, memory, size]
    print(machine())
    print(table(["items", "journal MB", "CPU s", "µs an item", "memory MB", "page MB"], [row]))
    return 0 if size <= _PAGE_GOAL and memory <= _MEMORY_GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
