"""Waits that servers ask for: a floor within bounds, on each wire, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from batchllm.core import EndCause, ProcessorConfig
from batchllm.provider_batch import State
from batchllm.simulator import BatchBehaviour, Mishap
from tests.provider_batch.kit import MODELS, World, count_calls, prompts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("moving_clock")]
FOR_EVER = 10**6
YEARS = 1e9
HOUR = 3_600.0
NOT_CREATED = {State.SPOOLED, State.UPLOADING, State.UPLOADED}


@pytest.fixture(params=MODELS)
def world(tmp_path: Path, request: pytest.FixtureRequest) -> World:
    return World(tmp_path / "user", model=request.param)


def online_calls(world: World) -> int:
    paths = ("/chat/completions", "/messages", ":generateContent")
    return sum(one.path.endswith(paths) for one in world.simulator.log.entries)


def first_call(world: World) -> Any:
    """The first call for a chunk: Anthropic has no files, and is asked whose key it is."""
    return "list" if world.model.startswith("anthropic") else "upload"


def asked_before(world: World, call: str) -> int:
    """The number of such calls that are made before there is a batch."""
    return 1 if call == first_call(world) else 0


@pytest.mark.parametrize("before", [False, True])
async def test_a_create_that_is_to_wait_for_years_ends_the_run_in_words(
    world: World, before: bool
) -> None:
    """Before a create the upload may be refused as well."""
    call = first_call(world) if before else "create"
    world.goes_wrong(Mishap(call, "429", FOR_EVER, asks=YEARS))
    result = await world.run(prompts(5))
    assert result.termination.cause is EndCause.QUOTA
    assert "asks to wait for 31 days" in result.termination.reason
    assert "type the same again" in result.termination.reason
    assert result.wall_time < 60
    assert set(world.states()) <= NOT_CREATED
    world.batches.mishaps.clear()
    assert (await world.run(prompts(5))).succeeded == 5


async def test_what_can_be_meant_is_waited_in_full(world: World) -> None:
    world.goes_wrong(Mishap("create", "429", asks=5 * HOUR))
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    (job,) = world.batches.jobs
    assert 5 * HOUR <= job.created - world.start < 5 * HOUR + 60


@pytest.mark.parametrize("before", [False, True])
async def test_a_run_with_a_deadline_goes_online_in_place_of_waiting(
    world: World, before: bool
) -> None:
    call = first_call(world) if before else "create"
    world.goes_wrong(Mishap(call, "429", FOR_EVER, asks=YEARS))
    result = await world.run(prompts(5), deadline=8 * HOUR)
    assert result.succeeded == 5
    assert result.wall_time < 8 * HOUR
    # Anthropic's answer shows whose key it is though it is a refusal, and a create may follow.
    expected = 0 if before and world.model.startswith("anthropic") else 5
    assert online_calls(world) == expected == 5 - len(world.billed)


async def test_refusals_without_end_do_not_end_a_run_with_a_deadline(world: World) -> None:
    """Nor do hours of them: what waits until then is called for online."""
    world.goes_wrong(Mishap("create", "429", FOR_EVER, asks=60.0))
    result = await world.run(prompts(5), deadline=20 * HOUR)
    assert result.succeeded == 5
    assert online_calls(world) == 5


@pytest.mark.parametrize("call", ["get", "list"])
async def test_a_poll_that_is_to_wait_for_years_comes_again_after_an_hour(
    world: World, call: Any
) -> None:
    """One poll in an hour is no burden, and the batch has long ended."""
    if world.model.startswith("anthropic"):
        call = "get"  # no six batches of one number are under way at once
    world.goes_wrong(Mishap(call, "429", asks=YEARS))
    result = await world.run(prompts(6), chunk_size=1 if call == "list" else 6)
    assert result.succeeded == 6
    assert HOUR < result.wall_time < 2 * HOUR


async def test_results_that_are_to_wait_for_years_are_asked_for_after_an_hour(
    world: World,
) -> None:
    world.goes_wrong(Mishap("content", "429", asks=YEARS))
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert HOUR < result.wall_time < 2 * HOUR


async def test_a_look_for_a_lost_create_comes_again_after_an_hour(world: World) -> None:
    """So does the question for the account with which a process begins that finds batches."""
    after = asked_before(world, "list")
    world.goes_wrong(Mishap("create", "ghost-500"), Mishap("list", "429", after=after, asks=YEARS))
    result = await world.run(prompts(5), on_ambiguous="resubmit")
    assert result.succeeded == 5
    assert HOUR < result.wall_time < 3 * HOUR
    assert len(world.batches.jobs) == 1


async def test_a_new_process_asks_for_the_account_again_after_an_hour(world: World) -> None:
    await world.run(prompts(5), detach=True)
    world.goes_wrong(Mishap("list", "429", asks=YEARS), Mishap("find", "429", asks=YEARS))
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert result.wall_time < 3 * HOUR


async def test_a_batch_that_has_ended_is_looked_at_before_it_would_be_brought_back(
    tmp_path: Path, world: World
) -> None:
    """A poll that is to wait for an hour comes once before the deadline all the same."""
    world.goes_wrong(Mishap("get", "429", asks=YEARS))
    result = await world.run(prompts(5), deadline=2_400.0, config=ProcessorConfig(max_workers=4))
    assert result.succeeded == 5
    assert count_calls(world.batches, ["cancel"]) == 0
    assert online_calls(world) == 0


async def test_a_run_that_fails_at_its_deadline_looks_once_more_before_it(
    tmp_path: Path, world: World
) -> None:
    world.goes_wrong(Mishap("get", "429", asks=YEARS))
    result = await world.run(prompts(5), deadline=1_800.0, on_late="fail")
    assert result.succeeded == 5
    assert result.wall_time < 1_800.0


async def test_a_cancellation_that_is_to_wait_is_no_reason_to_be_late(tmp_path: Path) -> None:
    world = World(tmp_path, BatchBehaviour(run=100_000.0))
    world.goes_wrong(Mishap("cancel", "429", FOR_EVER, asks=YEARS))
    began = anyio.current_time()
    result = await world.run(prompts(5), deadline=HOUR)
    assert result.termination.cause is EndCause.BATCH_TIMEOUT
    assert anyio.current_time() - began < HOUR + 60
