"""Items, sleepers and results in motion: who waits for whom, and who must not."""

from __future__ import annotations

import contextvars
from typing import Any

import anyio
import pytest

from batchllm.api import ParallelBatchProcessor, run_batch, stream_batch
from batchllm.core import (
    BaseMiddleware,
    Category,
    ErrorClassifier,
    ErrorInfo,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessorConfig,
    ProviderError,
    QuotaScope,
    RetryConfig,
    ServerHint,
    TokenUsage,
)
from batchllm.gate import Gate
from batchllm.policy import Limit
from batchllm.testing import Answer, Hang, Raise, ScriptedStrategy

pytestmark = pytest.mark.anyio


async def test_sleepers_do_not_delay_the_rest_when_each_first_attempt_fails() -> None:
    """First attempts that fail are no dead endpoint while another item is answered now and then."""
    failing = [i for i in range(100) if i % 5]
    script = {f"p{i}": [Raise(ConnectionError, after=0.05), Answer(after=0.05)] for i in failing}
    strategy = ScriptedStrategy(script)
    retry = RetryConfig(initial_wait=60.0, jitter=False)
    config = ProcessorConfig(max_workers=10, retry=retry, timeout_per_item=300.0)
    result = await run_batch([f"p{i}" for i in range(101)], strategy, config=config)
    last = next(call for call in strategy.calls if call.prompt == "p100")
    assert last.started < 2.0
    assert result.succeeded == 101
    assert result.wall_time < 70.0


@pytest.mark.parametrize("middlewares", [[], [BaseMiddleware()]], ids=["plain", "middleware"])
async def test_sleepers_do_not_delay_the_rest(middlewares: Any) -> None:
    """A hundred items in a backoff of a minute hold neither a call nor room in the window."""

    class InAMinute(ErrorClassifier):
        def classify(self, exception: BaseException) -> ErrorInfo | None:
            return ErrorInfo(True, False, False, Category.BAD_OUTPUT, suggested_wait=60.0)

    failing = [Raise(ValueError, after=0.05), Answer(after=0.05)]
    strategy = ScriptedStrategy({f"p{i}": failing for i in range(100)})
    items = [f"p{i}" for i in range(101)]
    result = await run_batch(
        items,
        strategy,
        concurrency=10,
        middlewares=middlewares,
        error_classifier=InAMinute(),
    )
    last = next(call for call in strategy.calls if call.prompt == "p100")
    assert last.started < 2.0
    assert result.succeeded == 101
    assert strategy.most_in_flight <= 10
    assert result.wall_time < 63.0


async def test_sleepers_are_bounded() -> None:
    """Beyond ``max_sleeping`` the feed waits."""
    strategy = ScriptedStrategy([Raise(ConnectionError), Answer()])
    config = ProcessorConfig(
        max_workers=2,
        max_sleeping=5,
        retry=RetryConfig(initial_wait=60.0, jitter=False),
    )
    taken = 0

    def items() -> Any:
        nonlocal taken
        for i in range(30):
            taken += 1
            yield f"p{i}"

    async with stream_batch(items(), strategy, config=config) as run:
        await anyio.sleep(30.0)
        assert 5 <= taken <= 10
        assert len([r async for r in run]) == 30


@pytest.mark.parametrize("slow_hook", [False, True])
async def test_cooling_scope_does_not_delay_another(slow_hook: bool) -> None:
    """Items that wait for one provider make room for those of another."""

    class Refused(ScriptedStrategy):
        async def on_error(self, exception: BaseException, attempt: int, *args: Any) -> None:
            if slow_hook:
                await anyio.sleep(1.0)

    limit = Raise(lambda: ProviderError("wait", status=429, hint=ServerHint(wait=60.0)))
    cooling = Refused([*[limit] * 5, Answer()], per_call=True, scope=QuotaScope("cooling"))
    other = ScriptedStrategy(scope=QuotaScope("other"))
    items = [LLMWorkItem(f"a{i}", cooling, "p") for i in range(20)]
    items += [LLMWorkItem(f"b{i}", other, "p") for i in range(20)]
    result = await run_batch(items, concurrency=5, middlewares=[BaseMiddleware()])
    assert result.succeeded == 40
    assert max(call.started for call in other.calls) < 5.0


async def test_concurrency_is_exact() -> None:
    """Never more calls than that, and that many as soon as there are items."""
    strategy = ScriptedStrategy(Answer(after=1.0))
    result = await run_batch([f"p{i}" for i in range(35)], strategy, concurrency=7)
    assert strategy.most_in_flight == 7
    assert result.wall_time == 5.0  # five rounds: a cold start begins with eight calls


async def test_ordered_holds_back_a_bounded_number() -> None:
    """One slow item at the head stops the feed at ``reorder_window``, and no sooner."""
    strategy = ScriptedStrategy({"p0": Answer(after=100.0)})
    config = ProcessorConfig(max_workers=3, reorder_window=20)
    async with stream_batch(
        (f"p{i}" for i in range(500)), strategy, config=config, ordered=True
    ) as run:
        await anyio.sleep(50.0)
        assert len(strategy.calls) == 20
        order = [result.submission_index async for result in run]
    assert order == list(range(500))


async def test_priority() -> None:
    """Among those that wait, the higher number goes first."""
    strategy = ScriptedStrategy(Answer(after=1.0))
    items = [LLMWorkItem(f"n{i}", strategy, f"p{i}", priority=i) for i in range(9)]
    config = ProcessorConfig(max_workers=1, window=9)
    await run_batch(items, config=config, middlewares=[BaseMiddleware()])
    assert strategy.prompts[1:] == sorted(strategy.prompts[1:], reverse=True)


async def test_context_of_the_submitter() -> None:
    """Context variables are the caller's own, and none leaks from item to item."""
    variable = contextvars.ContextVar("variable", default="unset")

    class Leaky(LLMCallStrategy[Any]):
        async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
            seen = variable.get()
            variable.set(prompt)
            return seen, None

    variable.set("mine")
    result = await run_batch(["a", "b", "c"], Leaky(), concurrency=1)
    assert result.outputs == ["mine"] * 3


async def test_context_of_those_who_add_work() -> None:
    """An item that was added to a processor has the context in which it was added."""
    variable = contextvars.ContextVar("variable", default="unset")

    async def answer(prompt: str) -> str:
        seen = variable.get()
        variable.set(prompt)
        if prompt == "parent":
            variable.set("added by a strategy")
            await processor.add_work(LLMWorkItem("child", prompt="p"))
        return seen

    async with ParallelBatchProcessor[Any, Any, Any](strategy=answer) as processor:
        for name in ("one", "two", "parent"):
            variable.set(f"of {name}")
            await processor.add_work(LLMWorkItem(name, prompt=name))
        variable.set("of process_all")
        results = (await processor.process_all()).by_id()
    assert {name: result.output for name, result in results.items()} == {
        "one": "of one",
        "two": "of two",
        "parent": "of parent",
        "child": "added by a strategy",
    }


async def test_rude_neighbour() -> None:
    """Items that hang or fail do not touch those beside them, nor take each other's answers."""
    strategy = ScriptedStrategy(
        {f"p{i}": [Hang(), Raise(ValueError), Answer(after=9.0)][i % 3] for i in range(60)}
    )
    config = ProcessorConfig(
        max_workers=10, attempt_timeout=20.0, retry=RetryConfig(max_attempts=1)
    )
    result = await run_batch([(f"n{i}", f"p{i}", i) for i in range(60)], strategy, config=config)
    assert len(result.by_id()) == 60
    for r in result.results:
        number = int(r.item_id[1:])
        assert (r.submission_index, r.context) == (number, number)
        assert r.output == (f"p{number}" if number % 3 == 2 else None)


class _Scoped(LLMCallStrategy[str]):
    """Takes *seconds* for each call, in a scope of its own."""

    def __init__(self, seconds: float) -> None:
        self.quota_scope = QuotaScope(str(id(self)))
        self._seconds = seconds
        self.started: list[float] = []

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> tuple[str, None]:
        self.started.append(anyio.current_time())
        await anyio.sleep(self._seconds)
        return "", None


class _Preparing(_Scoped):
    async def prepare(self) -> None:
        await anyio.sleep(50.0)


@pytest.mark.parametrize("held", ["at its gate", "by its preparation"])
async def test_an_item_that_waits_before_its_call_leaves_it_to_the_next(held: str) -> None:
    """The last free call is not kept for an item that cannot make it yet."""
    long, quick = _Scoped(100.0), _Scoped(1.0)
    slow = _Scoped(1.0) if held == "at its gate" else _Preparing(1.0)
    first = slow if held == "at its gate" else quick
    gate = Gate(scope=slow.quota_scope, limits=[Limit("requests", 1, per=50.0)])
    begun = anyio.current_time()
    items = [
        LLMWorkItem(str(number), strategy, "p")
        for number, strategy in enumerate([long, first, slow, quick])
    ]
    result = await run_batch(items, concurrency=2, gate=gate)
    assert result.succeeded == 4
    assert quick.started[-1] - begun < 5.0
    assert slow.started[-1] - begun >= 50.0


class _Uneven(LLMCallStrategy[str]):
    """Answers after times that differ, so that now one call ends alone and now several do."""

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> tuple[str, None]:
        """Answer."""
        await anyio.sleep(1.0 + int(prompt[1:]) % 5 / 10)
        return str(prompt), None


async def test_no_item_is_started_for_a_call_that_another_is_about_to_take() -> None:
    """Trio may run the feed again before the items that it has started hold their calls."""
    gate = Gate(calls=20)
    for is_warm in (False, True):
        result = await run_batch(range_of(400), _Uneven(), concurrency=20, gate=gate)
        assert result.succeeded == 400
        if is_warm:  # before, the gate lets few calls through
            assert result.stats["waits"]["admission_wait"] == 0.0


@pytest.mark.parametrize("calls", [1, 3])
async def test_dry_runs_take_no_call_from_each_other(calls: int) -> None:
    """They go on beside each other, as many as the window holds."""

    class Slow(_Uneven):
        async def dry_run(self, prompt: Any) -> tuple[str, TokenUsage]:
            await anyio.sleep(10.0)
            return str(prompt), {}

    config = ProcessorConfig(max_workers=calls, window=30, dry_run=True)
    result = await run_batch(range_of(30), Slow(), config=config)
    assert result.succeeded == 30
    assert result.wall_time < 11.0


def range_of(count: int) -> list[str]:
    """Return so many prompts."""
    return [f"p{n}" for n in range(count)]
