"""The effect of second copies on a batch's tail: ``python -m benchmarks.tail``.

2,000 items at 100 in flight, whose calls take 1 s on average (lognormal, σ 0.5); one call in a
hundred stalls for 10 s. The real engine, in virtual time, over several seeds. A large quota is
declared, so that the ramp of an unknown one is not in the figures. The goal: with ``hedge=`` the
batch takes no more than 1.3 × the time without stalls, also with the worst seed, in which both
copies of a call stall and a third one answers, and no more than 2 % of the calls are further
copies. The exit code is 1 if the goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from random import Random
from statistics import median
from typing import Any

import anyio
from attrs import frozen

from batchllm import HedgeConfig, LLMCallStrategy, ProcessorConfig, run_batch
from batchllm.testing import Backend, virtual_run
from benchmarks._report import machine, table

_ITEMS, _CALLS = 2_000, 100
_STALL, _SIGMA = 10.0, 0.5
_PACE = 60_000
_GOAL, _BUDGET = 1.3, 0.02


class Stalling(LLMCallStrategy[str]):
    """Answers after a second or so; a share of its calls stalls."""

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._rng = Random(seed)
        self.calls = 0

    async def execute(
        self, prompt: Any, attempt: int, timeout: float
    ) -> tuple[str, dict[str, int]]:
        """Answer."""
        self.calls += 1
        took = self._rng.lognormvariate(-_SIGMA * _SIGMA / 2, _SIGMA)
        await anyio.sleep(_STALL if self._rng.random() < self._share else took)
        return prompt, {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20}


@frozen
class Run:
    """The outcome of one batch: virtual seconds, and the share of further copies."""

    seconds: float
    copies: float


async def _run(share: float, hedge: HedgeConfig | None, seed: int) -> Run:
    strategy = Stalling(share, seed)
    config = ProcessorConfig(
        max_workers=_CALLS, max_requests_per_minute=_PACE, hedge=hedge, seed=seed
    )
    begun = anyio.current_time()
    result = await run_batch((f"p{n}" for n in range(_ITEMS)), strategy, config=config)
    assert result.succeeded == _ITEMS
    return Run(anyio.current_time() - begun, result.stats["hedged_calls"] / strategy.calls)


def main() -> int:
    """Print the table; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three seeds")
    parser.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"))
    asked = parser.parse_args()
    backend: Backend = asked.backend
    seeds = range(3 if asked.quick else 15)
    ways: dict[str, tuple[float, HedgeConfig | None]] = {
        "no stalls": (0.0, None),
        "stalls": (0.01, None),
        "stalls, hedged": (0.01, HedgeConfig()),
        "no stalls, hedged": (0.0, HedgeConfig()),
    }
    found = {
        name: [virtual_run(_run, *way, seed, backend=backend) for seed in seeds]
        for name, way in ways.items()
    }
    usual = median(run.seconds for run in found["no stalls"])
    rows = [
        (
            name,
            median(run.seconds for run in runs),
            max(run.seconds for run in runs),
            median(run.seconds for run in runs) / usual,
            max(run.seconds for run in runs) / usual,
            f"{max(run.copies for run in runs):.2%}",
        )
        for name, runs in found.items()
    ]
    print(f"{machine()}, {backend}; {_ITEMS:,} items, {_CALLS} in flight, {len(seeds)} seeds")
    head = ("virtual seconds", "median", "worst", "× no stalls", "worst", "copies, most")
    print(table(head, rows))
    hedged = found["stalls, hedged"]
    missed = max(run.seconds for run in hedged) > _GOAL * usual
    missed |= max(run.copies for run in hedged) > _BUDGET
    print("missed" if missed else f"the goal is met: {_GOAL:g} × within {_BUDGET:.0%}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
