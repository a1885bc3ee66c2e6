"""Batch mode on each wire: what no provider's own words change, in virtual time."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import EndCause, JournalError, ProcessorConfig
from batchllm.simulator import Mishap
from tests.provider_batch.kit import MODELS, World, count_calls, marked, outputs, prompts

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


async def test_another_account_is_refused_before_anything_is_sent(world: World) -> None:
    await world.run(prompts(5), detach=True)
    before = world.states()
    other = await world.run(prompts(5), world.strategy(key="key-2"))
    assert other.termination.cause is EndCause.ACCOUNT_PROBLEM
    assert "another account" in other.termination.reason
    assert "jobs RUN adopt --account" in other.termination.reason
    assert world.states() == before
    assert count_calls(world.batches, ["create"]) == 1


async def test_answers_of_404_in_passing_change_nothing(world: World) -> None:
    """For two minutes behind the create, and for the results behind the end."""
    world.goes_wrong(
        Mishap("get", "404", times=6), Mishap("content", "404", times=4), Mishap("content", "cut")
    )
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert len(world.billed) == 5


async def test_an_account_without_credit_fails_no_item_and_goes_on_when_it_has_some(
    world: World,
) -> None:
    world.behaves(credit=0)
    result = await world.run(prompts(5))
    assert result.termination.cause is EndCause.ACCOUNT_PROBLEM
    assert (result.total_items, result.not_run) == (0, 5)
    assert world.billed == []
    world.behaves(credit=None)
    assert (await world.run(prompts(5))).succeeded == 5
    assert len(world.billed) == 5


async def test_strange_lines_are_counted_and_published_never(world: World) -> None:
    world.behaves(shuffled=True, repeated=3, strange=2)
    result = await world.run(prompts(9))
    assert outputs(result) == outputs(await run_batch(prompts(9), world.strategy()))
    assert any("have 5 lines that are of no request" in text for text in result.warnings)


async def test_what_expired_is_sent_again_and_paid_for_once(world: World) -> None:
    world.behaves(run=1_000.0, window=760.0)

    async def widen() -> None:
        await anyio.sleep(200)
        world.behaves(window=172_800.0)

    result = await world.run_beside(widen, prompts(10))
    assert result.succeeded == 10
    assert [len(job.requests) for job in world.batches.jobs] == [10, 3]
    assert len(world.billed) == 10 == len(set(world.billed))


async def test_a_scope_that_is_cancelled_leaves_the_batches_running(world: World) -> None:
    for seconds in (0.0, 1.0, 5.0, 30.0, 65.0, 100.0, 140.0):
        began = anyio.current_time()
        with anyio.move_on_after(seconds):
            await world.run(prompts(10))
        assert anyio.current_time() - began < seconds + 10.0
    assert (await world.run(prompts(10))).succeeded == 10
    assert not any(job.cancelled for job in world.batches.jobs)
    assert len(world.billed) == 10


@pytest.mark.parametrize("races", [False, True])
async def test_a_batch_that_would_be_late_is_brought_back_and_the_rest_runs_online(
    world: World, races: bool
) -> None:
    """A cancellation takes nine minutes, and may lose against the end of the batch."""
    world.behaves(run=2_900.0 if races else 4_000.0, cancel=540.0, cancel_races=races)
    result = await world.run(prompts(10), deadline=3_600, config=ProcessorConfig(max_workers=4))
    assert result.succeeded == 10
    assert result.wall_time < 3_600
    paths = ("/chat/completions", "/messages", ":generateContent")
    online = sum(one.path.endswith(paths) for one in world.simulator.log.entries)
    assert (online == 0) == races
    assert len(world.billed) + online == 10
