"""A short job against a quota, over real sockets: ``python -m benchmarks.short_job``.

2,000 items of 50 ms against 50 requests a second with a burst of 50. The ideal is 40.0 s, as if
nothing were stored in the burst. The server runs in a process of its own; its log is the witness.
Told nothing, the goal is 1.15 × ideal with less than 3 % refused; told the quota, 1.03 × and none.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import anyio
from attrs import frozen

from batchllm import Gate, ProcessorConfig, llm, open_pool, run_batch
from benchmarks._report import machine
from benchmarks._served import served, stats_of

_PER_SECOND = 50
_CALLS = 200


@frozen
class Row:
    """The outcome of one job."""

    seconds: float
    sent: int
    refused: int
    lost: int


def _model(url: str) -> Any:
    return llm("openai-compatible:m", base_url=f"{url}/v1", api_key="k")


async def _one_run(url: str, count: int, told: bool, seed: int) -> int:
    config = ProcessorConfig(
        max_workers=_CALLS,
        max_requests_per_minute=60 * _PER_SECOND if told else None,
        seed=seed,
    )
    result = await run_batch((f"p{n}" for n in range(count)), _model(url), config=config)
    return result.succeeded


async def _shared(url: str, count: int, told: bool, seed: int) -> int:
    """Two runs and two pools, each with a strategy of its own, on one gate."""
    gate = Gate(requests_per_minute=60 * _PER_SECOND if told else None, seed=seed)
    share, done = count // 4, 0

    async def run(name: str) -> None:
        nonlocal done
        items = (f"{name}{n}" for n in range(share))
        result = await run_batch(items, _model(url), concurrency=_CALLS, gate=gate)
        done += result.succeeded

    async def pool(name: str) -> None:
        nonlocal done

        async def ask(number: int) -> None:
            nonlocal done
            result = await each.call_result(f"{name}{number}")
            done += result.success

        async with (
            open_pool(_model(url), concurrency=_CALLS, gate=gate) as each,
            anyio.create_task_group() as calls,
        ):
            for number in range(share):
                calls.start_soon(ask, number)

    async with anyio.create_task_group() as group:
        group.start_soon(run, "a")
        group.start_soon(run, "b")
        group.start_soon(pool, "c")
        group.start_soon(pool, "d")
    return done


def measure(way: Any, count: int, seed: int, *, hints: bool, told: bool, backend: str) -> Row:
    """Do the job once."""
    flags = f"hints={str(hints).lower()}&headers={str(hints).lower()}"
    with served(
        f"quota?rps={_PER_SECOND}&burst={_PER_SECOND}&latency=0.05&{flags}", "--seed", str(seed)
    ) as url:
        begun = time.perf_counter()
        done = anyio.run(way, url, count, told, seed, backend=backend)
        seconds = time.perf_counter() - begun
        stats = stats_of(url)
    return Row(seconds, stats["requests"], stats["outcomes"].get("refused", 0), count - done)


def main() -> int:
    """Print the table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="500 items, one seed")
    parser.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"))
    asked = parser.parse_args()
    count, seeds = (500, 1) if asked.quick else (2_000, 3)
    ideal = count / _PER_SECOND
    jobs = [
        ("told nothing, no hints", _one_run, False, False),
        ("told nothing, hints", _one_run, True, False),
        ("told the quota", _one_run, False, True),
        ("two runs and two pools, told", _shared, False, True),
        ("two runs and two pools, not told", _shared, False, False),
    ]
    print(f"{machine()}, {asked.backend}; {count:,} items, ideal {ideal:.1f} s")
    missed = False
    print(f"{'job':34}{'s':>8}{'× ideal':>10}{'refused':>10}{'lost':>6}")
    for name, way, hints, told in jobs:
        for seed in range(seeds):
            row = measure(way, count, seed, hints=hints, told=told, backend=asked.backend)
            share = row.refused / row.sent
            goal = (1.03, 0.0) if told else (1.15, 0.03)
            bad = row.seconds > goal[0] * ideal or share > goal[1] or row.lost > 0
            missed |= bad
            times = row.seconds / ideal
            figures = f"{row.seconds:8.2f}{times:10.3f}{share:10.2%}{row.lost:6}"
            print(f"{name:34}{figures}{'  <- missed' if bad else ''}", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
