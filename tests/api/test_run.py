"""The faces of a finite batch: collected, streamed, one call."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from batchllm.api import BatchRun, call, call_result, run_batch, stream_batch
from batchllm.api.options import AUTO_CALLS
from batchllm.cli.settings import AUTO_CEILING
from batchllm.core import (
    BatchFailures,
    Category,
    ClosedError,
    EndCause,
    LLMCallStrategy,
    LLMWorkItem,
    PrepareError,
    ProcessorConfig,
    ProviderError,
    StrategyError,
)
from batchllm.journal import Journal, open_inline_worker
from batchllm.testing import Answer, Hang, Raise, ScriptedStrategy

pytestmark = pytest.mark.anyio


async def test_item_shapes() -> None:
    """Prompts, pairs, triples and work items; ids become text, contexts come back."""
    messages = [{"role": "user", "content": "hello"}]
    items: list[Any] = [
        "text",
        messages,
        ("id", "text"),
        (7, "text"),
        ("with context", messages, {"row": 3}),
        LLMWorkItem("item", ScriptedStrategy(Answer("its own")), "text", context="c"),
    ]
    result = await run_batch(items, ScriptedStrategy(Answer("shared")))
    ordered = result.in_input_order()
    assert [r.item_id for r in ordered] == ["0", "1", "id", "7", "with context", "item"]
    assert [r.output for r in ordered] == ["shared"] * 5 + ["its own"]
    assert [r.context for r in ordered] == [None, None, None, None, {"row": 3}, "c"]


async def test_attributes_of_a_users_items_mean_nothing(tmp_path: Path) -> None:
    """Names that items of provider batches have may be anything on others."""

    class Survey(list[str]):
        termination = "2031-01-01"
        numbers = (1, 2, 3)
        admits = True

    survey = Survey(["a", "b", "c"])
    for _ in range(2):
        journal = Journal(tmp_path / "run.db", worker=open_inline_worker)
        result = await run_batch(survey, ScriptedStrategy(), journal=journal)
        assert (result.succeeded, result.termination.cause) == (3, EndCause.DONE)
        assert "provider_batches" not in result.stats
    assert all(one.replayed for one in result.results)


async def test_nothing_to_do() -> None:
    """An empty batch is done at once, and prepares nothing."""
    strategy = ScriptedStrategy()
    result = await run_batch([], strategy)
    assert (result.total_items, result.termination.complete) == (0, True)
    assert strategy.prepared == 0
    async with stream_batch([], strategy) as run:
        assert [r async for r in run] == []


async def test_callables_and_names() -> None:
    """A function is a strategy; what is none of all is refused before anything runs."""

    async def shout(prompt: str) -> str:
        return prompt.upper()

    assert (await run_batch(["a", "b"], shout)).outputs == ["A", "B"]
    wrong: Any = 42
    with pytest.raises(StrategyError, match="the strategy is an int"):
        await run_batch(["a"], wrong)


async def test_concurrency_goes_before_the_config() -> None:
    """``concurrency`` stands for ``max_workers``."""
    strategy = ScriptedStrategy(Answer(after=1.0))
    config = ProcessorConfig(max_workers=9)
    await run_batch(["a", "b", "c"], strategy, concurrency=1, config=config)
    assert strategy.most_in_flight == 1


async def test_the_cap_can_be_found_out() -> None:
    """``"auto"`` starts with few calls and is not held to the default of five, as it is on the
    command line."""
    strategy = ScriptedStrategy(Answer(after=1.0))
    await run_batch([f"p{i}" for i in range(600)], strategy, concurrency="auto")
    assert 5 < strategy.most_in_flight <= AUTO_CALLS == AUTO_CEILING


async def test_results_can_be_left_out() -> None:
    """``keep_results=False`` keeps the sums only."""
    config = ProcessorConfig(keep_results=False)
    result = await run_batch(["a", "b"], ScriptedStrategy(), config=config)
    assert (list(result.results), result.succeeded) == ([], 2)


async def test_stream_can_keep() -> None:
    """``keep_results=True`` has the stream's results in the end, too."""
    config = ProcessorConfig(keep_results=True)
    async with stream_batch(["a", "b"], ScriptedStrategy(), config=config) as run:
        read = [r async for r in run]
    assert list(run.result.results) == read


async def test_run_before_during_and_after() -> None:
    """A run says at any time how far it is, and serves one batch only."""
    run = BatchRun[Any]()
    assert run.result.termination.cause is EndCause.RUNNING
    with pytest.raises(ClosedError, match="not been started"):
        run.stats()
    async with anyio.create_task_group() as group:

        async def look() -> None:
            await anyio.sleep(1.0)
            assert run.result.succeeded == 2
            assert run.result.termination.cause is EndCause.RUNNING
            assert run.stats()["in_flight"] == 2
            with pytest.raises(ClosedError, match="collects its results"):
                await anext(run)

        group.start_soon(look)
        strategy = ScriptedStrategy({"c": Answer(after=2.0), "d": Answer(after=2.0)})
        result = await run_batch(["a", "b", "c", "d"], strategy, into=run)
    assert run.result.results == result.results
    assert run.result.summary() == result.summary()
    assert run.stats()["in_flight"] == 0
    run.stop()
    assert run.result.termination.cause is EndCause.DONE
    with pytest.raises(ClosedError, match="used already"):
        await run_batch(["a"], strategy, into=run)


async def test_iteration_ends_once() -> None:
    """After the last result, and after the run's own error, there is nothing more."""

    def items() -> Iterator[str]:
        yield "a"
        raise OSError("gone")

    async with stream_batch(items(), ScriptedStrategy()) as run:
        with pytest.raises(Exception, match="gone"):
            async for _ in run:
                pass
        assert [r async for r in run] == []


async def test_groups_of_the_reader_stay_whole() -> None:
    """An error of the block comes out as it was, a group included."""
    group = ExceptionGroup("mine", [ValueError("one")])
    with pytest.raises(ExceptionGroup) as caught:
        async with stream_batch(["a"], ScriptedStrategy()):
            raise group
    assert caught.value.message == "mine"
    assert caught.value.exceptions == group.exceptions


async def test_call() -> None:
    """The value, with all the resilience of a batch."""
    strategy = ScriptedStrategy([Raise(ConnectionError), Answer("ok")])
    assert await call("p", strategy) == "ok"
    assert (strategy.prepared, strategy.cleaned) == (1, 1)
    keep_nothing = ProcessorConfig(keep_results=False)
    result = await call_result("p", strategy, context="c", config=keep_nothing)
    assert (result.output, result.context) == ("ok", "c")


async def test_call_that_fails() -> None:
    """The error of the last attempt; where there is none, a sentence with the result."""
    with pytest.raises(ProviderError, match="no key"):
        await call("p", ScriptedStrategy(Raise(lambda: ProviderError("no key", status=401))))
    with pytest.raises(BatchFailures, match="BaseException") as caught:
        await call("p", ScriptedStrategy(Raise(BaseException("odd"))))
    assert len(caught.value.failures) == 1
    with pytest.raises(PrepareError):
        await call("p", ScriptedStrategy(prepare=Raise(OSError)))
    result = await call_result("p", ScriptedStrategy(Raise(TypeError)))
    assert result.error_category == Category.PROGRAM_ERROR


async def test_memory_stays_flat() -> None:
    """Of five thousand lazy items, only those in the window are alive."""

    class Quick(LLMCallStrategy[Any]):
        async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
            return prompt, None

    class Item(LLMWorkItem[Any, Any, Any]):
        """A work item that can be referred to weakly."""

    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    def items() -> Iterator[Any]:
        nonlocal most
        for i in range(5_000):
            if i % 250:
                yield "prompt"
                continue
            item = Item(f"marked {i}", None, "prompt")
            alive.add(item)
            most = max(most, len(alive))
            yield item
            del item

    gc.collect()
    before = len(gc.get_objects())
    count = 0
    async with stream_batch(items(), Quick(), concurrency=50) as run:
        async for _ in run:
            count += 1
            if count == 4_000:
                gc.collect()
                assert len(gc.get_objects()) - before < 2_000
    assert count == run.result.succeeded == 5_000
    assert most <= 3


async def test_two_batches_side_by_side() -> None:
    """Runs know nothing of each other."""
    results: dict[str, Any] = {}

    async def run(name: str) -> None:
        items = [(f"{name}{i}", f"{name}{i}") for i in range(20)]
        results[name] = await run_batch(items, ScriptedStrategy(Answer(after=0.1)), concurrency=3)

    async with anyio.create_task_group() as group:
        group.start_soon(run, "a")
        group.start_soon(run, "b")
    for name, result in results.items():
        assert sorted(result.outputs) == sorted(f"{name}{i}" for i in range(20))


async def test_reader_in_another_task() -> None:
    """A run may be read by several tasks; each result goes to one of them."""
    read: list[str] = []

    async def reader(run: BatchRun[Any]) -> None:
        async for result in run:
            read.append(result.item_id)
            await anyio.sleep(0.01)

    async with (
        stream_batch([f"p{i}" for i in range(50)], ScriptedStrategy()) as run,
        anyio.create_task_group() as group,
    ):
        for _ in range(3):
            group.start_soon(reader, run)
    assert sorted(read, key=int) == [str(i) for i in range(50)]


async def test_stop_lets_a_stream_end() -> None:
    """The reader gets what is left, then the end."""
    strategy = ScriptedStrategy([Answer(), Answer(), Hang()], per_call=True)
    config = ProcessorConfig(drain_grace=1.0)
    async with stream_batch(
        (f"p{i}" for i in range(99)), strategy, config=config, concurrency=2
    ) as run:
        first = await anext(run)
        run.stop(reason="enough")
        rest = [r async for r in run]
    assert first.success
    assert run.result.termination.reason == "enough"
    assert run.result.total_items == 1 + len(rest)
