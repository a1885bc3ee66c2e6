"""Strategies are prepared once and cleaned up once, whatever happens in between."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from attrs import define

from batchllm.api import run_batch, stream_batch
from batchllm.core import (
    LLMCallStrategy,
    LLMWorkItem,
    PrepareError,
    ProcessorConfig,
    ProgramError,
    RetryState,
)
from batchllm.testing import (
    Answer,
    Hang,
    LeaveScopeOpen,
    Raise,
    ScriptedStrategy,
    Step,
    virtual_run,
)

pytestmark = pytest.mark.anyio


class Composite(LLMCallStrategy[Any]):
    """Calls its parts, one after the other, and writes down what is done to it."""

    quota_scope = None

    def __init__(self, name: str, log: list[str], *parts: LLMCallStrategy[Any]) -> None:
        self.name, self.log, self.parts = name, log, parts

    async def prepare(self) -> None:
        self.log.append(f"+{self.name}")

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState
    ) -> tuple[Any, Any]:
        for part in self.parts:
            await state.call(part, prompt, attempt, timeout)
        return self.name, None

    async def cleanup(self) -> None:
        self.log.append(f"-{self.name}")


class Part(Composite):
    """One that has no parts of its own, and calls nothing."""

    quota_scope = LLMCallStrategy.quota_scope


async def test_once_under_concurrency() -> None:
    """A hundred items that come at once wait for one ``prepare``."""
    strategy = ScriptedStrategy(prepare=Answer(after=5.0))
    result = await run_batch([f"p{i}" for i in range(100)], strategy, concurrency=50)
    assert result.succeeded == 100
    assert (strategy.prepared, strategy.cleaned) == (1, 1)
    assert min(call.started for call in strategy.calls) == 5.0


async def test_equal_strategies_are_two() -> None:
    """Instances are told apart by identity, also where they are equal or cannot be hashed."""

    @define
    class Equal(LLMCallStrategy[Any]):
        prepared: int = 0

        async def prepare(self) -> None:
            self.prepared += 1

        async def execute(self, *args: Any) -> Any:
            return "x", None

    strategies = [Equal(), Equal()]
    await run_batch([LLMWorkItem(i, s, "p") for i, s in enumerate(strategies)])  # type: ignore[arg-type]
    assert [s.prepared for s in strategies] == [1, 1]


async def test_parts_come_first_and_go_last() -> None:
    """A part that two composites share is prepared once, before both, and cleaned up after."""
    log: list[str] = []
    shared = Part("shared", log)
    inner = Composite("inner", log, shared)
    outer = Composite("outer", log, inner, shared)
    result = await run_batch(["a", "b"], outer, concurrency=1)
    assert result.succeeded == 2
    assert log == ["+shared", "+inner", "+outer", "-outer", "-inner", "-shared"]


async def test_called_part_that_is_not_listed() -> None:
    """A part that a composite calls without listing it is prepared at the first call."""
    log: list[str] = []
    unlisted = Part("unlisted", log)

    class Secretive(Composite):
        async def execute(
            self, prompt: Any, attempt: int, timeout: float, state: RetryState
        ) -> tuple[Any, Any]:
            return await state.call(unlisted, prompt, attempt, timeout)

    await run_batch(["a", "b"], Secretive("secretive", log))
    assert log == ["+secretive", "+unlisted", "-unlisted", "-secretive"]


async def test_cancelled_while_preparing() -> None:
    """A preparation that was begun is cleaned up."""
    strategy = ScriptedStrategy(prepare=Hang())
    with anyio.move_on_after(1.0):
        await run_batch(["a", "b"], strategy)
    assert (strategy.prepared, strategy.cleaned) == (1, 1)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Raise(ValueError("no key")), "raised ValueError: no key"),
        (Hang(), "took longer than prepare_timeout"),
        (Hang(then=Raise(ValueError())), "took longer than prepare_timeout"),
    ],
)
async def test_prepare_fails(step: Step, words: str) -> None:
    """It is told which strategy it was and why; what it took is let go of."""
    strategy = ScriptedStrategy(prepare=step)
    config = ProcessorConfig(prepare_timeout=3.0)
    with pytest.raises(PrepareError, match=words):
        await run_batch(["a", "b"], strategy, config=config)
    assert (strategy.prepared, strategy.cleaned) == (1, 1)


async def test_part_fails_to_prepare() -> None:
    """A composite of it is never prepared, and so not cleaned up."""
    log: list[str] = []
    broken = ScriptedStrategy(prepare=Raise(OSError("down")))
    with pytest.raises(PrepareError, match="ScriptedStrategy"):
        await run_batch(["a", "b"], Composite("outer", log, broken))
    assert log == []
    assert (broken.prepared, broken.cleaned) == (1, 1)


def test_prepare_leaves_a_scope_open() -> None:
    """An open scope is against the rules: the batch ends with a program error, and cleans up."""
    strategy = ScriptedStrategy(prepare=LeaveScopeOpen())
    for backend in ("asyncio", "trio"):
        with pytest.raises(ProgramError, match="left a cancel scope"):
            virtual_run(run_batch, ["a", "b"], strategy, backend=backend)  # type: ignore[arg-type]
    assert strategy.cleaned == 2


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Raise(ValueError("busy")), "ScriptedStrategy.cleanup() raised ValueError: busy"),
        (Hang(), "took longer than cleanup_timeout (10 s)"),
    ],
)
async def test_cleanup_goes_wrong(step: Step, words: str) -> None:
    """It is a warning, never in place of a result, and the others are cleaned up all the same."""
    bad, good = ScriptedStrategy(cleanup=step), ScriptedStrategy()
    items = [LLMWorkItem("a", good, "p"), LLMWorkItem("b", bad, "p"), LLMWorkItem("c", good, "p")]
    result = await run_batch(items)
    assert result.succeeded == 3
    assert [words in warning for warning in result.warnings] == [True]
    assert (bad.cleaned, good.cleaned) == (1, 1)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cleanup_leaves_a_scope_open(backend: Any) -> None:
    """Even so the results are there, and the others are cleaned up."""
    bad, good = ScriptedStrategy(cleanup=LeaveScopeOpen()), ScriptedStrategy()
    items = [LLMWorkItem("a", good, "p"), LLMWorkItem("b", bad, "p"), LLMWorkItem("c", good, "p")]
    result = virtual_run(run_batch, items, backend=backend)
    assert result.succeeded == 3
    assert ["left a cancel scope" in warning for warning in result.warnings] == [True]
    assert (bad.cleaned, good.cleaned) == (1, 1)


async def test_cancelled_in_cleanup() -> None:
    """A cancellation waits for the cleanup, no longer than its deadline."""
    strategy = ScriptedStrategy(cleanup=Answer(after=4.0))
    hanging = ScriptedStrategy(cleanup=Hang())
    items = [LLMWorkItem("a", strategy, "p"), LLMWorkItem("b", hanging, "p")]
    with anyio.move_on_after(1.0):
        await run_batch(items)
    assert anyio.current_time() == 14.0
    assert (strategy.cleaned, hanging.cleaned) == (1, 1)


async def test_sync_hooks() -> None:
    """``prepare`` and ``cleanup`` need not be async."""
    log: list[str] = []

    class Plain(LLMCallStrategy[Any]):
        def prepare(self) -> None:  # type: ignore[override]
            log.append("prepare")

        async def execute(self, *args: Any) -> Any:
            return "x", None

        def cleanup(self) -> None:  # type: ignore[override]
            log.append("cleanup")

    result = await run_batch(["a"], Plain())
    assert (result.succeeded, list(result.warnings)) == (1, [])
    assert log == ["prepare", "cleanup"]


@pytest.mark.parametrize("composite", [False, True])
async def test_unmanaged_strategies_are_not_remembered(composite: bool) -> None:
    """One that has nothing to prepare leaves nothing behind, so a million of them may come.

    Neither does a composite of its own for each item, over a part that they share.
    """
    import weakref

    class Light(LLMCallStrategy[Any]):
        async def execute(self, *args: Any) -> Any:
            return "x", None

    log: list[str] = []
    shared = Part("shared", log)

    class Both(LLMCallStrategy[Any]):
        quota_scope = None

        def __init__(self) -> None:
            self.parts = (shared,)

        async def execute(
            self, prompt: Any, attempt: int, timeout: float, state: RetryState
        ) -> Any:
            return await state.call(shared, prompt, attempt, timeout)

    alive: list[weakref.ref[Any]] = []
    most = 0

    def items() -> Any:
        nonlocal most
        for i in range(600):
            strategy = Both() if composite else Light()
            alive.append(weakref.ref(strategy))
            yield LLMWorkItem(i, strategy, "p")  # type: ignore[arg-type]
            del strategy
            most = max(most, sum(ref() is not None for ref in alive))

    result = await run_batch(items(), concurrency=4)
    assert result.succeeded == 600
    assert most < 300
    assert log == (["+shared", "-shared"] if composite else [])


async def test_parts_that_contain_each_other_are_refused() -> None:
    """Neither could be prepared first, from whichever side items come; the error names both."""
    log: list[str] = []
    one, two = Composite("one", log), Composite("two", log)
    one.parts, two.parts = (two,), (one,)
    with anyio.fail_after(60):
        result = await run_batch([LLMWorkItem("a", one, "p"), LLMWorkItem("b", two, "p")])
    assert {each.error_category for each in result.results} == {"program_error"}
    assert "Composite → Composite → Composite" in str(result.results[0].error)
    assert log == []


async def test_deadline_while_another_prepares() -> None:
    """An item that waits for the ``prepare`` that another began waits no longer than it has."""
    strategy = ScriptedStrategy(prepare=Answer(after=100.0))
    seen: dict[str, float] = {}
    start = anyio.current_time()
    config = ProcessorConfig(deadline_per_item=5.0, prepare_timeout=None)
    async with stream_batch(["a", "b"], strategy, config=config) as run:
        async for each in run:
            seen[each.item_id] = anyio.current_time() - start
            assert each.error_category == "timeout"
            assert "deadline_per_item" in str(each.error)
    assert sorted(seen.values()) == [5.0, 100.0]


async def test_deadline_while_another_prepares_a_part() -> None:
    """The composite that is not ready for want of time is prepared by the next that needs it."""
    log: list[str] = []
    part = ScriptedStrategy(prepare=Answer(after=10.0))
    outer = Composite("outer", log, part)

    async def items() -> Any:
        yield LLMWorkItem("part", part, "p")
        await anyio.sleep(1.0)
        yield LLMWorkItem("early", outer, "p")
        await anyio.sleep(7.0)
        yield LLMWorkItem("late", outer, "p")

    config = ProcessorConfig(deadline_per_item=5.0, prepare_timeout=None)
    start, ended = anyio.current_time(), {}
    async with stream_batch(items(), config=config) as run:
        async for each in run:
            ended[each.item_id] = (anyio.current_time() - start, each.error_category)
    assert ended["early"] == (6.0, "timeout")
    assert ended["late"] == (10.0, None)
    assert log == ["+outer", "-outer"]
