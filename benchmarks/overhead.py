"""The cost of an item beside its call: ``python -m benchmarks.overhead``.

CPU per item with a strategy that answers after one turn of the event loop and reports usage as
the chat endpoints do, 100 calls at once. Each figure is the median of several rounds in which all
ways take turns. Ratios only compare within one run.

The bare task is the floor: one AnyIO task per item, at most 100 alive, each holding a
``CapacityLimiter`` of 100 during its call and keeping its result. It never has to wait for the
limiter, which would cost it as much again. "By hand" adds what one writes next: a deadline for
each call, and errors kept as results. Neither retries, paces, classifies or counts tokens. The
goal is ``run_batch`` at 2.5 x the bare task of the same run or less; the exit code is 1 if it is
missed.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio

from batchllm import Gate, LLMCallStrategy, run_batch, stream_batch
from benchmarks._report import LOOPS, interleaved, machine, table

_CALLS = 100
_GOAL = 2.5

Way = Callable[[int], Awaitable[None]]


class Nothing(LLMCallStrategy[str]):
    """Answers after one turn of the event loop, with the usage of a chat endpoint."""

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> tuple[str, Any]:
        """Answer; the usage is made anew, as it is when it comes out of a reply."""
        await anyio.lowlevel.checkpoint()
        return prompt, {
            "prompt_tokens": 117,
            "completion_tokens": 64,
            "total_tokens": 181,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }


async def bare(count: int) -> None:
    """One AnyIO task per item, a limiter round the call, and results that are kept."""
    limiter, strategy = anyio.CapacityLimiter(_CALLS), Nothing()
    results: dict[int, Any] = {}
    alive, room = 0, anyio.Event()

    async def one(number: int) -> None:
        nonlocal alive
        async with limiter:
            results[number] = await strategy.execute("p", 1, 60)
        alive -= 1
        room.set()

    async with anyio.create_task_group() as group:
        for number in range(count):
            while alive >= _CALLS:
                room = anyio.Event()
                await room.wait()
            alive += 1
            group.start_soon(one, number)
    assert len(results) == count


async def by_hand(count: int) -> None:
    """Bare tasks with a deadline for each call, and errors kept as results."""
    limiter, strategy = anyio.CapacityLimiter(_CALLS), Nothing()
    results: dict[int, Any] = {}
    alive, room = 0, anyio.Event()

    async def one(number: int) -> None:
        nonlocal alive
        try:
            async with limiter:
                with anyio.move_on_after(60):
                    results[number] = await strategy.execute("p", 1, 60)
        except Exception as error:
            results[number] = error
        alive -= 1
        room.set()

    async with anyio.create_task_group() as group:
        for number in range(count):
            while alive >= _CALLS:
                room = anyio.Event()
                await room.wait()
            alive += 1
            group.start_soon(one, number)
    assert len(results) == count


async def collected(count: int) -> None:
    """Our ``run_batch``."""
    result = await run_batch(_prompts(count), Nothing(), concurrency=_CALLS)
    assert result.succeeded == count


async def streamed(count: int) -> None:
    """Our ``stream_batch``."""
    seen = 0
    async with stream_batch(_prompts(count), Nothing(), concurrency=_CALLS) as run:
        async for _ in run:
            seen += 1
    assert seen == count


async def shared(count: int) -> None:
    """Our ``run_batch`` with an open gate of one's own."""
    await run_batch(_prompts(count), Nothing(), concurrency=_CALLS, gate=Gate())


async def aiometer_way(count: int) -> None:
    """The library aiometer: a cap and results, nothing else."""
    import aiometer

    strategy = Nothing()
    calls = [partial(strategy.execute, "p", 1, 60) for _ in range(count)]
    await aiometer.run_all(calls, max_at_once=_CALLS)


async def async_batch_llm_way(count: int) -> None:
    """The library async-batch-llm, which does the same job on asyncio."""
    import async_batch_llm as other

    class Other(other.LLMCallStrategy[str]):
        async def execute(
            self, prompt: str, attempt: int, timeout: float, state: Any = None
        ) -> Any:
            await anyio.lowlevel.checkpoint()
            return prompt, {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}

    strategy = Other()
    config = other.ProcessorConfig(max_workers=_CALLS)
    async with other.ParallelBatchProcessor(config=config) as processor:
        for number in range(count):
            await processor.add_work(
                other.LLMWorkItem(item_id=str(number), strategy=strategy, prompt="p")
            )
        await processor.process_all()


def _prompts(count: int) -> Any:
    return (("n" + str(number), "p") for number in range(count))


WAYS: dict[str, Way] = {
    "bare AnyIO task": bare,
    "by hand": by_hand,
    "run_batch": collected,
    "stream_batch": streamed,
    "run_batch, shared gate": shared,
    "aiometer": aiometer_way,
    "async-batch-llm": async_batch_llm_way,
}
_ONLY_ON = {"async-batch-llm": ("asyncio", "uvloop")}
_NEEDS = {"aiometer": "aiometer", "async-batch-llm": "async_batch_llm"}


def _measure(way: Way, loop: str, count: int) -> float:
    backend, options = LOOPS[loop]
    gc.collect()  # or the way before is paid for by this one: up to 10 µs an item
    begun = time.process_time()
    anyio.run(way, count, backend=backend, backend_options=options)
    return (time.process_time() - begun) / count * 1e6


def _there(name: str, loop: str) -> bool:
    module = _NEEDS.get(name)
    if module is not None and importlib.util.find_spec(module) is None:
        return False
    return loop in _ONLY_ON.get(name, tuple(LOOPS))


def main() -> int:
    """Print a table for each event loop; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of 4,000 items")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--loops", nargs="*", choices=tuple(LOOPS), default=tuple(LOOPS))
    asked = parser.parse_args()
    rounds, count = (1, 4_000) if asked.quick else (asked.rounds, asked.items)
    print(f"{machine()}; {count:,} items, {_CALLS} calls at once, {rounds} rounds")
    missed = False
    for loop in asked.loops:
        if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
            continue
        ways = {
            n: partial(_measure, way, loop, count) for n, way in WAYS.items() if _there(n, loop)
        }
        found = interleaved(ways, rounds)
        floor, hand = found["bare AnyIO task"], found["by hand"]
        rows = [(name, cost, cost / floor, cost / hand) for name, cost in found.items()]
        print()
        print(table((loop, "µs per item", "× bare", "× by hand"), rows), flush=True)
        if found["run_batch"] > _GOAL * floor:
            missed = True
            print(f"  <- run_batch is above the goal of {_GOAL} × bare")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
