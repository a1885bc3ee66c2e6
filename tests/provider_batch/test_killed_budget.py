"""The spending of calls online is in the journal wherever a process ends."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchllm.core import Budget, EndCause, JournalError, Price, ProcessorConfig
from batchllm.engine import SPENT_ONLINE
from batchllm.journal.store import Store
from batchllm.simulator import Fixed, Scenario
from batchllm.testing import Backend
from tests.engine.moments import moments_for
from tests.provider_batch.kit import MODELS, Fuse, World, killed, marked

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("moving_clock")]
PRICE = Price(input=1_000.0, output=4_000.0)
FORTY = Scenario(answer_tokens=Fixed(40))
CALLS = 4
AT_ONCE = 2
PATHS = dict(
    zip(
        MODELS,
        ("/v1/chat/completions", "/v1/messages", "/gemini-2.5-flash:generateContent"),
        strict=True,
    )
)


class OnlineFuse(Fuse):
    """A fuse of calls online and of what the engine writes."""

    def passes(self, what: str) -> None:
        is_call = what.endswith(tuple(PATHS.values()))
        super().passes(f"online: {what}" if is_call or "journal" in what else what)


def config(budget: Budget) -> ProcessorConfig:
    return ProcessorConfig(prices={"*": PRICE}, budget=budget, max_workers=AT_ONCE)


def items() -> list[str]:
    """Some items whose lines fail, so that they are called for online."""
    return marked(8, dict.fromkeys(range(CALLS), "500"))


def spent(folder: Path) -> tuple[int, float]:
    """Return what calls online have taken, as a later process reads it."""
    with closing(sqlite3.connect(folder / "run.db")) as db:
        query = "SELECT value FROM facts WHERE name = ?"
        row = db.execute(query, (SPENT_ONLINE,)).fetchone()
    tokens, cost = (0, 0.0) if row is None else json.loads(row[0])
    return tokens, cost


def calls_made(world: World) -> int:
    path = PATHS[world.model]
    return sum(one.path.endswith(path) for one in world.simulator.log.entries)


async def run(world: World, budget: Budget, **more: Any) -> Any:
    strategy = world.strategy(max_tokens=60, fuse=more.pop("fuse", None))
    return await world.run(items(), strategy, config=config(budget), batch_rounds=1, **more)


@pytest.mark.parametrize("model", MODELS)
async def test_what_a_killed_process_has_spent_online_counts_for_the_next(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, anyio_backend_name: Backend
) -> None:
    """At each call, each answer and each write of the journal: never less, and little more."""
    plain = World(tmp_path / "plain", scenario=FORTY, model=model)
    whole = await run(plain, Budget(max_cost=100.0))
    assert (whole.succeeded, calls_made(plain)) == (8, CALLS)
    online = [one for one in whole.results if int(one.item_id) < CALLS]
    each_tokens = min(one.token_usage["total_tokens"] for one in online)
    each_cost = min(one.cost for one in online)
    write, points = Store.write, 0
    for at in moments_for(anyio_backend_name):  # half of them, and the others on the other
        world = World(tmp_path / f"{at}", scenario=FORTY, model=model)
        fuse = OnlineFuse(world.folder, tmp_path / f"{at}-image", at, "online")

        def with_fuse(self: Store, group: Any, fuse: Fuse = fuse) -> None:
            fuse.passes("before a journal's group")
            write(self, group)
            fuse.passes("after a journal's group")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "write", with_fuse)
            if not await killed(lambda w=world, f=fuse: run(w, Budget(max_cost=100.0), fuse=f)):
                break
        points += 1
        made = calls_made(world)
        tokens, cost = spent(fuse.image)
        # What was in flight counts at the most that it may take: 60 tokens and its bytes.
        assert made * each_tokens <= tokens <= made * each_tokens + AT_ONCE * 400, fuse.last
        assert made * each_cost <= cost + 1e-9, fuse.last
        again = await run(world, Budget(max_cost=100.0), journal=world.journal(fuse.image))
        assert again.succeeded == 8
        assert spent(fuse.image)[1] >= calls_made(world) * each_cost - 1e-9
    assert points > 2 * CALLS


@pytest.mark.parametrize("model", MODELS)
async def test_a_process_that_is_killed_again_and_again_keeps_within_its_budget(
    tmp_path: Path, model: str
) -> None:
    """Each is killed behind its first answer online, which is then not in the journal."""
    world = World(tmp_path / "user", scenario=FORTY, model=model)
    plain = World(tmp_path / "plain", scenario=FORTY, model=model)
    await run(plain, Budget(max_cost=100.0))
    each = spent(plain.folder)[1] / CALLS
    folder, budget = world.folder, Budget(max_cost=2.0)
    kills = 0
    while kills < 20:
        image = tmp_path / f"image-{kills}"
        fuse = OnlineFuse(folder, image, 1, "online: after POST")
        journal = world.journal(folder)
        # A call that raises what ends a process fails its item; what counts is the image.
        await killed(lambda f=fuse, j=journal: run(world, budget, fuse=f, journal=j))
        if not fuse.last:
            break
        folder, kills = image, kills + 1
    assert 0 < kills < 20
    billed = sum(PRICE.worst(one.input_tokens, one.output_tokens) / 2 for one in _bill(world))
    assert calls_made(world) * each + billed <= 2.0
    last = await run(world, budget, journal=world.journal(folder))
    assert last.termination.cause is EndCause.BUDGET


def _bill(world: World) -> list[Any]:
    return list(world.batches.invoice)


async def test_no_call_is_made_that_the_journal_cannot_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full when a call is to be counted ends the run without it."""
    world = World(tmp_path / "user", scenario=FORTY)
    write = Store.write

    def full(self: Store, group: Any) -> None:
        if group.facts:
            msg = "the disk is full"
            raise JournalError(msg, problem="io")
        write(self, group)

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(JournalError, match="the disk is full"):
        await run(world, Budget(max_cost=100.0))
    assert calls_made(world) == 0
    monkeypatch.undo()
    assert (await run(world, Budget(max_cost=100.0))).succeeded == 8
