"""The summary names what held a run back for most of its time."""

from __future__ import annotations

from random import Random

import anyio
import pytest
from attrs import evolve

from batchllm.api import ParallelBatchProcessor, run_batch
from batchllm.core import LLMCallStrategy, LLMWorkItem, ProcessorConfig
from batchllm.engine.stats import limited_by
from batchllm.gate import Gate
from batchllm.policy import GateSnapshot, Limit, RateLimiter


def scope(**known: object) -> GateSnapshot:
    return evolve(RateLimiter(rng=Random(1)).snapshot(0.0), **known)


def test_nothing_is_named_that_took_less_than_half() -> None:
    assert limited_by({"quota": 4.0}, 10.0, [scope(pace=5.0)], 20) is None


def test_quota_and_pauses_count_together() -> None:
    """Neither took half alone."""
    held = {"quota": 4.0, "cooldown": 3.0}
    named = limited_by(held, 10.0, [scope(pace=5.0)], 20)
    assert named == "the provider's quota, found to be about 300 requests per minute"


def test_a_cap_that_was_found_is_named_and_not_the_runs_own() -> None:
    named = limited_by({"calls": 9.0}, 10.0, [scope(cap=8, pace=5.0)], 20)
    assert named == "the provider's cap, found to be 8 calls at a time"


def test_a_cap_that_the_server_reported_is_named_if_it_is_below_the_runs_own() -> None:
    """To raise concurrency would change nothing."""
    named = limited_by({"calls": 9.0}, 10.0, [scope(reported_cap=4)], 20)
    assert named == "the provider's cap of 4 calls at a time, as it reported"
    named = limited_by({"calls": 9.0}, 10.0, [scope(reported_cap=40)], 20)
    assert named == "20 calls in flight at most; raise concurrency if the server allows more"


def test_a_reported_limit_below_the_pace_is_named_though_it_is_unused_at_the_end() -> None:
    limit = Limit("requests", 20, per=1.0)
    named = limited_by({"quota": 9.0}, 10.0, [scope(limits=(limit,), used=(0.1,), pace=30.0)], 20)
    assert named is not None
    assert "20 requests" in named


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.21, "0.2 s"), (9.0, "9.0 s"), (1234.5, "1,234 s")]
)
def test_pauses_of_a_short_run_are_not_rounded_to_nothing(seconds: float, words: str) -> None:
    named = limited_by({"cooldown": seconds}, seconds, [scope()], 20)
    assert named == f"pauses after rate limits, for {words}"


def test_a_short_run_is_not_said_to_have_had_a_quota() -> None:
    """All the time of a hundred quick calls is their start: no quota was met, and none declared."""
    held = {"quota": 9.0}
    assert limited_by(held, 10.0, [scope()], 20, has_own=True) == "a quota of the run's own"
    named = limited_by(held, 10.0, [scope()], 20)
    assert named == "its own start, from few calls in flight to more with each round trip"


class Second(LLMCallStrategy[str]):
    async def execute(self, prompt: str, attempt: int, timeout: float) -> tuple[str, None]:
        await anyio.sleep(1.0)
        return prompt, None


@pytest.mark.anyio
async def test_what_held_an_earlier_run_is_not_blamed_for_a_later_one() -> None:
    """They share the gate, and with it what the gate counts."""
    gate = Gate(requests_per_minute=60)
    first = await run_batch([str(n) for n in range(100)], Second(), gate=gate)
    assert "60 requests" in first.stats["limited_by"]
    await anyio.sleep(120.0)
    later = await run_batch(["a"], Second(), gate=gate)
    assert later.stats["limited_by"] is None
    assert not any(later.stats["held_back"].values())


@pytest.mark.anyio
async def test_what_held_an_earlier_batch_of_a_processor_is_not_blamed_for_a_later_one() -> None:
    config = ProcessorConfig(max_workers=1)
    async with ParallelBatchProcessor[str, str, None](config, strategy=Second()) as processor:
        for number in range(10):
            await processor.add_work(LLMWorkItem(str(number), prompt="…"))
        first = await processor.process_all()
        assert "1 calls in flight at most" in first.stats["limited_by"]
        await processor.add_work(LLMWorkItem("last", prompt="…"))
        later = await processor.process_all()
    assert later.stats["limited_by"] is None
    assert not any(later.stats["held_back"].values())
