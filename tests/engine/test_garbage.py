"""An item leaves nothing that only the garbage collector can free."""

from __future__ import annotations

import gc
from collections.abc import Generator

import anyio
import pytest

from batchllm import LLMCallStrategy, run_batch
from batchllm.core import TokenUsage

pytestmark = pytest.mark.anyio

_ITEMS = 1_000


class Echo(LLMCallStrategy[str]):
    """Gives the prompt back after one turn of the event loop."""

    async def execute(
        self, prompt: str, attempt: int, timeout: float
    ) -> tuple[str, TokenUsage | None]:
        """Answer."""
        await anyio.lowlevel.checkpoint()
        return prompt, {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}


@pytest.fixture
def by_hand() -> Generator[None]:
    """Let nothing be collected but by the test."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.usefixtures("by_hand")
async def test_what_an_item_made_is_freed_as_it_ends() -> None:
    """A reference cycle per call made the collector run for each of them: 5 % of an item's cost."""
    prompts = [f"p{number}" for number in range(_ITEMS)]
    await run_batch(prompts[:10], Echo())  # what is made once
    gc.collect()
    result = await run_batch(prompts, Echo(), concurrency=20)
    # A run has some of its own; less than one for every second item is none of the items'.
    assert gc.collect() < _ITEMS / 2
    assert result.succeeded == _ITEMS
