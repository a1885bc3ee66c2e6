"""Readers that are slow: what they have not read yet keeps no batch waiting, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve

from batchllm.api import stream_batch
from batchllm.core import ProcessorConfig
from batchllm.provider_batch import wire_of
from batchllm.simulator import BatchBehaviour, Job
from tests.provider_batch.kit import MODELS, World, count_calls, prompts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("moving_clock")]
FEW = ProcessorConfig(max_workers=4)


def open_world(folder: Path, model: str) -> World:
    return World(folder / "user", model=model)


async def third(world: World) -> Job:
    """Return the third batch, or one that came just behind it, once there is one."""
    while len(world.batches.jobs) < 3:  # noqa: ASYNC110 - the simulator has no event for it
        await anyio.sleep(5)
    return world.batches.jobs[-1]


async def read_slowly(world: World, items: Any, pauses: list[float], **more: Any) -> int:
    """Read results with a pause behind each of the first ones; return how many came."""
    count = 0
    async with stream_batch(
        items, world.strategy(), mode="batch", journal=world.journal(), config=FEW, **more
    ) as run:
        async for result in run:
            assert result.success, result.error
            count += 1
            if pauses:
                await anyio.sleep(pauses.pop(0))
    return count


@pytest.mark.parametrize("model", MODELS)
async def test_a_late_batch_is_brought_back_while_a_reader_sleeps(
    tmp_path: Path, model: str
) -> None:
    """400 results fill what lies between; the deadline is reckoned all the same."""
    world, began = open_world(tmp_path, model), anyio.current_time()
    held: list[Job] = []

    async def hold_one() -> None:
        held.append(await third(world))
        held[0].behaviour = evolve(held[0].behaviour, run=1e6, cancel=60.0)

    async with anyio.create_task_group() as group:
        group.start_soon(hold_one)
        count = await read_slowly(world, prompts(400), [6_600.0], chunk_size=170, deadline=7_200.0)
    assert count == 400
    asked = held[0].cancelled
    assert asked is not None
    assert asked - world.start - began < 6_500.0


@pytest.mark.parametrize("model", MODELS)
async def test_results_are_fetched_while_a_reader_sleeps(tmp_path: Path, model: str) -> None:
    """On Gemini they are kept for two days, whatever a reader does meanwhile."""
    world = open_world(tmp_path, model)
    fetched: list[int] = []

    async def look() -> None:
        await anyio.sleep(10_000.0)
        fetched.append(count_calls(world.batches, ["content"]))

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        count = await read_slowly(world, prompts(400), [20_000.0], chunk_size=170)
    assert count == 400
    assert fetched == [len(world.batches.jobs)]


@pytest.mark.parametrize("model", MODELS)
async def test_no_more_is_made_than_is_read(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a reader sleeps a few chunks are made ahead, and no longer all there are."""
    world, read, asleep = open_world(tmp_path, model), 0, list[int]()
    kind: Any = type(wire_of(world.strategy()))
    create = kind.create

    async def slow_create(self: Any, *given: Any) -> Any:
        await anyio.sleep(100.0)
        return await create(self, *given)

    monkeypatch.setattr(kind, "create", slow_create)

    def source() -> Iterator[str]:
        nonlocal read
        for prompt in prompts(900):
            read += 1
            yield prompt

    async def look() -> None:
        await anyio.sleep(6_000.0)
        asleep.append(read)

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        count = await read_slowly(world, source(), [12_000.0], chunk_size=60)
    assert count == 900
    assert asleep[0] < 800


async def test_what_was_settled_is_had_though_the_run_ends_early(tmp_path: Path) -> None:
    """A batch that was cancelled elsewhere ends the run, and a slow reader gets the rest first."""
    world = open_world(tmp_path, MODELS[0])

    async def cancel_the_last() -> None:
        last = await third(world)
        last.behaviour = BatchBehaviour(run=1e6)
        await anyio.sleep(400)
        last.cancelled = last.created + 100

    async with anyio.create_task_group() as group:
        group.start_soon(cancel_the_last)
        count = await read_slowly(world, prompts(400), [5_000.0], chunk_size=170)
    assert 230 <= count < 400


@pytest.mark.parametrize("model", MODELS)
async def test_a_run_that_goes_away_waits_for_no_reader_but_gives_it_all(
    tmp_path: Path, model: str
) -> None:
    world = open_world(tmp_path, model)
    await world.run(prompts(400), chunk_size=170, detach=True)
    await anyio.sleep(4_000)
    count = await read_slowly(world, prompts(500), [500.0, 500.0], chunk_size=100, detach=True)
    assert count >= 230
    result = await world.run(prompts(500), chunk_size=100)
    assert result.succeeded == 500
    assert len(world.billed) == 500 == len(set(world.billed))
