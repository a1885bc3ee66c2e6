"""Runs that are ended with ``on_cancel="cancel"`` while it is not known if a batch was created."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from batchllm.api import BatchRun
from batchllm.core import JournalError
from batchllm.journal import open_journal
from batchllm.provider_batch import JobsOfRun, State, wire_of
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.simulator import BatchBehaviour, Mishap
from tests.provider_batch.kit import MODELS, World, count_calls, prompts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("moving_clock")]
NAMED = [model for model in MODELS if not model.startswith("anthropic")]
"""Wires on which a batch has a name of ours."""


def open_world(folder: Path, model: str, **more: Any) -> World:
    return World(folder / "user", BatchBehaviour(run=1_000.0, **more), model=model)


async def ended_after(seconds: float, world: World, items: Any, **more: Any) -> list[str]:
    """Cancel a run after some seconds; return its warnings."""
    run: BatchRun[Any] = BatchRun()
    began = anyio.current_time()
    with anyio.move_on_after(seconds):
        await world.run(items, on_cancel="cancel", into=run, **more)
    assert anyio.current_time() - began < seconds + 16
    return list(run.result.warnings)


async def jobs_cancel(world: World, *numbers: int) -> list[str]:
    async with open_journal(world.journal(), None, on_wait=print) as journal:
        journal.ending = ("done", "jobs", "{}")
        return await JobsOfRun(journal, lambda chunk: wire_of(world.strategy())).cancel(numbers)


async def all_is_had(world: World, count: int) -> None:
    result = await world.run(prompts(count), on_ambiguous="resubmit")
    assert result.succeeded == count
    assert len(world.billed) == count == len(set(world.billed))


@pytest.mark.parametrize("model", NAMED)
@pytest.mark.parametrize(("ghost", "lag"), [("ghost-hang", 0.0), ("ghost-500", 5.0)])
async def test_a_batch_of_a_lost_create_is_found_and_cancelled(
    tmp_path: Path, model: str, ghost: Any, lag: float
) -> None:
    """During the create as behind it, and though a list shows it some seconds later."""
    world = open_world(tmp_path, model, list_lag=lag)
    world.goes_wrong(Mishap("create", ghost))
    (said,) = await ended_after(2.0, world, prompts(5))
    assert "1 batch is being cancelled" in said
    (job,) = world.batches.jobs
    assert job.cancelled is not None
    assert world.states() == [State.CANCELLING]
    await all_is_had(world, 5)


@pytest.mark.parametrize("model", NAMED)
async def test_a_batch_that_is_not_found_is_named_and_found_later(
    tmp_path: Path, model: str
) -> None:
    world = open_world(tmp_path, model, list_lag=100.0)
    world.goes_wrong(Mishap("create", "ghost-500"))
    (said,) = await ended_after(2.0, world, prompts(5))
    name = world.chunks()[0].name.display
    assert "it is not known if" in said
    assert f"batch 1 of 5 requests ({name})" in said
    assert world.states() == [State.QUARANTINE]
    assert "`jobs RUN adopt 1 ID`" in (await jobs_cancel(world, 1))[0]
    await anyio.sleep(200)
    assert "is being cancelled" in (await jobs_cancel(world, 1))[0]
    assert world.states() == [State.CANCELLING]
    assert world.batches.jobs[0].cancelled is not None
    await all_is_had(world, 5)


async def test_without_a_name_nothing_is_cancelled_that_may_be_of_another(tmp_path: Path) -> None:
    """Anthropic's batches are known by time and number alone: the next run finds out."""
    world = open_world(tmp_path, MODELS[1])
    world.goes_wrong(Mishap("create", "ghost-500"))
    (said,) = await ended_after(2.0, world, prompts(5))
    assert "it is not known if anthropic has batch 1 of 5 requests" in said
    assert count_calls(world.batches, ["cancel"]) == 0
    (answer,) = await jobs_cancel(world, 1)
    assert f"it may be {world.batches.jobs[0].id}" in answer
    assert count_calls(world.batches, ["cancel"]) == 0
    await all_is_had(world, 5)


@pytest.mark.parametrize("model", MODELS)
async def test_each_batch_of_which_the_end_was_not_heard_is_named(
    tmp_path: Path, model: str
) -> None:
    """The wish is in the ledger, and the same call asks again."""
    world = open_world(tmp_path, model)
    world.goes_wrong(Mishap("cancel", "500"))
    said = await ended_after(90.0, world, prompts(12), chunk_size=4)
    heard, unheard = said
    assert "being cancelled" in heard
    ids = [one.batch_id for one in world.chunks() if one.state is State.CANCEL_WANTED]
    assert len(ids) == 1
    assert f"has not answered in time that it ends {ids[0]}: the same typed again" in unheard
    await all_is_had(world, 12)
    assert all(job.cancelled for job in world.batches.jobs if len(job.done) < len(job.requests))


async def test_a_run_without_batches_says_nothing_of_them(tmp_path: Path) -> None:
    world = open_world(tmp_path, MODELS[0])
    world.goes_wrong(Mishap("upload", "reset", times=100))
    assert await ended_after(20.0, world, prompts(5)) == []


async def test_a_disk_that_fails_does_not_hide_that_the_run_was_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = open_world(tmp_path, MODELS[0])
    save = BatchLedger.save

    async def fails(self: BatchLedger, before: Any, after: Any, detail: str = "") -> None:
        if after.state is State.CANCEL_WANTED:
            msg = "the disk is full"
            raise JournalError(msg)
        await save(self, before, after, detail)

    monkeypatch.setattr(BatchLedger, "save", fails)
    said = await ended_after(90.0, world, prompts(5))
    assert "batches could not be cancelled: the disk is full" in said
