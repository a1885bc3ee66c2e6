"""Work that is added while a batch runs: in turn, without a herd, and never in a deadlock."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from batchllm.api import ParallelBatchProcessor
from batchllm.core import InvalidItemError, LLMWorkItem, ProcessorConfig, WorkItemResult

pytestmark = pytest.mark.anyio

Item = LLMWorkItem[Any, Any, Any]
Processor = ParallelBatchProcessor[Any, Any, Any]


async def answer(prompt: str) -> str:
    """Take a second."""
    await anyio.sleep(1)
    return prompt


async def test_items_that_add_more_than_there_is_room_for() -> None:
    """Items that a post-processor adds do not wait for room that its own item holds."""
    count = 0

    async def breed(result: WorkItemResult[Any, Any]) -> None:
        nonlocal count
        for _ in range(4):
            if count < 40:
                count += 1
                await processor.add_work(Item(f"child {count}", prompt="p"))

    processor = Processor(ProcessorConfig(max_workers=1), strategy=answer, post_processor=breed)
    async with processor:
        await processor.add_work(Item("first", prompt="p"))
        result = await processor.process_all()
    assert result.succeeded == 41
    assert all(r.metadata is None for r in result.results)


async def test_producers_wait_in_turn() -> None:
    """Items that are taken let in producers one by one, and the first to come is the first."""
    added: list[int] = []
    async with Processor(ProcessorConfig(max_workers=1, window=2), strategy=answer) as processor:

        async def produce(number: int) -> None:
            await processor.add_work(Item(f"{number}", prompt="p"))
            added.append(number)

        async with anyio.create_task_group() as tasks:
            await processor.add_work(Item("first", prompt="p"))
            tasks.start_soon(processor.process_all)
            await anyio.sleep(0.5)
            for number in range(6):
                tasks.start_soon(produce, number)
                await anyio.sleep(0.01)
            # The run may have one more ready, if it looked for the next before the first began.
            assert added in ([0, 1], [0, 1, 2])
            await anyio.sleep(2)
            assert len(added) in (3, 4, 5)
        assert added == list(range(6))
        assert (await processor.get_stats())["succeeded"] == 7


async def test_a_turn_that_is_not_used_goes_to_the_next() -> None:
    """A producer that is cancelled, or whose item is refused, holds nobody up."""
    async with Processor(ProcessorConfig(max_workers=1, window=1), strategy=answer) as processor:
        refused: list[str] = []

        async def produce(item_id: str) -> None:
            try:
                await processor.add_work(Item(item_id, prompt="p"))
            except InvalidItemError as error:
                refused.append(str(error))

        async with anyio.create_task_group() as tasks:
            await processor.add_work(Item("first", prompt="p"))
            tasks.start_soon(processor.process_all)
            await anyio.sleep(0.5)
            await produce("second")
            with anyio.move_on_after(0.1) as impatient:
                await processor.add_work(Item("never", prompt="p"))
            tasks.start_soon(produce, "first")
            await anyio.sleep(0.1)
            tasks.start_soon(produce, "last")
        assert impatient.cancelled_caught
        assert refused == ["item 'first' was added before; ids must be unique in a batch"]
        assert {r.item_id for r in processor.result.results} == {"first", "second", "last"}
