"""Four processes on one quota, one of them killed; and the same without sharing.

    python -m benchmarks.shared             # 3,000 a minute, 1,600 items: five minutes
    python -m benchmarks.shared --short     # a quarter of the items
    python -m benchmarks.shared --cost      # only what a lease costs

Two workers are on asyncio and two on Trio. They call a simulated provider with a quota of 3,000
requests a minute, over sockets, and have no headers to go by. One is ended by SIGKILL, and another
process goes on with its journal. The quota is shared by a file, by ``batchllm serve-gate``'s
server, or not at all: nothing is declared, or each declares the whole quota. Where it is learned
together, nothing is declared either, and refusals say nothing of it.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
import timeit
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import anyio
from attrs import frozen

from batchllm import Gate, llm, run_batch
from batchllm.core import CallCost, Outcome
from batchllm.policy import LeaseRequest, Limit, Quota, RateLimiter
from batchllm.shared import MemoryLeases, SharedGate, SqliteLeases, serve_leases
from batchllm.simulator import LogEntry, Simulator, parse_scenario, serve
from benchmarks._report import machine, table

PER_MINUTE: Final = 3_000
SECRET: Final = "a secret of the benchmark"
_ROOT = Path(__file__).resolve().parents[1]
_BACKENDS = ("asyncio", "trio", "asyncio", "trio")
_KILL_AFTER = 3.0
_EDGE = 3.0
"""Seconds at both ends that are no steady part: workers start, and run out of items."""


@frozen(kw_only=True)
class Trial:
    """The outcome of one way of sharing.

    Attributes:
        refused: Requests that the simulator refused.
        answered: Items with an answer.
        used: The share of the quota in the steady part.
        seconds: From the first request to the last.
        leases: Answers of the authority.
        calls: Calls that started by them.
        lease_ms: Milliseconds of one lease, the way there and back.
    """

    refused: int
    answered: int
    used: float
    seconds: float
    leases: int
    calls: int
    lease_ms: float


async def work(url: str, gate: str, name: str, first: int, count: int, journal: str) -> None:
    """Be one worker: answer *count* items, and print what the leases came to."""
    given: Gate | None
    if gate.startswith("none"):
        given = None
    elif gate == "whole":
        given = Gate(requests_per_minute=PER_MINUTE)
    else:
        store, _, learned = gate.partition("#")
        declared = None if learned else PER_MINUTE
        given = SharedGate(store, requests_per_minute=declared, secret=SECRET)
    model = llm("openai-compatible:m", base_url=f"{url}/v1")
    items = [(f"{first + number}", f"item {first + number}") for number in range(count)]
    ended = await run_batch(items, model, gate=given, journal=journal, concurrency=100)
    counts = given.leases() if isinstance(given, SharedGate) else None
    answered = [result.item_id for result in ended if result.success]
    print(
        json.dumps(
            {
                "name": name,
                "answered": answered,
                "leases": counts.leases if counts else 0,
                "calls": counts.used if counts else 0,
                "asking": counts.asking_seconds if counts else 0.0,
                "limited_by": ended.stats["limited_by"],
            }
        )
    )


def _command(url: str, gate: str, number: int, count: int, folder: Path) -> list[str]:
    words = ["work", url, gate, f"w{number}", number * count, count, folder / f"w{number}.journal"]
    words.append(_BACKENDS[number % len(_BACKENDS)])
    return [sys.executable, "-m", "benchmarks.shared", *map(str, words)]


async def _run_workers(
    url: str, gate: str, count: int, folder: Path, workers: int, *, kill: bool
) -> list[dict[str, Any]]:
    reports = list[dict[str, Any]]()

    async def one(number: int) -> None:
        command = _command(url, gate, number, count, folder)
        if kill and number == workers - 1:
            async with await anyio.open_process(command, cwd=_ROOT) as process:
                with anyio.move_on_after(_KILL_AFTER + 2):
                    await process.wait()
                if process.returncode is None:
                    process.send_signal(signal.SIGKILL)
        done = await anyio.run_process(command, cwd=_ROOT, stderr=None)
        reports.append(json.loads(done.stdout.decode().splitlines()[-1]))

    async with anyio.create_task_group() as group:
        for number in range(workers):
            group.start_soon(one, number)
    return reports


@asynccontextmanager
async def _gate(way: str, folder: Path) -> AsyncGenerator[str]:
    kind, _, learned = way.partition("#")
    if kind == "file":
        yield f"sqlite://{folder / 'shared.gate'}#{learned}"
    elif kind == "server":
        async with serve_leases(MemoryLeases(), secret=SECRET) as server:
            yield f"{server.url}#{learned}"
    else:
        yield way


async def try_way(way: str, items: int, *, workers: int = 4, kill: bool = True) -> Trial:
    """Run the workers, and look at what the simulator saw.

    Args:
        way: ``"file"``, ``"server"``, ``"none"`` or ``"whole"``; with ``"#learned"`` behind it
            nothing is declared, and refusals say nothing of the quota.
        items: Of all workers together.
        workers: How many processes.
        kill: Whether the last one is ended by SIGKILL after a few seconds, and started again.
    """
    name = "quota-nohint" if way.endswith("#learned") else "quota-noheaders"
    scenario = parse_scenario(f"{name}?rpm={PER_MINUTE}")
    simulator = Simulator(scenario, seed=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with serve(simulator) as server, _gate(way, folder) as gate:
            reports = await _run_workers(
                server.url, gate, items // workers, folder, workers, kill=kill
            )
    return _judge(list(simulator.log.entries), reports)


def _judge(log: list[LogEntry], reports: list[dict[str, Any]]) -> Trial:
    accepted = sorted(entry.arrived for entry in log if entry.outcome in ("ok", "aborted"))
    begin, end = accepted[0] + _EDGE, accepted[-1] - _EDGE
    steady = sum(begin <= at < end for at in accepted)
    leases = sum(report["leases"] for report in reports)
    asking = sum(report["asking"] for report in reports)
    return Trial(
        refused=sum(entry.outcome == "refused" for entry in log),
        answered=len({one for report in reports for one in report["answered"]}),
        used=steady / (end - begin) * 60 / PER_MINUTE if end > begin else 0.0,
        seconds=accepted[-1] - accepted[0],
        leases=leases,
        calls=sum(report["calls"] for report in reports),
        lease_ms=1_000 * asking / leases if leases else 0.0,
    )


async def main(items: int) -> None:
    """Try each way, and print a table."""
    ways = {
        "one file": ("file", 4, True),
        "serve-gate": ("server", 4, True),
        "one file, learned together": ("file#learned", 4, True),
        "serve-gate, learned together": ("server#learned", 4, True),
        "one process alone, learned": ("none#learned", 1, False),
        "not shared, each learns": ("none#learned", 3, False),
        "not shared, nothing declared": ("none", 3, False),
        "not shared, each declares the whole": ("whole", 3, False),
    }
    print(machine())
    await print_costs()
    head = ["quota", "processes", "answered", "refused", "used", "seconds", "calls a lease",
            "ms a lease"]  # fmt: skip
    rows = []
    for name, (way, workers, kill) in ways.items():
        trial = await try_way(way, items, workers=workers, kill=kill)
        each = f"{trial.calls / trial.leases:.1f}" if trial.leases else ""
        cost = f"{trial.lease_ms:.2f}" if trial.leases else ""
        rows.append(
            [name, str(workers), f"{trial.answered:,}", str(trial.refused), f"{trial.used:.1%}",
             f"{trial.seconds:.1f}", each, cost]
        )  # fmt: skip
        print(*rows[-1], flush=True)
    print(table(head, rows))


async def lease_cost(limits: tuple[Limit, ...], count: int = 400) -> tuple[float, float]:
    """Return the CPU milliseconds of a lease in a file whose ledgers are full, and its slots.

    Args:
        limits: Of the quota.
        count: Leases that are measured.
    """
    now, slots, number, begun = 1_000.0, 0, 0, 0.0
    quota, step = Quota(limits=limits, hold=0.25), 0.2
    costs = (CallCost(1, 300, 100),) * 40
    fill = round(90 / step)
    with tempfile.TemporaryDirectory() as name:
        stores = [SqliteLeases(Path(name) / "a.gate", clock=lambda: now) for _ in range(4)]
        for number in range(fill + count):
            if number == fill:
                slots, begun = 0, time.process_time()
            now += step
            worker = number % len(stores)
            asked = LeaseRequest(worker=f"w{worker}", number=number + 1, quota=quota, costs=costs)
            slots += len((await stores[worker].lease(asked)).opens)
        took = time.process_time() - begun
        for store in stores:
            await store.aclose()
    return 1_000 * took / count, slots / count


async def print_costs() -> None:
    """Print what a lease costs, and what a run pays that shares nothing."""
    requests, tokens = Limit("requests", PER_MINUTE), Limit("tokens", 2_000_000)
    for limits in ((requests,), (requests, tokens)):
        cost, slots = await lease_cost(limits)
        print(f"a lease in a file, limits {len(limits)}: {cost:.2f} ms of CPU, {slots:.1f} slots")
    limiter, now = RateLimiter(rng=Random(1), calls=100), 0.0
    one, count = CallCost(), 100_000
    begun = time.process_time()
    for _ in range(count):
        now += 1.0
        if limiter.next_time(now, one) <= now:
            limiter.on_result(now, limiter.on_send(now, one), Outcome.OK)
    each = 1e6 * (time.process_time() - begun) / count
    test = 1e6 * min(timeit.repeat("slot is None", "slot = None", number=count)) / count
    print(f"a call through a limiter that shares nothing: {each:.2f} µs, a test {test:.3f} µs")


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        url, gate, name, first, count, journal, backend = sys.argv[2:]
        anyio.run(work, url, gate, name, int(first), int(count), journal, backend=backend)
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--short", action="store_true", help="a quarter of the items")
        parser.add_argument("--cost", action="store_true", help="only what a lease costs")
        asked = parser.parse_args()
        if asked.cost:
            anyio.run(print_costs)
        else:
            anyio.run(main, 400 if asked.short else 1_600)
