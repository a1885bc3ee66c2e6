"""At any moment, with budget, copies in reserve, journal and observers at once: the sums agree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from batchllm.api import BatchRun, open_pool, run_batch, stream_batch
from batchllm.core import Budget, CallCost, Category, HedgeConfig, ProcessorConfig, RetryConfig
from batchllm.engine import CANCEL, DRAIN
from batchllm.journal import Journal
from batchllm.testing import (
    Answer,
    Backend,
    Hang,
    Raise,
    RecordingObserver,
    ScriptedStrategy,
    open_inline_worker,
    virtual_run,
)
from tests.engine.moments import cancelled_at, share
from tests.engine.test_watchers import Watch
from tests.journal.kit import saved

BACKENDS: tuple[Backend, ...] = ("asyncio", "trio")
USAGE = {"input_tokens": 2, "output_tokens": 3}
MOST, LITTLE = 20 * 40, 6 * 40
"""Tokens for some twenty calls, and for six: so that some of eight wait, and the budget ends."""
_ENDS = ("item_completed", "item_failed", "item_skipped")


class Bounded(ScriptedStrategy):
    """Bounds what a call of it may take to 40 tokens."""

    def estimate(self, prompt: Any) -> CallCost:
        return CallCost(input_tokens=20, output_tokens=20)


def _answer(text: str = "ok", after: float = 0.3) -> Answer:
    return Answer(text, usage=USAGE, after=after)


class Whole:
    """Runs one batch with all that keeps books, and checks that they agree when it has ended."""

    def __init__(self, path: Path, *, processed: bool, most: int = MOST) -> None:
        self.path = path
        self.strategy = Bounded(
            {
                "p0": _answer(after=0.0),
                "p1": [Raise(ConnectionError), _answer(after=0.5)],
                "p2": [Hang(), _answer("of a copy")],
                "p3": [Hang(_answer("swallowed")), _answer("of a copy")],
                "p4": [Hang(), Raise(ValueError("no"), after=0.1), _answer("the third", after=0.4)],
                "p5": Hang(Raise(ValueError)),
            },
        )
        self.watch, self.observer = Watch(), RecordingObserver()
        self.processed: list[str] | None = [] if processed else None
        self.most = most
        self.run: BatchRun[Any] | None = None

    def options(self) -> dict[str, Any]:
        processed = self.processed
        return {
            "strategy": self.strategy,
            "config": ProcessorConfig(
                max_workers=12,
                attempt_timeout=3.0,
                retry=RetryConfig(max_attempts=2, jitter=False),
                hedge=HedgeConfig(delay=0.5, min_samples=0, max_share=10.0),
            ),
            "budget": Budget(max_tokens_total=self.most),
            "observers": [self.watch, self.observer],
            "post_processor": None if processed is None else self.post_process,
            "journal": Journal(self.path, worker=open_inline_worker),
        }

    async def post_process(self, result: Any) -> None:
        await checkpoint()
        assert self.processed is not None
        self.processed.append(result.item_id)

    async def collect(self) -> None:
        self.run = BatchRun()
        items = [(f"n{i}", f"p{i}") for i in range(8)]
        await run_batch(items, into=self.run, **self.options())

    async def stream(self) -> None:
        items = [(f"n{i}", f"p{i}") for i in range(8)]
        async with stream_batch(items, **self.options()) as run:
            self.run = run
            async for _ in run:
                await checkpoint()

    def check(self) -> None:
        assert self.strategy.in_flight == 0
        assert not self.watch.open, "something began and has not ended"
        assert len(self.watch.calls) == len(self.strategy.calls)
        if self.run is None or not self.watch.runs:
            return
        result, stats = self.run.result, self.run.stats()
        assert not result.warnings, result.warnings
        assert (stats["in_flight"], stats["waiting"], stats["sleeping"]) == (0, 0, 0)
        self._check_budget(stats["budget"])
        ended = Counter(
            data["item_id"] for event, data in self.observer.events if event.value in _ENDS
        )
        assert set(ended.values()) <= {1}
        ((_, termination, tally),) = self.watch.runs
        assert termination == result.termination
        assert tally.total == result.total_items
        names = {r.item_id for r in result.results}
        assert names <= set(self.watch.results)
        for one in result.results:
            seen = self.watch.results[one.item_id]
            assert seen is not None
            assert (seen.output, seen.error) == (one.output, one.error)
        written = {"n" + prompt[1:] for prompt in saved(self.path)}
        final = {r.item_id for r in result.results if not _unfinished(r)}
        assert final <= written
        if self.processed is None:
            assert len(written) == tally.total - tally.not_run - self._cut_off(), "lost"

    def _cut_off(self) -> int:
        seen = self.watch.results.values()
        return sum(r is not None and r.error_category == Category.CANCELLED for r in seen)

    def _check_budget(self, budget: dict[str, Any]) -> None:
        assert (budget["reserved_tokens"], budget["waiting"]) == (0, 0)
        billed = sum(end.usage.get("total_tokens", 0) for _, end in self.watch.calls if end.usage)
        assert billed <= budget["tokens"] <= self.most
        assert budget["tokens"] - budget["uncertain_tokens"] == billed


def _unfinished(result: Any) -> bool:
    return bool(result.not_run or result.error_category == Category.CANCELLED)


FORMS = [("collect", False), ("collect", True), ("stream", False)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("face", "processed"), FORMS)
def test_the_sums_agree_when_nothing_disturbs(
    backend: Backend, face: str, processed: bool, tmp_path: Path
) -> None:
    """Copies win, one swallows its cancellation, and all is written and settled once."""
    whole = Whole(tmp_path / "run.db", processed=processed)
    virtual_run(getattr(whole, face), backend=backend)
    whole.check()
    assert whole.run is not None
    assert whole.run.result.total_items == 8
    assert whole.run.stats()["hedged_calls"] >= 4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("face", "processed"), FORMS)
def test_cancelled_after_any_number_of_turns(
    backend: Backend, face: str, processed: bool, tmp_path: Path
) -> None:
    """Whichever checkpoint the cancellation meets."""

    async def cancel_after(turns: int, whole: Whole) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(getattr(whole, face))
            for _ in range(turns):
                await checkpoint()
            group.cancel_scope.cancel()

    for turns in range(0, 72, 5):
        whole = Whole(tmp_path / f"{turns}.db", processed=processed)
        virtual_run(cancel_after, turns, whole, backend=backend)
        whole.check()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("face", "processed"), FORMS)
@pytest.mark.parametrize("most", [MOST, LITTLE])
def test_ended_at_any_instant(
    backend: Backend, face: str, processed: bool, most: int, tmp_path: Path
) -> None:
    """Cancelled, drained or stopped as copies begin, win and lose, or the budget ends."""

    async def end_at(how: str, instant: float, turns: int, whole: Whole) -> None:
        async def stop() -> None:
            await anyio.sleep(instant)
            for _ in range(turns):
                await checkpoint()
            if whole.run is not None:
                whole.run.stop(DRAIN if how == "drain" else CANCEL)

        if how == "cancelled":
            async with cancelled_at(instant, turns):
                await getattr(whole, face)()
            return
        async with anyio.create_task_group() as group:
            group.start_soon(stop)
            await getattr(whole, face)()

    ways, instants, turns = ("cancelled", "drain", "cancel"), (0.0, 0.5, 0.8, 1.1, 3.5), (0, 3)
    for moment in share(backend, ways, instants, turns):
        whole = Whole(tmp_path / f"{moment}.db", processed=processed, most=most)
        virtual_run(end_at, *moment, whole, backend=backend)
        whole.check()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("owner", [True, False])
def test_a_pool_is_left_at_any_instant(backend: Backend, owner: bool, tmp_path: Path) -> None:
    """Its owner or one of its callers is cancelled, in a race of copies within a budget."""

    async def serve(instant: float, turns: int, whole: Whole) -> None:
        options = {k: v for k, v in whole.options().items() if k not in ("journal", "strategy")}
        stats: Any = None
        async with anyio.create_task_group() as callers:
            with anyio.CancelScope() as outer:
                async with open_pool(whole.strategy, **options) as pool:
                    try:
                        scope = anyio.CancelScope()
                        callers.start_soon(call, pool, "p3", scope)  # noqa: ASYNC111
                        for name in ("p0", "p1", "p2", "p4"):
                            callers.start_soon(call, pool, name, anyio.CancelScope())  # noqa: ASYNC111
                        await anyio.sleep(instant)
                        for _ in range(turns):
                            await checkpoint()
                        (outer if owner else scope).cancel()
                        await checkpoint()
                    finally:
                        stats = pool.stats
        budget = stats()["budget"]
        assert (budget["reserved_tokens"], budget["waiting"], stats()["in_flight"]) == (0, 0, 0)
        whole._check_budget(budget)

    async def call(pool: Any, name: str, scope: anyio.CancelScope) -> None:
        with scope:
            await pool.call_result(name)

    for instant in (0.0, 0.5, 0.8, 1.1):
        for turns in (0, 1, 2, 4):
            whole = Whole(tmp_path / "none.db", processed=False)
            virtual_run(serve, instant, turns, whole, backend=backend)
            assert whole.strategy.in_flight == 0
            assert not whole.watch.open
            assert len(whole.watch.calls) == len(whole.strategy.calls)
