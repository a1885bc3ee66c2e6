"""At any moment anything may happen: nothing is lost, nothing is left behind."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from batchllm.api import BatchRun, run_batch, stream_batch
from batchllm.core import (
    BaseMiddleware,
    BatchError,
    Category,
    LLMWorkItem,
    ProcessorConfig,
    ProviderError,
    RetryConfig,
)
from batchllm.engine import CANCEL, DRAIN
from batchllm.testing import (
    Answer,
    Backend,
    Hang,
    Raise,
    RecordingObserver,
    ScriptedStrategy,
    Step,
    virtual_run,
)
from batchllm.testing.strategies import configs, faults
from tests.engine.moments import cancelled_at, share
from tests.examples import examples

BACKENDS: tuple[Backend, ...] = ("asyncio", "trio")


class Witness:
    """Runs one batch with everything switched on, and checks what it leaves behind."""

    def __init__(self) -> None:
        self.strategy = ScriptedStrategy(
            {
                "p1": [Raise(ConnectionError), Answer(after=0.5)],
                "p2": Raise(lambda: ProviderError("slow down", status=429)),
                "p3": Hang(Answer("swallowed")),
                "p4": Hang(Raise(ValueError)),
            },
            prepare=Answer(after=0.1),
            cleanup=Answer(after=0.1),
        )
        self.run: BatchRun[Any] | None = None
        self.observer = RecordingObserver()
        self.processed: list[str] = []
        self.closed = False

    async def items(self) -> Any:
        try:
            for i in range(8):
                await checkpoint()
                yield f"n{i}", f"p{i}"
        finally:
            self.closed = True

    async def post_process(self, result: Any) -> None:
        await checkpoint()
        self.processed.append(result.item_id)

    def options(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "config": ProcessorConfig(
                max_workers=3,
                attempt_timeout=2.0,
                retry=RetryConfig(max_attempts=2, max_rate_limit_retries=1, jitter=False),
            ),
            "middlewares": [BaseMiddleware()],
            "observers": [self.observer],
            "post_processor": self.post_process,
        }

    async def collect(self) -> None:
        self.run = BatchRun()
        await run_batch(self.items(), into=self.run, **self.options())

    async def stream(self) -> None:
        async with stream_batch(self.items(), ordered=True, **self.options()) as run:
            self.run = run
            async for _ in run:
                await checkpoint()

    def check(self) -> None:
        assert self.strategy.in_flight == 0
        assert self.strategy.cleaned == self.strategy.prepared <= 1
        if self.run is None:
            return
        result = self.run.result
        names = [r.item_id for r in result.results]
        assert len(set(names)) == len(names)
        assert set(names) <= set(self.processed), "a result was handed over half finished"
        assert len(self.processed) == len(set(self.processed))
        assert result.total_items == len(self.processed)
        assert self.closed or not self.strategy.calls
        stats = self.run.stats()
        assert (stats["in_flight"], stats["waiting"], stats["sleeping"]) == (0, 0, 0)


async def steps_of(work: Callable[[], Awaitable[None]], cancel_after: int) -> bool:
    """Run *work* and cancel it after that many turns of the loop; whether it got to its end."""
    finished = False

    async def run() -> None:
        nonlocal finished
        await work()
        finished = True

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        for _ in range(cancel_after):
            await checkpoint()
        group.cancel_scope.cancel()
    return finished


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("face", ["collect", "stream"])
def test_cancelled_after_any_number_of_turns(backend: Backend, face: str) -> None:
    """In the crowded beginning, whichever checkpoint the cancellation meets, all is let go."""
    for (turn,) in share(backend, range(60)):
        witness = Witness()
        virtual_run(steps_of, getattr(witness, face), turn, backend=backend)
        witness.check()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("face", ["collect", "stream"])
def test_cancelled_at_any_instant(backend: Backend, face: str) -> None:
    """In backoff, cooldown, timeouts and cleanup as well: every instant at which a timer fires."""

    async def cancel_at(instant: float, turns: int, witness: Witness) -> bool:
        async with cancelled_at(instant, turns) as scope:
            await getattr(witness, face)()
        return not scope.cancel_called

    ended = []
    instants = (0.0, 0.05, 0.1, 0.35, 0.6, 1.0, 1.1, 1.6, 2.1, 2.2, 3.1, 4.1, 5.0, 9.0, 90.0)
    for instant, turns in share(backend, instants, (0, 1, 2, 4, 8)):
        witness = Witness()
        ended.append(virtual_run(cancel_at, instant, turns, witness, backend=backend))
        witness.check()
    assert set(ended) == {True, False}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", [DRAIN, CANCEL])
def test_stopped_after_any_number_of_turns(backend: Backend, how: Any) -> None:
    """A stop from inside leaves exactly one result for each item that was accepted."""

    async def stop_after(turns: int, witness: Witness) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(witness.collect)
            for _ in range(turns):
                await checkpoint()
            assert witness.run is not None
            witness.run.stop(how)

    for (turns,) in share(backend, range(2, 50)):
        witness = Witness()
        virtual_run(stop_after, turns, witness, backend=backend)
        witness.check()
        assert witness.run is not None
        results = witness.run.result.results
        assert [r.submission_index for r in results].sort() == list(range(len(results))).sort()
        assert {r.item_id for r in results} == {f"n{i}" for i in range(len(results))}


ENDS = st.one_of(
    st.just(("finish", 0.0)),
    st.tuples(
        st.sampled_from(["drain", "cancel", "leave", "cancelled"]),
        st.sampled_from([0.0, 0.01, 0.5, 1.0, 3.0, 7.0]),
    ),
)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=examples(120))
@given(
    scripts=st.lists(st.lists(faults(), min_size=1, max_size=3), max_size=10),
    own=st.lists(st.booleans(), min_size=10, max_size=10),
    config=configs(),
    ordered=st.booleans(),
    ahead=st.booleans(),
    end=ENDS,
)
def test_exactly_one_result(
    backend: Backend,
    scripts: list[list[Step]],
    own: list[bool],
    config: ProcessorConfig,
    ordered: bool,
    ahead: bool,
    end: tuple[str, float],
) -> None:
    """Any behaviour of any item, any settings, any ending: one result each, and no leak."""
    shared = ScriptedStrategy({f"p{i}": script for i, script in enumerate(scripts)})
    others = [ScriptedStrategy(script) for script in scripts]
    items = [
        LLMWorkItem(f"n{i}", others[i] if own[i] else shared, f"p{i}", context=i)
        for i in range(len(scripts))
    ]
    how, when = end
    seen: list[Any] = []
    runs: list[BatchRun[Any]] = []

    async def act(run: BatchRun[Any]) -> None:
        await anyio.sleep(when)
        if how in ("drain", "cancel"):
            run.stop(DRAIN if how == "drain" else CANCEL)

    async def main() -> None:
        with anyio.move_on_after(when if how == "cancelled" else 100_000.0) as limit:
            async with (
                anyio.create_task_group() as group,
                stream_batch(
                    items,
                    config=config,
                    ordered=ordered,
                    middlewares=[BaseMiddleware()] if ahead else [],
                ) as run,
            ):
                runs.append(run)
                group.start_soon(act, run)
                with anyio.move_on_after(when if how == "leave" else 100_000.0) as reading:
                    async for result in run:
                        seen.append(result)  # noqa: PERF401 - kept when cancelled
                group.cancel_scope.cancel()
                if how != "leave":
                    assert not reading.cancelled_caught, "the batch hangs"
        assert how == "cancelled" or not limit.cancelled_caught, "the batch hangs"

    virtual_run(main, backend=backend)
    for result in seen:
        assert result.item_id == f"n{result.submission_index}"
        assert result.context == result.submission_index
        assert result.success is (result.error_category is None) is (result.exception is None)
    assert len({result.item_id for result in seen}) == len(seen)
    (run,) = runs
    unread = [r.item_id for r in run.result.results]
    assert not set(unread) & {r.item_id for r in seen}
    if how in ("finish", "drain", "cancel"):
        assert run.result.total_items == len(seen)
        if ordered:
            assert [r.submission_index for r in seen] == list(range(len(seen)))
        if run.result.termination.complete:
            assert len(seen) == len(items)
    for strategy in (shared, *others):
        assert strategy.in_flight == 0
        assert strategy.cleaned == strategy.prepared <= 1
    if how != "cancel" and config.batch_timeout is None and config.drain_grace is None:
        assert Category.CANCELLED not in {r.error_category for r in seen}
    assert run.stats()["in_flight"] == run.stats()["waiting"] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_task_outlives_a_batch(backend: Backend) -> None:
    """Once the face has returned, nothing of the batch runs, and nothing holds its items."""

    class Marked(LLMWorkItem[Any, Any, Any]):
        """An item that can be counted."""

    async def main() -> None:
        before = anyio.get_running_tasks()
        strategy = ScriptedStrategy({"p1": Raise(ValueError)})
        items = (Marked(f"n{i}", strategy, f"p{i}") for i in range(20))
        await run_batch(items, concurrency=3)
        await anyio.sleep(1000.0)
        assert len(anyio.get_running_tasks()) == len(before)

    virtual_run(main, backend=backend)
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is Marked]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_error_of_a_broken_rule_has_what_is_finished(backend: Backend) -> None:
    """A program error ends the batch at once; what is finished comes with it."""
    from batchllm.core import ProgramError
    from batchllm.testing import LeaveScopeOpen

    strategy = ScriptedStrategy({"p0": Answer(), "p2": LeaveScopeOpen()})

    async def main() -> None:
        await run_batch([(f"n{i}", f"p{i}") for i in range(4)], strategy, concurrency=1)

    with pytest.raises(BatchError) as caught:
        virtual_run(main, backend=backend)
    assert isinstance(caught.value, ProgramError)
    assert "left a cancel scope" in str(caught.value)
    assert [r.item_id for r in caught.value.partial.results] == ["n0", "n1"]
    assert strategy.cleaned == 1
