"""Batch mode on each wire: what no provider's own words change, in virtual time."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from batchllm.core import EndCause, JournalError
from tests.provider_batch.kit import MODELS, World, count_calls, marked, prompts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("moving_clock")]


@pytest.fixture(params=MODELS)
def world(tmp_path: Path, request: pytest.FixtureRequest) -> World:
    return World(tmp_path / "user", model=request.param)


async def test_a_second_process_is_refused_while_the_first_drives(world: World) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(world.run, prompts(5))
        await anyio.sleep(30)
        with pytest.raises(JournalError, match="in use"):
            await world.run(prompts(5))
    assert count_calls(world.batches, ["create"]) == 1


async def test_a_batch_of_errors_alone_fails_each_item_with_its_own(world: World) -> None:
    result = await world.run(marked(4, dict.fromkeys(range(4), "400")))
    assert result.failed == 4
    assert {one.error_category for one in result.failures} == {"invalid_request"}
    assert all("asked for: 400" in str(one.error) for one in result.failures)


async def test_a_batch_that_was_cancelled_elsewhere_is_asked_about(world: World) -> None:
    async def cancel() -> None:
        await anyio.sleep(90)
        for job in world.batches.jobs:
            job.cancelled = job.cancelled or job.created + 89

    result = await world.run_beside(cancel, prompts(10))
    assert result.termination.cause is EndCause.STOPPED
    assert "not by this run" in result.termination.reason
    assert 0 < result.succeeded < 10
    again = await world.run(prompts(10))
    assert again.succeeded == 10
    assert len(world.billed) == 10 == len(set(world.billed))
