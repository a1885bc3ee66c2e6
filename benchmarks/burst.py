"""Many requests at once, through real sockets: ``python -m benchmarks.burst``.

20,000 requests with 2,000 in flight against ``batchllm serve-sim`` in a process of its own. The
goal: every item has its own answer, the server has seen as many requests as there were calls, and
no more than 2,000 connections were opened. How long the event loop was late is printed: a task
that sleeps for 10 ms notes by how much it oversleeps, while nothing but the batch keeps it from
waking. The exit code is 1 if the goal is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from typing import Any

import anyio
from attrs import frozen

from batchllm import llm, run_batch
from benchmarks._report import LOOPS, machine, table
from benchmarks._served import served, stats_of

_TICK = 0.01
_HEAD = ("loop", "s", "ms CPU", "lost", "requests", "opened", "late, ms: median", "99 %", "most")


@frozen(kw_only=True)
class Run:
    """The outcome of one batch.

    Attributes:
        seconds: By the clock.
        cpu: Milliseconds of CPU per request.
        answered: Items that have their answer.
        calls: Calls that we sent.
        requests: Requests that the server saw.
        connections: Connections that we opened, if the library counts them.
        lags: Milliseconds by which the event loop was late, sorted.
    """

    seconds: float
    cpu: float
    answered: int
    calls: int
    requests: int
    connections: int | None
    lags: list[float]


async def _watch(lags: list[float]) -> None:
    while True:
        begun = time.perf_counter()
        await anyio.sleep(_TICK)
        lags.append((time.perf_counter() - begun - _TICK) * 1e3)


async def _run(url: str, count: int, in_flight: int) -> Run:
    lags: list[float] = []
    strategy = llm("openai-compatible:m", base_url=f"{url}/v1", api_key="k")
    items = ((f"i{number}", f"prompt {number}") for number in range(count))
    before = (await anyio.to_thread.run_sync(stats_of, url))["requests"]
    begun, used = time.perf_counter(), time.process_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch, lags)
        result = await run_batch(items, strategy, concurrency=in_flight)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - used
        tasks.cancel_scope.cancel("the batch has ended")
    seen = await anyio.to_thread.run_sync(stats_of, url)
    return Run(
        seconds=seconds,
        cpu=cpu / count * 1e3,
        answered=sum(one.success for one in result.by_id().values()),
        calls=result.stats["calls_sent"],
        requests=seen["requests"] - before,
        connections=_opened(result.stats),
        lags=sorted(lags) or [0.0],
    )


def _opened(stats: Any) -> int | None:
    """Find the number of connections opened, wherever the statistics keep it."""
    if isinstance(stats, dict):
        for name, value in stats.items():
            if name in ("connections", "transport") and not isinstance(value, int):
                return _opened(value)
            if name in ("opened", "connections_opened") and isinstance(value, int):
                return value
            if isinstance(value, dict):
                found = _opened(value)
                if found is not None:
                    return found
        return None
    opened = getattr(stats, "opened", None)
    return opened if isinstance(opened, int) else None


def main() -> int:
    """Print the table; 1 if something is lost, or too many connections were opened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 requests, 200 in flight")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--in-flight", type=int, default=2_000)
    parser.add_argument("--latency", type=float, default=2.0, help="seconds of each answer")
    parser.add_argument("--loops", nargs="*", choices=tuple(LOOPS), default=list(LOOPS))
    asked = parser.parse_args()
    count, in_flight = (2_000, 200) if asked.quick else (asked.requests, asked.in_flight)
    print(
        f"{machine()}, load {os.getloadavg()[0]:.1f}; {count:,} requests, {in_flight:,} in flight"
    )
    missed = False
    for loop in asked.loops:
        if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
            continue
        backend, options = LOOPS[loop]
        with served(f"default?latency={asked.latency}") as url:
            one = anyio.run(_run, url, count, in_flight, backend=backend, backend_options=options)
        opened = "not counted" if one.connections is None else one.connections
        off = one.answered != count or one.calls != one.requests
        off |= one.connections is not None and one.connections > in_flight
        missed |= off
        late = [one.lags[int(share * (len(one.lags) - 1))] for share in (0.5, 0.99, 1.0)]
        shown = [f"{each:.0f}" for each in late]
        row = (loop, one.seconds, one.cpu, count - one.answered, one.requests, opened, *shown)
        print(table((*_HEAD, ""), [(*row, "<- missed" if off else "")]), flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
