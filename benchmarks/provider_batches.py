"""Batch mode with many items: memory, time and CPU per item, and how often the provider is asked.

    python -m benchmarks.provider_batches [ITEMS] [BYTES]

The simulator runs in a process of its own, whose calendar goes faster than ours. Memory is what
this process has above its beginning, at its highest.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import anyio

from batchllm.api import stream_batch
from batchllm.core import ProcessorConfig
from batchllm.journal import Journal
from batchllm.llm_strategies import llm

CALENDAR = 200
"""Times that the simulator's calendar is faster, so that a batch of two minutes takes 0.6 s."""


def prompts(count: int, size: int) -> Iterator[str]:
    text = "x" * size
    for number in range(count):
        yield f"{number} {text}"


def _bytes_in(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.iterdir())


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def run(url: str, folder: Path, count: int, size: int) -> None:
    strategy = llm("openai:m", base_url=f"{url}/v1", api_key="k")
    before, began, cpu = megabytes(), time.perf_counter(), time.process_time()
    done, most_files = 0, 0
    batches = folder / "run.db.batches"
    async with stream_batch(
        prompts(count, size),
        strategy,
        mode="batch",
        journal=Journal(folder / "run.db", journal_prompts=False),
        config=ProcessorConfig(max_workers=64, keep_results=False),
    ) as results:
        async for result in results:
            assert result.success, result.error
            done += 1
            if done % 10_000 == 0:
                files = _bytes_in(batches)
                most_files = max(most_files, files)
                print(f"{done:>9,} items, {megabytes() - before:6.0f} MB above start", flush=True)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"items            {done:,} of {size:,} bytes")
    print(f"memory           {megabytes() - before:,.0f} MB above start")
    print(f"files at most    {most_files / 1e6:,.0f} MB")
    print(f"time             {seconds:,.0f} s, {1e6 * seconds / done:,.0f} µs an item")
    print(f"CPU              {1e6 * cpu / done:,.0f} µs an item")


def calls_of(url: str) -> dict[str, int]:
    """Count the requests that the simulator got, by kind."""
    with urlopen(f"{url}/__sim/log") as reply:
        rows = [json.loads(line) for line in reply.read().splitlines()]
    return dict(Counter(f"{row['method']} {row['path'].split('/')[2]}" for row in rows))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 4_000
    command = [sys.executable, "-m", "batchllm", "serve-sim", "instant"]
    command += ["--calendar", str(CALENDAR)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as simulator,
    ):
        try:
            assert simulator.stdout is not None
            url = simulator.stdout.readline().decode().strip()
            anyio.run(run, url, Path(folder), count, size)
            print(f"calls            {calls_of(url)}")
        finally:
            simulator.terminate()
            simulator.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = 1e6 * (used.ru_utime + used.ru_stime) / count
    print(f"simulator        {used.ru_maxrss / 1024:,.0f} MB, {cpu:,.0f} µs of CPU an item")


if __name__ == "__main__":
    main()
