"""Log records, and strategies, that know for which item they are."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
import structlog
from pythonjsonlogger.json import JsonFormatter

from batchllm.api import ParallelBatchProcessor, call, open_pool, run_batch
from batchllm.core import CurrentItem, LLMWorkItem, ProcessorConfig, RetryConfig, current_item
from batchllm.observers import ItemContext
from batchllm.testing import Raise, ScriptedStrategy

pytestmark = pytest.mark.anyio

logger = logging.getLogger("tests.of.a.strategy")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Give what the root logger's handler writes, as JSON."""
    stream, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.addFilter(ItemContext())
    handler.setFormatter(JsonFormatter("%(message)s"))
    levels = {one: one.level for one in (root, logging.getLogger("batchllm"))}
    for one in levels:
        one.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)
    for one, level in levels.items():
        one.setLevel(level)


def read(stream: io.StringIO, message: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [one for one in records if message in one["message"]]


async def flaky(prompt: str) -> str:
    await anyio.sleep(1)
    logger.info("asking")
    item = current_item()
    if item is not None and item.attempt == 1:
        raise ConnectionError
    await anyio.to_thread.run_sync(logger.info, "in a thread")
    return prompt


async def test_lines_of_a_strategy_have_its_item(lines: io.StringIO) -> None:
    """On every attempt, in a worker thread too; outside of items they have none."""
    logger.info("outside")
    await run_batch([("a", "p"), ("b", "p")], flaky)
    asked = read(lines, "asking")
    assert sorted((one["item_id"], one["attempt"]) for one in asked) == [
        ("a", 1), ("a", 2), ("b", 1), ("b", 2),
    ]  # fmt: skip
    assert len({one["batch"] for one in asked}) == 1
    assert {one["item_id"] for one in read(lines, "in a thread")} == {"a", "b"}
    assert read(lines, "outside")[0]["item_id"] is None


async def test_lines_of_the_library_have_their_item(lines: io.StringIO) -> None:
    """Each attempt, under ``enable_detailed_logging``."""
    config = ProcessorConfig(enable_detailed_logging=True, retry=RetryConfig(max_attempts=1))
    await run_batch([("a", "p")], ScriptedStrategy(Raise(ValueError())), config=config)
    (line,) = read(lines, "failed in")
    assert (line["item_id"], line["attempt"]) == ("a", 1)


async def test_what_a_record_has_already_stays(lines: io.StringIO) -> None:
    """A program may use the names for something of its own."""

    async def answer(prompt: str) -> str:
        logger.info("own", extra={"batch": "nightly"})
        return prompt

    await run_batch([("a", "p")], answer)
    (line,) = read(lines, "own")
    assert (line["item_id"], line["batch"]) == ("a", "nightly")


async def test_structlog_takes_it_as_a_processor() -> None:
    """Events outside of items are left as they are."""
    seen: list[dict[str, Any]] = []

    def keep(logger: Any, method: str, event: Any) -> Any:
        seen.append(dict(event))
        raise structlog.DropEvent

    log = structlog.wrap_logger(None, processors=[ItemContext(), keep])

    async def answer(prompt: str) -> str:
        log.info("asking", attempt="mine")
        return prompt

    log.info("outside")
    await run_batch([("a", "p")], answer)
    batch = seen[1].pop("batch")
    assert len(batch) == 8
    assert seen == [
        {"event": "outside"},
        {"event": "asking", "attempt": "mine", "item_id": "a"},
    ]


async def test_every_way_in_knows_its_item() -> None:
    """Pools, single calls and processors; each run has a name of its own."""
    seen: list[CurrentItem | None] = []

    async def answer(prompt: str) -> str:
        seen.append(current_item())
        return prompt

    async with open_pool(answer) as pool:
        await pool.call("p")
    await call("p", answer)
    async with ParallelBatchProcessor[Any, Any, Any](strategy=answer) as processor:
        await processor.add_work(LLMWorkItem("added", prompt="p"))
        await processor.process_all()
    assert [one and (one.item_id, one.attempt) for one in seen] == [
        ("call-1", 1), ("call", 1), ("added", 1),
    ]  # fmt: skip
    assert len({one and one.batch for one in seen}) == 3
    assert current_item() is None


async def test_post_processors_know_their_item() -> None:
    """A sync one too, in its thread."""
    seen: list[str] = []

    def keep(result: Any) -> None:
        item = current_item()
        seen.append("" if item is None else item.item_id)

    await run_batch([("a", "p"), ("b", "p")], ScriptedStrategy(), post_processor=keep)
    assert sorted(seen) == ["a", "b"]
