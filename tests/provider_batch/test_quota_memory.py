"""The memory of a quota, with which the next process begins, in virtual time."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.provider_batch.admission import BELIEVED, Admission, Learned
from batchllm.provider_batch.pacing import WireLimits
from batchllm.simulator import BatchBehaviour
from tests.provider_batch.kit import MODELS, World, count_calls, prompts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("moving_clock")]
LIMITS = WireLimits(lines=50_000, bytes=200_000_000)


def open_world(folder: Path, model: str, **more: Any) -> World:
    more = {"token_limit": 700, **more}
    return World(folder / "user", BatchBehaviour(**more), model=model)


def kept(world: World) -> dict[str, Any]:
    with closing(sqlite3.connect(world.folder / "run.db")) as db:
        row = db.execute("SELECT value FROM facts WHERE name = 'batch_quotas'").fetchone()
    found: dict[str, Any] = {} if row is None else json.loads(row[0])
    return found


def age(world: World, seconds: float) -> None:
    """Let what is kept be older by so many seconds."""
    rows = {scope: {**row, "at": row["at"] - seconds} for scope, row in kept(world).items()}
    with closing(sqlite3.connect(world.folder / "run.db")) as db:
        db.execute("UPDATE facts SET value = ? WHERE name = 'batch_quotas'", (json.dumps(rows),))
        db.commit()


def refused(world: World) -> int:
    """Creates that came to nothing, at once or by a batch that failed."""
    failed = sum(bool(job.problems) for job in world.batches.jobs)
    return count_calls(world.batches, ["create"]) - len(world.batches.jobs) + failed


async def learn_and_go_on(world: World) -> int:
    """Learn a limit in one run, and return the refusals of the next, which has more to send."""
    first = await world.run(prompts(60), chunk_size=10)
    assert first.succeeded == 60
    assert refused(world) > 0
    before = refused(world)
    result = await world.run(prompts(120), chunk_size=10)
    assert result.succeeded == 120
    assert len(world.billed) == 120 == len(set(world.billed))
    return refused(world) - before


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("says", [True, False])
async def test_the_next_process_is_not_refused_for_what_the_last_has_learned(
    tmp_path: Path, model: str, says: bool
) -> None:
    world = open_world(tmp_path, model, says_limit=says)
    assert await learn_and_go_on(world) == 0
    (row,) = kept(world).values()
    assert row["most"] > 500
    assert row["named"] == (700.0 if says and world.model.startswith("openai") else None)


async def test_a_chunk_that_never_fits_is_split_whatever_its_tokens_were_taken_for(
    tmp_path: Path,
) -> None:
    """The simulator counts whole requests against its limit, and prompts in its answers."""
    world = open_world(tmp_path, MODELS[0], token_limit=400)
    assert (await world.run(prompts(40), chunk_size=40)).succeeded == 40
    assert (await world.run(prompts(80), chunk_size=40)).succeeded == 80
    assert len(world.billed) == 80 == len(set(world.billed))


def test_a_chunk_that_will_never_fit_is_known_before_it_is_refused() -> None:
    admission = Admission(LIMITS)
    admission.recall(Learned(named=1_000.0, at=0.0, estimated=100.0, counted=200.0))
    assert admission.never_fits(501, BELIEVED)
    assert not admission.never_fits(500, BELIEVED)
    assert not admission.never_fits(501, BELIEVED + 1)


@pytest.mark.parametrize("seconds", [BELIEVED, -10.0 * BELIEVED])
async def test_what_is_older_than_a_day_or_of_the_future_is_not_believed(
    tmp_path: Path, seconds: float
) -> None:
    """A clock that was wrong by days when it was written down is no reason to wait for ever."""
    world = open_world(tmp_path, MODELS[0])
    await world.run(prompts(60), chunk_size=10)
    age(world, seconds)
    before = refused(world)
    assert (await world.run(prompts(120), chunk_size=10)).succeeded == 120
    assert refused(world) > before


async def test_what_was_learned_of_one_account_is_not_believed_of_another(tmp_path: Path) -> None:
    world = open_world(tmp_path, MODELS[0])
    await world.run(prompts(60), chunk_size=10)
    other = world.strategy(key="key-2")
    assert (await world.run(prompts(120), other, chunk_size=10)).succeeded == 120
    assert len(kept(world)) == 2


async def test_a_limit_that_was_raised_is_found_within_a_day(tmp_path: Path) -> None:
    """Also in a run that goes on for days."""
    world = open_world(tmp_path, MODELS[0], run=30_000.0)

    async def raise_it() -> None:
        await anyio.sleep(10_000.0)
        world.behaves(token_limit=None)

    result = await world.run_beside(raise_it, prompts(120), chunk_size=10)
    assert result.succeeded == 120
    created = [job.created - world.start for job in world.batches.jobs if not job.problems]
    assert BELIEVED < max(created) < BELIEVED + 2 * 30_000.0


@given(
    limit=st.floats(1, 1e9),
    most=st.none() | st.floats(1, 1e9),
    estimated=st.floats(0, 1e9),
    counted=st.floats(0, 1e9),
    old=st.floats(0, 3 * BELIEVED),
    tokens=st.integers(1, 10**6),
)
def test_what_is_recalled_decides_as_what_was_learned(
    limit: float, most: float | None, estimated: float, counted: float, old: float, tokens: int
) -> None:
    known = Learned(named=limit, most=most, at=-old, estimated=estimated, counted=counted)
    one, other = Admission(LIMITS), Admission(LIMITS)
    one.recall(known)
    other.recall(one.learned())
    assert one.wait(tokens, tokens, 1, 0.0) == other.wait(tokens, tokens, 1, 0.0)
    assert one.never_fits(tokens, 0.0) == other.never_fits(tokens, 0.0)
    if old > BELIEVED:
        assert one.wait(tokens, tokens, 1, 0.0) == 0.0
        assert not one.never_fits(tokens, 0.0)
