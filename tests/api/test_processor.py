"""Leaving a processor: what becomes of a batch that still runs, and of its strategies."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import anyio
import pytest

from batchllm.api import ParallelBatchProcessor
from batchllm.core import (
    BatchResult,
    EndCause,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessorConfig,
    WorkItemResult,
)

pytestmark = pytest.mark.anyio


class Managed(LLMCallStrategy[str]):
    """Takes a second for each answer, and records what happens to it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def prepare(self) -> None:
        self.log.append("prepare")

    async def cleanup(self) -> None:
        self.log.append("cleanup")

    async def execute(self, prompt: str, attempt: int, timeout: float) -> tuple[str, None]:
        assert self.log[-1] == "prepare"
        await anyio.sleep(1.0)
        return prompt, None


async def add_ten(processor: ParallelBatchProcessor[Any, Any, Any]) -> None:
    for number in range(10):
        await processor.add_work(LLMWorkItem(str(number), prompt=str(number)))


@pytest.mark.parametrize("how", ["leave", "cleanup", "shutdown", "cancelled"])
async def test_leaving_cancels_a_batch_that_runs(how: str) -> None:
    """No call starts afterwards, and what was prepared is cleaned up once and for all."""
    strategy = Managed()
    results: list[BatchResult[Any, Any]] = []
    start = anyio.current_time()

    async def process() -> None:
        results.append(await processor.process_all())

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with ParallelBatchProcessor[Any, Any, Any](
                ProcessorConfig(max_workers=2), strategy=strategy
            ) as processor:
                await add_ten(processor)
                tasks.start_soon(process)
                await anyio.sleep(2.5)
                if how == "cleanup":
                    await processor.cleanup()
                elif how == "shutdown":
                    await processor.shutdown()
                elif how == "cancelled":
                    scope.cancel()
                    await anyio.sleep(1.0)
    assert anyio.current_time() - start == pytest.approx(2.5)
    (result,) = results
    assert result.termination.cause is EndCause.STOPPED
    assert result.succeeded == 4
    assert strategy.log == ["prepare", "cleanup"]


async def test_a_batch_that_ends_its_own_processor_does_not_wait_for_itself() -> None:
    """A hook that calls cleanup() is waited for by the batch for which it waits."""
    strategy = Managed()
    config = ProcessorConfig(max_workers=2, cleanup_timeout=3.0)

    async def end(result: WorkItemResult[Any, Any]) -> None:
        await processor.cleanup()

    processor = ParallelBatchProcessor[Any, Any, Any](config, strategy=strategy, post_processor=end)
    await add_ten(processor)
    start = anyio.current_time()
    result = await processor.process_all()
    assert anyio.current_time() - start < 10.0
    assert result.termination.cause is EndCause.STOPPED
    assert strategy.log == ["prepare", "cleanup"]


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]
)
async def test_a_copy_of_the_settings_is_their_value(copied: Any) -> None:
    """It is no view of the processor, which it could change from anywhere."""
    processor = ParallelBatchProcessor[Any, Any, Any](ProcessorConfig(max_workers=3))
    processor.config.max_workers = 4
    assert copied(processor.config) == processor.config.current
    assert isinstance(copied(processor.config), ProcessorConfig)
