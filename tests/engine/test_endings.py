"""The table of endings: one test per row, for every face, on both backends."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from attrs import evolve

from batchllm.api import BatchRun, run_batch, stream_batch
from batchllm.core import (
    Category,
    EndCause,
    FailFast,
    LLMWorkItem,
    PrepareError,
    ProcessorConfig,
    ProviderError,
    RetryConfig,
    ServerHint,
    SourceError,
)
from batchllm.engine import CANCEL, DRAIN
from batchllm.testing import Answer, Backend, Hang, Raise, ScriptedStrategy, virtual_run
from tests.engine.faces import FACES, Face, after, run_face

pytestmark = pytest.mark.anyio

ONE_TRY = ProcessorConfig(retry=RetryConfig(max_attempts=1))


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Face:
    """Give each way to run a batch."""
    face: Face = request.param
    return face


def numbers(count: int) -> list[tuple[str, str]]:
    return [(f"n{i}", f"p{i}") for i in range(count)]


async def test_source_ends(face: Face) -> None:
    """Every item has run, and each has one result with its own answer."""
    strategy = ScriptedStrategy({"p3": Answer(after=5.0), "p5": Raise(TypeError("no"))})
    ended = await run_face(face, numbers(8), strategy, concurrency=3)
    assert ended.error is None
    assert ended.batch.termination.cause is EndCause.DONE
    answers = {name: result.output for name, result in ended.by_id.items()}
    assert answers == {f"n{i}": None if i == 5 else f"p{i}" for i in range(8)}
    order = [result.submission_index for result in ended.results]
    assert (order == sorted(order)) is (face == "ordered")
    assert (strategy.prepared, strategy.cleaned) == (1, 1)


async def test_drain_by_stop(face: Face) -> None:
    """Calls in flight finish, accepted items are stopped, and nothing more is pulled."""
    strategy = ScriptedStrategy(Answer(after=1.0))
    ended = await run_face(
        face,
        numbers(100),
        strategy,
        concurrency=2,
        config=ProcessorConfig(window=5),
        act=after(1.5, lambda run: run.stop(DRAIN)),
    )
    assert ended.error is None
    assert set(ended.by_id) == {f"n{i}" for i in range(7)}
    assert {name for name, category in ended.categories.items() if category is None} == {
        f"n{prompt[1:]}" for prompt in strategy.prompts
    }
    assert ended.batch.termination.cause is EndCause.STOPPED
    batch = ended.batch
    assert (batch.succeeded, batch.not_run, batch.never_read) == (4, 96, 93)
    assert strategy.cleaned == 1


async def test_drain_counts_no_attempt_that_was_not_made(face: Face) -> None:
    """A stopped item that was never called has made no attempt."""
    ended = await run_face(
        face,
        numbers(5),
        ScriptedStrategy(Answer(after=1.0)),
        concurrency=2,
        config=ProcessorConfig(window=5),
        act=after(0.5, lambda run: run.stop(DRAIN)),
    )
    assert sorted(result.attempts for result in ended.results) == [0, 0, 0, 1, 1]


async def test_drain_by_fail_fast(face: Face) -> None:
    """Three refused keys in a row end the batch; the call in flight still finishes."""
    refused = Raise(lambda: ProviderError("no such key", status=401), after=1.0)
    strategy = ScriptedStrategy({**{f"p{i}": refused for i in range(3)}, "p3": Answer(after=2.0)})
    ended = await run_face(
        face, numbers(50), strategy, concurrency=4, config=ProcessorConfig(window=6)
    )
    assert ended.batch.termination.cause is EndCause.FAIL_FAST
    assert ended.batch.termination.item_id in {"n0", "n1", "n2"}
    assert ended.categories["n0"] == Category.AUTHENTICATION
    answered = {name for name, result in ended.by_id.items() if result.success}
    assert answered == {f"n{prompt[1:]}" for prompt in strategy.prompts} - {"n0", "n1", "n2"}
    assert len(ended.results) < 10


async def test_drain_by_the_last_parked_scope(face: Face) -> None:
    """A quota that will not be back soon stops the feed instead of parking a million items."""
    hint = ServerHint(wait=9_999.0)
    over = Raise(lambda: ProviderError("come back tomorrow", status=429, hint=hint), after=1.0)
    slow = Answer(after=3.0)
    strategy = ScriptedStrategy([over, slow], per_call=True)

    def endless() -> Iterator[tuple[str, str]]:
        i = 0
        while True:
            yield f"n{i}", f"p{i}"
            i += 1

    ended = await run_face(
        face, endless(), strategy, concurrency=2, config=ProcessorConfig(window=5)
    )
    assert ended.batch.termination.cause is EndCause.PARKED
    assert ended.batch.succeeded == 1
    assert set(ended.categories.values()) == {None, Category.PARKED, Category.STOPPED}
    assert len(strategy.calls) == 2
    assert len(ended.results) == 5


async def test_drain_beyond_its_grace(face: Face) -> None:
    """Calls that have not finished within the grace are cancelled."""
    strategy = ScriptedStrategy([Answer(after=3.0), Hang()], per_call=True)
    ended = await run_face(
        face,
        numbers(9),
        strategy,
        concurrency=2,
        config=ProcessorConfig(window=3, drain_grace=5.0),
        act=after(1.0, lambda run: run.stop(DRAIN)),
    )
    assert set(ended.by_id) == {"n0", "n1", "n2"}
    assert set(ended.categories.values()) == {None, Category.CANCELLED, Category.STOPPED}
    assert ended.batch.wall_time == 6.0
    assert strategy.cleaned == 1


@pytest.mark.parametrize("cause", [EndCause.STOPPED, EndCause.BATCH_TIMEOUT])
async def test_cancel(face: Face, cause: EndCause) -> None:
    """Calls in flight are cancelled, whoever waits or sleeps is stopped, the rest is not pulled."""
    failing = Raise(lambda: ConnectionError("gone"))
    strategy = ScriptedStrategy([failing, Answer(), Hang()], per_call=True)
    config = ProcessorConfig(
        window=4,
        retry=RetryConfig(initial_wait=60.0),
        batch_timeout=2.0 if cause is EndCause.BATCH_TIMEOUT else None,
    )
    ended = await run_face(
        face,
        numbers(50),
        strategy,
        concurrency=2,
        config=config,
        act=None if config.batch_timeout else after(2.0, lambda run: run.stop(CANCEL)),
    )
    assert ended.error is None
    assert ended.batch.termination.cause is cause
    assert ended.batch.wall_time == 2.0
    asleep, answered, *called = (f"n{prompt[1:]}" for prompt in strategy.prompts)
    assert ended.categories[asleep] == Category.STOPPED
    assert ended.by_id[asleep].attempts == 1
    assert ended.by_id[answered].success
    assert [ended.categories[name] for name in called] == [Category.CANCELLED] * 2
    assert "maybe billed" in str(ended.by_id[called[0]].error)
    others = [ended.by_id[name] for name in ended.by_id.keys() - {asleep, answered, *called}]
    assert {(result.error_category, result.attempts) for result in others} == {
        (Category.STOPPED, 0)
    }
    assert len(ended.results) < 10
    assert strategy.cleaned == 1


async def test_second_stop_cancels_what_the_first_let_finish(face: Face) -> None:
    """As Ctrl-C twice: drain, then cancel; the first reason stays."""

    async def act(run: BatchRun[Any]) -> None:
        await anyio.sleep(1.0)
        run.stop(DRAIN, "first")
        run.stop(DRAIN, "again")
        await anyio.sleep(1.0)
        run.stop(CANCEL, "second")

    strategy = ScriptedStrategy(Hang())
    ended = await run_face(face, numbers(9), strategy, concurrency=2, act=act)
    assert ended.batch.wall_time == 2.0
    assert ended.batch.termination.reason == "first"
    assert sorted(map(str, ended.categories.values())) == ["cancelled"] * 2 + ["stopped"] * 2


async def test_caller_cancelled_keeps_what_is_finished() -> None:
    """The cancellation goes on its way; finished results stay reachable, the rest has none."""
    strategy = ScriptedStrategy([Answer(), Answer(), Hang()], per_call=True)
    run = BatchRun[Any]()
    with anyio.move_on_after(1.0) as scope:
        await run_batch(numbers(50), strategy, concurrency=2, into=run)
    assert scope.cancelled_caught
    assert {result.output for result in run.result.results} == set(strategy.prompts[:2])
    assert run.result.termination.cause is EndCause.CALLER_CANCELLED
    assert (strategy.prepared, strategy.cleaned, strategy.in_flight) == (1, 1, 0)
    assert run.stats()["in_flight"] == 0


@pytest.mark.parametrize("ordered", [False, True])
async def test_stream_cancelled_from_outside(ordered: bool) -> None:
    """Cancelled while it waits for a result, the reader's block lets go of everything."""
    strategy = ScriptedStrategy([Answer(), Answer(), Hang()], per_call=True)
    seen = []
    with anyio.move_on_after(1.0) as scope:
        async with stream_batch(numbers(50), strategy, ordered=ordered, concurrency=2) as run:
            async for result in run:
                seen.append(result.output)  # noqa: PERF401 - kept when the loop is cancelled
    assert scope.cancelled_caught
    finished = {result.output for result in run.result.results}
    assert finished | set(seen) == set(strategy.prompts[:2])
    assert run.result.succeeded == 2
    assert run.result.termination.cause is EndCause.CALLER_CANCELLED
    assert (strategy.cleaned, strategy.in_flight) == (1, 0)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("raises", [False, True])
async def test_reader_left(ordered: bool, raises: bool) -> None:
    """Leaving the block, in peace or by an error, stops all calls; none starts afterwards."""
    strategy = ScriptedStrategy([Answer(), Hang()], per_call=True)

    async def read() -> BatchRun[Any]:
        async with stream_batch(numbers(50), strategy, ordered=ordered, concurrency=4) as run:
            with anyio.move_on_after(1.0):  # in order, the first one may never come
                async for result in run:
                    assert result.success
                    break
            await anyio.sleep(1.0)
            if raises:
                raise LookupError("the reader's own") from KeyError("its cause")
            return run

    if raises:
        with pytest.raises(LookupError, match="the reader's own") as caught:
            await read()
        assert isinstance(caught.value.__cause__, KeyError)
    else:
        run = await read()
        assert run.result.termination.cause is EndCause.READER_LEFT
        assert run.result.total_items == 1
    started = len(strategy.calls)
    await anyio.sleep(3600)
    assert started == len(strategy.calls) == 5
    assert (strategy.in_flight, strategy.cleaned) == (0, 1)


async def test_no_call_starts_once_the_reader_raises() -> None:
    """Items that were accepted in the very turn in which the reader left are not called."""
    strategy = ScriptedStrategy(Answer(after=1.0))
    started = []

    async def read() -> None:
        async with stream_batch(numbers(50), strategy, concurrency=3) as run:
            async for _ in run:
                started.extend(strategy.calls)
                raise LookupError("left in a hurry")

    with pytest.raises(LookupError):
        await read()
    assert strategy.calls == started


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_program_ends(backend: Backend, error: type[BaseException]) -> None:
    """Ctrl-C inside a strategy ends the batch, and cleans up first."""
    strategy = ScriptedStrategy(
        {"p0": Answer(), "p1": Answer(after=1.0), "p2": Hang(), "p3": Raise(error, after=2.0)}
    )
    run = BatchRun[Any]()

    async def main() -> None:
        await run_batch(numbers(50), strategy, concurrency=4, into=run)

    with pytest.raises((error, BaseExceptionGroup)) as caught:
        virtual_run(main, backend=backend)
    if isinstance(caught.value, BaseExceptionGroup):
        assert caught.value.subgroup(error)
    finished = {result.item_id for result in run.result.results if result.success}
    assert {"n0", "n1"} <= finished
    assert "n2" not in {result.item_id for result in run.result.results}
    assert (strategy.cleaned, strategy.in_flight) == (1, 0)
    assert run.stats()["in_flight"] == 0
    del caught
    gc.collect()  # asyncio grumbles about the main task's exception: here, not at exit


def broken_source(count: int) -> Iterator[tuple[str, str]]:
    yield from numbers(count)
    raise OSError("disk gone")


async def async_broken_source(count: int) -> AsyncIterator[tuple[str, str]]:
    for item in numbers(count):
        await anyio.sleep(0.1)
        yield item
    raise OSError("disk gone")


@pytest.mark.parametrize("source", [broken_source, async_broken_source])
async def test_source_fails(face: Face, source: Any) -> None:
    """Calls in flight finish, and the exception has the finished part in ``partial``."""
    strategy = ScriptedStrategy(Answer(after=0.5))
    ended = await run_face(face, source(5), strategy, config=ProcessorConfig(window=4))
    assert isinstance(ended.error, SourceError)
    assert "disk gone" in str(ended.error)
    assert isinstance(ended.error.__cause__, OSError)
    assert ended.by_id["n0"].output == "p0"
    assert set(ended.by_id) == {f"n{i}" for i in range(5)}
    assert ended.batch.termination.cause is EndCause.SOURCE_FAILED
    if face == "collected":
        assert ended.error.partial.total_items == 5
    assert strategy.cleaned == 1


async def test_prepare_fails(face: Face) -> None:
    """Nothing is called, the accepted are stopped, and the exception names the strategy."""
    strategy = ScriptedStrategy(prepare=Raise(OSError("no credentials"), after=1.0))
    ended = await run_face(face, numbers(50), strategy, concurrency=2)
    assert isinstance(ended.error, PrepareError)
    assert "ScriptedStrategy.prepare() raised OSError: no credentials" in str(ended.error)
    assert isinstance(ended.error.__cause__, OSError)
    assert set(ended.categories.values()) == {Category.STOPPED}
    assert 0 < len(ended.results) < 10
    assert strategy.calls == []
    assert strategy.prepared == 1
    assert ended.batch.termination.cause is EndCause.PREPARE_FAILED


async def test_prepare_fails_while_another_is_called(face: Face) -> None:
    """The call in flight finishes, or is cancelled when the grace is over."""
    good = ScriptedStrategy({"quick": Answer(after=2.0), "slow": Hang()})
    bad = ScriptedStrategy(prepare=Raise(OSError("no"), after=1.0))
    items = [("a", "quick"), ("b", "slow"), LLMWorkItem("c", bad, "x")]
    config = evolve(ONE_TRY, drain_grace=5.0)
    ended = await run_face(face, items, good, config=config)
    assert isinstance(ended.error, PrepareError)
    assert ended.categories == {"a": None, "b": Category.CANCELLED, "c": Category.STOPPED}
    assert good.cleaned == 1


async def test_stop_before_the_first_item(face: Face) -> None:
    """A run that is stopped before it has begun calls nothing."""
    strategy = ScriptedStrategy()

    async def items() -> AsyncIterator[str]:
        await anyio.sleep(1.0)
        yield "late"

    ended = await run_face(face, items(), strategy, act=after(0.0, lambda run: run.stop(DRAIN)))
    assert ended.results == []
    assert ended.batch.wall_time == 0.0
    assert strategy.calls == []


async def test_stop_during_cleanup_is_too_late(face: Face) -> None:
    """A stop that comes when all is done changes nothing, and breaks nothing."""
    strategy = ScriptedStrategy(cleanup=Answer(after=2.0))

    ended = await run_face(
        face, numbers(3), strategy, act=after(1.0, lambda run: run.stop(DRAIN, "late"))
    )
    assert ended.error is None
    assert len(ended.results) == 3
    assert ended.batch.termination.cause is EndCause.DONE


async def test_fail_fast_can_be_switched_off(face: Face) -> None:
    """Without it every item is tried, whatever fails."""
    with warnings.catch_warnings():
        config = ProcessorConfig(fail_fast=None)
    strategy = ScriptedStrategy(Raise(lambda: ProviderError("no such key", status=401)))
    ended = await run_face(face, numbers(9), strategy, config=config)
    assert set(ended.categories.values()) == {Category.AUTHENTICATION}
    assert len(strategy.calls) == 9


async def test_fail_fast_counts_in_a_row(face: Face) -> None:
    """One that gets through in between starts the count anew."""
    refused = Raise(lambda: ProviderError("no such key", status=401))
    strategy = ScriptedStrategy({f"p{i}": refused for i in (0, 1, 3, 4)})
    config = ProcessorConfig(fail_fast=FailFast(after=3))
    ended = await run_face(face, numbers(6), strategy, concurrency=1, config=config)
    assert ended.batch.termination.cause is EndCause.DONE
    assert len(strategy.calls) == 6


async def test_fail_fast_on_any_failure_at_once(face: Face) -> None:
    """``"*"`` counts every kind, as ``set -e`` does in a shell; what was not tried does not."""
    strategy = ScriptedStrategy({"p2": Raise(ValueError("nonsense"))})
    config = ProcessorConfig(
        fail_fast=FailFast(categories={"*"}, after=1), retry=RetryConfig(max_attempts=1)
    )
    ended = await run_face(face, numbers(50), strategy, concurrency=1, config=config)
    end = ended.batch.termination
    assert (end.cause, end.item_id) == (EndCause.FAIL_FAST, "n2")
    assert "1 item failed with bad_output" in end.reason
    assert len(strategy.calls) <= 4


async def test_fail_fast_may_cancel_what_is_in_flight(face: Face) -> None:
    """In place of waiting for calls that would fail the same way."""
    refused = Raise(lambda: ProviderError("no such key", status=401), after=1.0)
    strategy = ScriptedStrategy({"p0": refused, "p1": Answer(after=50.0)})
    start = anyio.current_time()
    ended = await run_face(
        face,
        numbers(2),
        strategy,
        concurrency=2,
        config=ProcessorConfig(fail_fast=FailFast(after=1, then="cancel")),
    )
    assert anyio.current_time() - start < 10
    assert ended.batch.termination.cause is EndCause.FAIL_FAST
    assert ended.categories == {"n0": Category.AUTHENTICATION, "n1": Category.CANCELLED}
