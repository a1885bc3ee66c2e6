"""CPU per permit while 500 calls wait: ``python -m benchmarks.gate_cost``.

Virtual time, so that nothing but the gate and the event loop is counted. The goal is 200 µs.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from random import Random
from typing import Any

import anyio

from batchllm.core import CallCost, Outcome
from batchllm.gate import CallerLimits, Gate
from batchllm.testing import Backend, virtual_run
from benchmarks._report import interleaved, machine, table

_WAITERS = 500

KINDS: dict[str, dict[str, Any]] = {
    "requests limited": {"requests_per_minute": 60_000},
    "tokens limited, costs differ": {"requests_per_minute": 60_000, "tokens_per_minute": 600_000},
    "calls in flight limited": {"requests_per_minute": 6_000_000, "calls": 10},
}


async def _serve(options: dict[str, Any], permits: int) -> None:
    gate, callers, rng = Gate(**options), CallerLimits(1_000), Random(1)
    left = permits

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            cost = (
                CallCost(1, rng.randint(1, 100)) if "tokens_per_minute" in options else CallCost()
            )
            permit = await gate.admit(cost, callers)
            await anyio.sleep(0.01)
            permit.report(Outcome.OK, anyio.current_time())

    async with anyio.create_task_group() as group:
        for _ in range(_WAITERS):
            group.start_soon(caller)


def _measure(kind: str, backend: Backend, permits: int) -> float:
    begun = time.process_time()
    virtual_run(_serve, KINDS[kind], permits, backend=backend)
    return (time.process_time() - begun) / permits * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, fewer permits")
    quick = parser.parse_args().quick
    backends: tuple[Backend, ...] = ("asyncio", "trio")
    ways = {
        f"{kind}|{backend}": partial(_measure, kind, backend, 2_000 if quick else 5_000)
        for kind in KINDS
        for backend in backends
    }
    found = interleaved(ways, 1 if quick else 5)
    rows = [(kind, *(found[f"{kind}|{backend}"] for backend in backends)) for kind in KINDS]
    print(machine())
    print(table((f"µs per permit, {_WAITERS} callers", *backends), rows))


if __name__ == "__main__":
    main()
