"""The objects that a batch holds depend on its window, not its length: row 47 of the faults.

Megabytes over a million items are measured by ``python -m benchmarks.memory``; here objects are
counted, which no other work of the machine changes.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from batchllm.api import stream_batch
from batchllm.core import LLMCallStrategy, LLMWorkItem, ProcessorConfig, WorkItemResult
from batchllm.engine.item import ItemRun
from batchllm.journal import Entry, Journal, open_inline_worker

pytestmark = pytest.mark.anyio

ITEMS = 1_000
CALLS = 100
WINDOW = 2 * CALLS


class Own(LLMCallStrategy[str]):
    """A strategy that each item brings for itself."""

    def __init__(self, number: int) -> None:
        self.number = number

    async def execute(self, prompt: Any, attempt: int, timeout: float, *args: Any) -> Any:
        await anyio.sleep(1.0 + self.number % 7 / 10)
        return f"{prompt} {self.number}", {"input_tokens": 1, "output_tokens": 1}


KINDS = (Own, LLMWorkItem, ItemRun, Entry, WorkItemResult)


@pytest.fixture(autouse=True)
def apart() -> Iterator[None]:
    """Leave out of each count what was there before: to go through it takes 0.3 s."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def live() -> Counter[str]:
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects() if type(one) in KINDS)


def items(own: bool) -> Iterator[LLMWorkItem[Any, Any, Any]]:
    for n in range(ITEMS):
        yield LLMWorkItem(f"n{n}", Own(n) if own else None, prompt=f"prompt {n}")


@pytest.mark.parametrize("journal", [False, True], ids=["plain", "journal"])
@pytest.mark.parametrize("own", [False, True], ids=["one strategy", "one for each"])
async def test_what_is_alive_is_what_is_in_the_window(
    tmp_path: Path, journal: bool, own: bool
) -> None:
    """Items, their books, entries, results and strategies, with hundreds of calls in flight."""
    most, seen = Counter[str](), 0
    settings = Journal(tmp_path / "run.db", worker=open_inline_worker) if journal else None
    config = ProcessorConfig(max_workers=CALLS)
    async with stream_batch(items(own), Own(0), config=config, journal=settings) as run:
        async for _ in run:
            seen += 1
            if seen % 100 == 0:
                most |= live()
    assert seen == ITEMS
    assert set(most) >= {"ItemRun", "LLMWorkItem", "WorkItemResult"}
    assert max(most.values()) <= WINDOW + CALLS
