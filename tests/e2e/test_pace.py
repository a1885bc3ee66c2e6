"""Quotas over real sockets, in real time: kept when told, found when not, nothing lost."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from batchllm import Gate, ProcessorConfig, llm, open_pool, run_batch
from batchllm.simulator import Simulator, parse_scenario, serve

pytestmark = pytest.mark.anyio

PER_SECOND = 100
SCENARIO = f"quota-nohint?rps={PER_SECOND}&burst=50&latency=0.02"


def model(url: str) -> Any:
    return llm("openai-compatible:m", base_url=f"{url}/v1", api_key="k")


def refused(simulator: Simulator) -> int:
    return sum(entry.status == 429 for entry in simulator.log)


async def test_a_quota_that_was_told_is_kept_and_used() -> None:
    """No refusal, and the run reports what it waited for.

    That it takes hardly more time than the quota needs is shown in virtual time.
    """
    simulator = Simulator(parse_scenario(SCENARIO), seed=1)
    config = ProcessorConfig(max_workers=50, max_requests_per_minute=60 * PER_SECOND)
    async with serve(simulator) as server:
        result = await run_batch([f"p{n}" for n in range(100)], model(server.url), config=config)
    assert result.succeeded == len(simulator.log) == 100
    assert refused(simulator) == 0
    assert result.wall_time >= 0.95
    assert result.stats["held_back"]["quota"] > 0


async def test_a_quota_that_nobody_told_is_found() -> None:
    """No herd, nothing lost, and client and server count the same.

    How few refusals there are is shown in virtual time; here, on a machine that may be busy, only
    that there are fewer than calls could be on their way at once.
    """
    simulator = Simulator(parse_scenario(SCENARIO), seed=1)
    async with serve(simulator) as server:
        result = await run_batch(
            [f"p{n}" for n in range(150)], model(server.url), config=ProcessorConfig(max_workers=50)
        )
    assert result.succeeded == 150
    assert refused(simulator) == result.stats["throttled_calls"] < 50
    assert len(simulator.log) == result.stats["calls_sent"]


async def test_two_pools_that_share_a_gate_keep_its_quota() -> None:
    """Each makes its calls, together they stay within what was declared."""
    simulator = Simulator(parse_scenario(SCENARIO), seed=1)
    gate = Gate(requests_per_minute=60 * PER_SECOND)
    answers: list[str] = []

    async def use(url: str) -> None:
        async with (
            open_pool(model(url), concurrency=30, gate=gate) as pool,
            anyio.create_task_group() as calls,
        ):

            async def ask(number: int) -> None:
                answers.append(await pool.call(f"p{number}"))

            for number in range(50):
                calls.start_soon(ask, number)

    async with serve(simulator) as server, anyio.create_task_group() as group:
        begun = anyio.current_time()
        group.start_soon(use, server.url)
        group.start_soon(use, server.url)
    assert (len(answers), refused(simulator)) == (100, 0)
    times = [entry.arrived for entry in simulator.log]
    assert max(times) - begun >= 0.95
