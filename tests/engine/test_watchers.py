"""Span observers: what begins also ends, in its own task, however the run ends."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
import pytest

from batchllm.api import BatchRun, open_pool, run_batch
from batchllm.core import (
    BatchError,
    CallEnd,
    CallStart,
    EndCause,
    HedgeConfig,
    LLMWorkItem,
    ProcessorConfig,
    ProviderError,
    RetryConfig,
    RunStart,
    ServerHint,
    SpanObserver,
    Tally,
    Termination,
    WorkItemResult,
)
from batchllm.engine import CANCEL, DRAIN
from batchllm.llm_strategies import Fallback
from batchllm.middleware import SkippingMiddleware
from batchllm.testing import Answer, Hang, Raise, ScriptedStrategy
from tests.engine.faces import FACES, Face, after, run_face

pytestmark = pytest.mark.anyio

INSIDE: ContextVar[tuple[str, ...]] = ContextVar("inside", default=())


class Watch(SpanObserver):
    """Keeps what it sees, and a context variable that names what the running task is inside of."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.runs: list[tuple[RunStart, Termination, Tally]] = []
        self.results: dict[str, WorkItemResult[Any, Any] | None] = {}
        self.calls: list[tuple[CallStart, CallEnd]] = []

    def run_started(self, run: RunStart) -> RunStart:
        self.open.add("run")
        return run

    def run_ended(self, run: RunStart, termination: Termination, tally: Tally) -> None:
        assert self.open == {"run"}
        self.open.clear()
        self.runs.append((run, termination, tally))

    def item_started(self, run: RunStart, item: LLMWorkItem[Any, Any, Any]) -> Any:
        assert "run" in self.open
        self.open.add(item.item_id)
        return item.item_id, INSIDE.set((*INSIDE.get(), item.item_id))

    def item_ended(self, item: Any, result: WorkItemResult[Any, Any] | None) -> None:
        name, token = item
        INSIDE.reset(token)  # which raises in another task than the one that it was set in
        self.open.remove(name)
        self.results[name] = result

    def call_started(self, item: Any, call: CallStart) -> Any:
        assert item[0] == call.item_id
        name = f"call of {call.item_id} {len(self.calls)} {len(self.open)}"
        self.open.add(name)
        return name, call, INSIDE.set((*INSIDE.get(), "call"))

    def call_ended(self, call: Any, end: CallEnd) -> None:
        name, start, token = call
        INSIDE.reset(token)
        self.open.remove(name)
        self.calls.append((start, end))


async def where(prompt: str) -> tuple[str, ...]:
    return INSIDE.get()


@pytest.mark.parametrize("face", FACES)
async def test_a_strategy_runs_inside_its_call_and_its_item(face: Face) -> None:
    """A context variable that is set there is seen by the strategy, and by no other item."""
    watch = Watch()
    ended = await run_face(face, [("a", "p"), ("b", "p")], where, observers=[watch])
    assert {name: r.output for name, r in ended.by_id.items()} == {
        "a": ("a", "call"),
        "b": ("b", "call"),
    }
    assert watch.results == ended.by_id
    ((start, termination, tally),) = watch.runs
    assert (start.total, start.pool, len(start.batch)) == (2, False, 8)
    assert (termination.cause, tally.succeeded) == (EndCause.DONE, 2)
    assert INSIDE.get() == ()


async def test_every_call_is_seen_with_its_end() -> None:
    """Refusals, failures and answers, each with its time, and the tokens that were billed."""
    watch = Watch()
    refused = ProviderError("slow down", status=429, hint=ServerHint(wait=5.0))
    usage = {"input_tokens": 3, "output_tokens": 2}
    script: list[Any] = [
        Raise(refused),
        Raise(ValueError("no"), after=2.0),
        Answer("yes", after=1.0, usage=usage),
    ]
    await run_batch([("a", "p")], ScriptedStrategy(script), observers=[watch])
    ends = [end for _, end in watch.calls]
    assert [end.category for end in ends] == ["rate_limit", "bad_output", None]
    assert [end.seconds for end in ends] == [0.0, 2.0, 1.0]
    assert ends[0].error is refused
    assert (ends[2].output, ends[2].usage) == ("yes", {**usage, "total_tokens": 5})
    assert [start.attempt for start, _ in watch.calls] == [1, 1, 2]


async def test_a_composite_makes_no_call_of_its_own() -> None:
    """The calls that are seen are those of its parts."""
    watch, gone = Watch(), ProviderError("gone", status=404)
    broken, spare = ScriptedStrategy(Raise(gone)), ScriptedStrategy(Answer("spare"))
    result = await run_batch(["p"], Fallback([broken, spare]), observers=[watch])
    assert result.outputs == ["spare"]
    assert [start.strategy for start, _ in watch.calls] == [broken, spare]


async def test_the_second_copy_of_a_slow_call_is_a_call() -> None:
    """The first is cancelled once the second has answered."""
    watch = Watch()
    config = ProcessorConfig(max_workers=10, hedge=HedgeConfig(min_samples=20, max_share=0.1))
    slow: list[Any] = [*[Answer(after=1.0)] * 59, Hang(), Answer("second", after=1.0)]
    strategy = ScriptedStrategy(slow, per_call=True)
    result = await run_batch(map(str, range(60)), strategy, config=config, observers=[watch])
    assert result.succeeded == 60
    cut_off = [start.item_id for start, end in watch.calls if end.cancelled]
    answered = [start.item_id for start, end in watch.calls if not end.cancelled]
    assert (len(cut_off), len(answered), len(set(answered))) == (1, 60, 60)


@pytest.mark.parametrize("how", [DRAIN, CANCEL])
@pytest.mark.parametrize("face", FACES)
async def test_a_stop_ends_what_is_open(face: Face, how: Any) -> None:
    """Items that were not run have results that say so; calls that are cut off say that."""
    watch = Watch()
    strategy = ScriptedStrategy(Hang() if how is CANCEL else Answer(after=5.0))
    items = [(f"n{i}", f"p{i}") for i in range(50)]
    act = after(1.0, lambda run: run.stop(how))
    options: dict[str, Any] = {"concurrency": 1, "observers": [watch], "act": act}
    ended = await run_face(face, items, strategy, **options)
    assert watch.results.keys() >= ended.by_id.keys()
    assert watch.calls[0][1].cancelled is (how is CANCEL)
    assert watch.runs[0][1].cause is EndCause.STOPPED


async def test_a_cancellation_from_outside_ends_what_is_open() -> None:
    """Items have no result then, and the run says why it ended."""
    watch = Watch()
    with anyio.move_on_after(1.0):
        await run_batch([("a", "p")], ScriptedStrategy(Hang()), observers=[watch])
    assert watch.results == {"a": None}
    assert watch.calls[0][1].cancelled
    assert watch.runs[0][1].cause is EndCause.CALLER_CANCELLED


async def test_a_run_that_cannot_begin_has_ended() -> None:
    """A failed preparation, and a source that breaks."""
    watch = Watch()
    with pytest.raises(BatchError):
        await run_batch(["p"], ScriptedStrategy(prepare=Raise(OSError())), observers=[watch])
    assert watch.runs[0][1].cause is EndCause.PREPARE_FAILED

    def breaks() -> Any:
        yield "p"
        raise OSError

    with pytest.raises(BatchError):
        await run_batch(breaks(), ScriptedStrategy(), observers=[watch])
    assert watch.runs[1][1].cause is EndCause.SOURCE_FAILED


async def test_items_without_a_call_are_seen() -> None:
    """Those that are not valid, and those that a middleware leaves out."""
    watch = Watch()
    skip = SkippingMiddleware(lambda item: item.item_id == "b")
    items: list[Any] = [("a", "p"), ("a", "again"), ("b", "p")]
    await run_batch(items, where, middlewares=[skip], observers=[watch])
    categories = sorted(str(r and r.error_category) for r in watch.results.values())
    assert categories == ["None", "invalid_item", "skipped"]


async def test_a_call_of_a_pool_is_an_item_in_its_callers_context() -> None:
    """The task that opened the pool may have set something else."""
    watch = Watch()
    async with open_pool(where, observers=[watch]) as pool:
        token = INSIDE.set(("caller",))
        assert await pool.call("p") == ("caller", "call-1", "call")
        INSIDE.reset(token)
        with anyio.move_on_after(1.0):
            await pool.call_result("p")
    assert watch.runs[0][0].pool
    assert watch.results.keys() == {"call-1", "call-2"}


class Raising(SpanObserver):
    """Raises where it is said to, and counts the rest."""

    def __init__(self, where: str) -> None:
        self.seen: Counter[str] = Counter()
        for name in SEEN:
            setattr(self, name, partial(self._fail if name == where else self._count, name))

    def _count(self, name: str, *given: Any) -> None:
        self.seen[name] += 1

    def _fail(self, name: str, *given: Any) -> Any:
        raise RuntimeError("watched badly")


SEEN = {"run_started": 1, "item_started": 2, "call_started": 2}
SEEN |= {name.replace("started", "ended"): times for name, times in SEEN.items()}


@pytest.mark.parametrize("broken", SEEN)
async def test_one_that_raises_changes_nothing_and_is_reported(broken: str) -> None:
    """It is not called with what follows from what it did not begin; others go on."""
    watch, raising = Watch(), Raising(broken)
    result = await run_batch([("a", "p"), ("b", "p")], where, observers=[raising, watch])
    assert result.succeeded == len(watch.calls) == 2
    first = "first: RuntimeError: watched badly"
    assert list(result.warnings) == [f"observer Raising raised {SEEN[broken]} times; {first}"]
    within = list(SEEN)[: list(SEEN).index(broken)] if broken.endswith("started") else SEEN
    expected = {name for name in within if name.endswith("started")}
    assert {name for name in raising.seen if name.endswith("started")} == expected - {broken}


async def test_retries_are_within_one_item() -> None:
    """An item that fails for good has one end, after its last call."""
    watch = Watch()
    config = ProcessorConfig(retry=RetryConfig(max_attempts=3))
    run = BatchRun[Any]()
    strategy = ScriptedStrategy(Raise(ConnectionError()))
    await run_batch([("a", "p")], strategy, config=config, observers=[watch], into=run)
    assert watch.results == run.result.by_id()
    assert len(watch.calls) == 3
