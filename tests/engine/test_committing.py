"""Results on their way to the disk: delivered group by group, and never before they are there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from attrs import define, field

from batchllm.api import BatchRun, run_batch, stream_batch
from batchllm.core import EndCause, JournalError, LLMWorkItem, ProcessorConfig, WorkItemResult
from batchllm.engine import CANCEL
from batchllm.engine.committing import Committing
from batchllm.engine.item import ItemRun
from batchllm.journal import WRITE_SECONDS, Commit, Journal
from batchllm.testing import Answer, ScriptedStrategy
from tests.engine.test_journal import items
from tests.journal.kit import saved

pytestmark = pytest.mark.anyio
T = TypeVar("T")


@define(eq=False)
class SlowWorker:
    """Works in place, and takes its virtual time for each group."""

    seconds: float = 1.0
    groups: list[int] = field(factory=list)

    async def call(self, work: Callable[[], T]) -> T:
        group = getattr(work, "args", (None,))[0]
        if hasattr(group, "results"):
            self.groups.append(len(group.results))
            await anyio.sleep(self.seconds)
        return work()

    def report(self, listener: Callable[[str], None], text: str) -> None:
        listener(text)


def slow(path: Path, worker: SlowWorker) -> Journal:
    @asynccontextmanager
    async def opened() -> AsyncGenerator[SlowWorker]:
        yield worker

    return Journal(path, worker=opened)


def finished(name: str) -> tuple[ItemRun, WorkItemResult[Any, Any]]:
    return ItemRun(LLMWorkItem(name), 0, 0.0), WorkItemResult(name, True)


async def test_a_group_comes_once_it_is_settled_with_all_that_joined_it() -> None:
    """Also with what joined while it was waited for."""
    committing, commit, later = Committing(), Commit(), Commit()
    committing.put(commit, *finished("a"))
    seen = list[tuple[bool, list[str]]]()

    async def read() -> None:
        while (group := await committing.next()) is not None:
            seen.append((group[0], [one.result.item_id for one in group[1]]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        assert not seen
        committing.put(commit, *finished("b"))
        committing.put(later, *finished("c"))
        commit.written = True
        commit.done.set()
        await anyio.wait_all_tasks_blocked()
        assert seen == [(True, ["a", "b"])]
        committing.close()
        later.done.set()
    assert seen[1:] == [(False, ["c"])]


async def test_nothing_is_seen_before_its_group_is_written(tmp_path: Path) -> None:
    """And a slow disk takes more at a time: as much as the window holds."""
    path, worker = tmp_path / "run.db", SlowWorker()
    config = ProcessorConfig(max_workers=20)
    begun = anyio.current_time()
    journal = slow(path, worker)
    async with stream_batch(items(200), ScriptedStrategy(), config=config, journal=journal) as run:
        async for result in run:
            assert "p" + result.item_id[1:] in saved(path)
    assert 20 < max(worker.groups) <= 40
    assert anyio.current_time() - begun < 20
    assert run.result.tally.succeeded == 200


async def test_a_disk_that_never_answers_ends_the_run_with_what_is_unsaved(tmp_path: Path) -> None:
    """After the deadline of the group; what had joined the next one is unsaved, too."""
    worker = SlowWorker(10 * WRITE_SECONDS)
    config = ProcessorConfig(max_workers=2)
    journal = slow(tmp_path / "run.db", worker)
    begun = anyio.current_time()
    strategy = ScriptedStrategy(Answer(after=1.0))
    with pytest.raises(JournalError, match=f"gave no answer for {WRITE_SECONDS:g} s") as caught:
        await run_batch(items(50), strategy, config=config, journal=journal)
    error = caught.value
    assert error.partial.termination.cause is EndCause.JOURNAL_FAILED
    assert sorted(r.item_id for r in error.unsaved) == ["n0", "n1", "n2", "n3"]
    assert not error.partial.results
    assert anyio.current_time() - begun < 2 * WRITE_SECONDS + 70


@pytest.mark.parametrize("cancelled", ["outside", "stop"])
async def test_what_waits_for_the_disk_is_delivered_under_a_cancellation(
    tmp_path: Path, cancelled: str
) -> None:
    """It is paid for, so it is written, and reachable, whatever ends the run."""
    path, worker, run = tmp_path / "run.db", SlowWorker(5.0), BatchRun[Any]()
    config = ProcessorConfig(max_workers=4)
    strategy = ScriptedStrategy({"p2": Answer(after=100.0)})
    with anyio.move_on_after(1.0 if cancelled == "outside" else None):
        async with anyio.create_task_group() as tasks:
            if cancelled == "stop":

                async def stop() -> None:
                    await anyio.sleep(1.0)
                    run.stop(CANCEL)

                tasks.start_soon(stop)
            await run_batch(items(3), strategy, config=config, journal=slow(path, worker), into=run)
    kept = {r.item_id for r in run.result.results if r.success}
    assert kept == {"n0", "n1"}
    assert saved(path) == {"p0", "p1"}
