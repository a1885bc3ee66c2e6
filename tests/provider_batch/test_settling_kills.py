"""Between the end of a chunk in the ledger and the last of its results: a process ends anywhere.

The outcomes of a chunk's lines are one transaction; its items' results follow in groups of their
own, each with hooks. Whatever lies between, nothing is lost, paid for, counted or published twice.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from batchllm.api import run_batch
from batchllm.core import EndCause, Price, ProcessorConfig, WorkItemResult
from batchllm.journal import Journal
from batchllm.journal.store import Store
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.spool import Spool
from batchllm.simulator import BatchBehaviour
from batchllm.testing import Backend
from tests.engine.moments import moments_for
from tests.provider_batch.kit import Fuse, World, killed, outputs

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("moving_clock")]

MODELS = ("openai:gpt-5-mini", "anthropic:claude-sonnet-5")
PRICES = {model: Price(input=2.0, output=8.0) for model in MODELS}
CONFIG = ProcessorConfig(prices=PRICES, max_workers=2)
# One line whose answer is an error, and one that goes into another batch.
PROMPTS = ["a", "b [[batch:400]]", "c", "d [[batch:missing]]", "e"]


@define(eq=False)
class Watched:
    """A post-processor that passes a fuse before and behind its work, and counts it.

    Attributes:
        done: How often it was done for each item.
    """

    fuse: Fuse
    done: Counter[str] = field(factory=Counter)

    async def __call__(self, result: WorkItemResult[Any, Any]) -> None:
        self.fuse.passes("settling: before a hook")
        self.done[result.item_id] += 1
        self.fuse.passes("settling: after a hook")


def lay_fuse(patch: pytest.MonkeyPatch, fuse: Fuse) -> None:
    """Let whatever writes, from the first settling on, be a point of *fuse*."""

    def around(owner: Any, name: str, what: str) -> None:
        original = getattr(owner, name)

        def with_fuse(self: Any, *args: Any) -> Any:
            fuse.passes(f"{what} before {name}")
            value = original(self, *args)
            fuse.passes(f"{what} after {name}")
            return value

        patch.setattr(owner, name, with_fuse)

    around(BatchLedger, "_settle", "settling:")  # within its transaction
    around(BatchLedger, "_transact", "settling:")
    around(Store, "write", "settling:")
    around(Spool, "drop", "settling:")
    around(Spool, "drop_folder", "settling:")


def committed(folder: Path) -> tuple[int, float]:
    """The number of results in a journal, and what they cost."""
    with closing(sqlite3.connect(folder / "run.db")) as db:
        count, cost = db.execute("SELECT count(*), sum(cost) FROM items").fetchone()
    return count, cost


@pytest.mark.parametrize("model", MODELS)
async def test_a_process_that_ends_while_results_are_written_down_repeats_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, anyio_backend_name: Backend
) -> None:
    """Half of the points on one backend, and the others on the other."""
    quick = BatchBehaviour(queue=4.0, run=4.0, finalizing=0.0)
    whole = World(tmp_path / "whole", quick, model=model)
    hooked = Watched(Fuse(tmp_path, tmp_path))
    result = await whole.run(PROMPTS, config=CONFIG, post_processor=hooked)
    expected, cost = outputs(result), result.cost
    assert committed(whole.folder) == (len(PROMPTS), pytest.approx(cost))
    at, names = 0, set[str]()
    for at in moments_for(anyio_backend_name):
        world = World(tmp_path / f"{at}", quick, model=model)
        # Submitted by a process before, so that the points of the next are those of the end.
        first = await world.run(PROMPTS, config=CONFIG, detach=True)
        assert first.termination.cause is EndCause.DETACHED
        image = tmp_path / f"{at}-image"
        fuse = Fuse(world.folder, image, at, "settling:")
        hook = Watched(fuse)
        with monkeypatch.context() as patch:
            lay_fuse(patch, fuse)

            async def run(world: World = world, hook: Watched = hook) -> None:
                await world.run(PROMPTS, config=CONFIG, post_processor=hook)

            if not await killed(run):
                break
        names.add(fuse.last.rpartition(" ")[2])
        journal, hook.fuse = world.journal(image), Fuse(image, image)
        again = await world.run(PROMPTS, journal=journal, config=CONFIG, post_processor=hook)
        assert outputs(again) == expected, (at, fuse.last)
        assert committed(image) == (len(PROMPTS), pytest.approx(cost)), (at, fuse.last)
        assert sorted(world.billed) == sorted(set(world.billed)), (at, fuse.last)
        assert len(world.billed) == len(whole.billed), (at, fuse.last)
        assert set(hook.done) == set(expected), (at, fuse.last)
        # A hook is called again if it was not known that it was done: of the items in the window.
        assert sum(hook.done.values()) <= len(expected) + 2 * CONFIG.max_workers, (at, fuse.last)
        assert not (image / "run.db.batches").exists(), (at, fuse.last)
    assert at > 30
    assert {"_settle", "_transact", "write", "drop", "hook"} <= names


async def test_a_finished_journal_asks_the_provider_nothing(tmp_path: Path) -> None:
    """I7: also if the last process ended before it had cleaned up."""
    world = World(tmp_path / "user")
    image, items = tmp_path / "image", PROMPTS[:3]
    with pytest.MonkeyPatch.context() as patch:
        fuse = Fuse(world.folder, image, 1, "settling: before drop")
        lay_fuse(patch, fuse)
        assert await killed(lambda: world.run(items, config=CONFIG))
    calls = dict(world.batches.calls)
    journal: Journal = world.journal(image)
    again = await world.run(items, journal=journal, config=CONFIG)
    assert len(again.results) == len(items)
    assert world.batches.calls == calls
    assert not (image / "run.db.batches").exists()
    assert outputs(again) == outputs(await run_batch(items, world.strategy())) | {
        "1": "invalid_request"
    }
