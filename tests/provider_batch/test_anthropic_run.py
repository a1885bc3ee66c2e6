"""Batch mode on Anthropic's wire: what differs from OpenAI's, in virtual time."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import EndCause
from batchllm.provider_batch import State
from batchllm.simulator import BatchBehaviour, Job, Mishap
from batchllm.simulator.batches.jobs import Request
from batchllm.testing import Backend
from tests.engine.moments import moments_for
from tests.provider_batch.kit import Fuse, World, killed, lay_fuse, marked, outputs, prompts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("moving_clock")]
MODEL = "anthropic:claude-sonnet-5"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user", model=MODEL)


def strangers_batch(world: World, lines: int, created: float) -> Job:
    """A batch of the same account that another program has made."""
    return world.batches.create(
        "msgbatch_",
        world.account("key-1"),
        [
            Request(
                custom_id=f"theirs-{number}",
                path="/v1/messages",
                body=b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}',
            )
            for number in range(lines)
        ],
        [],
        {},
        created,
    )


async def test_results_are_those_of_online(world: World) -> None:
    strategy = world.strategy()
    result = await world.run(prompts(30), strategy)
    assert outputs(result) == outputs(await run_batch(prompts(30), strategy))
    assert len(world.billed) == len(set(world.billed)) == 30


async def test_a_process_that_ends_at_any_point_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend_name: Backend
) -> None:
    online = World(tmp_path / "online", model=MODEL)
    expected = outputs(await run_batch(prompts(6), online.strategy()))
    quick = BatchBehaviour(queue=4.0, run=4.0, finalizing=0.0)
    at = 0
    for at in moments_for(anyio_backend_name):
        world = World(tmp_path / f"{at}", quick, model=MODEL)
        image = tmp_path / f"{at}-image"
        fuse = Fuse(world.folder, image, at)
        with monkeypatch.context() as patch:
            lay_fuse(patch, fuse)
            strategy = world.strategy(fuse=fuse)

            async def run(world: World = world, strategy: object = strategy) -> None:
                await world.run(prompts(6), strategy, chunk_size=4)  # type: ignore[arg-type]

            if not await killed(run):
                break
        if not (image / "run.db").exists():
            image = world.folder
        result = await world.run(prompts(6), journal=world.journal(image), chunk_size=4)
        assert outputs(result) == expected, (at, fuse.last)
        assert sorted(world.billed) == sorted(set(world.billed)), (at, fuse.last)
        assert len(world.billed) == 6, (at, fuse.last)
        assert len(world.batches.jobs) == 2, (at, fuse.last)
    assert at > 20


async def test_the_numbers_of_requests_tell_batches_apart(world: World) -> None:
    await world.run(prompts(60), detach=True, chunk_size=20)
    counts = [len(job.requests) for job in world.batches.jobs]
    assert sum(counts) == 60
    assert len(set(counts)) == len(counts) > 3


async def test_two_batches_of_one_number_are_never_under_way_at_once(world: World) -> None:
    first = await world.run(prompts(12), detach=True, chunk_size=4)
    counts = [len(job.requests) for job in world.batches.jobs]
    assert len(set(counts)) == len(counts)
    assert "wait until there is room" in first.termination.reason
    assert (await world.run(prompts(12), chunk_size=4)).succeeded == 12


@pytest.mark.parametrize("ghost", ["ghost-500", "ghost-reset", "ghost-cut"])
async def test_a_batch_without_an_answer_is_found_among_those_of_others(
    world: World, ghost: str
) -> None:
    """Two batches of a stranger look alike; the ids in the results say whose they are."""
    for _ in range(2):
        strangers_batch(world, 5, world.now)
    world.goes_wrong(Mishap("create", ghost))  # type: ignore[arg-type]
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert len(world.batches.jobs) == 3
    assert sum(name.startswith("b1-") for name in world.billed) == 5


async def test_a_wrong_guess_is_given_back_before_anything_is_published(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, BatchBehaviour(list_lag=40.0), model=MODEL)
    strangers_batch(world, 5, world.now - 41)
    world.goes_wrong(Mishap("create", "ghost-500"))
    result = await world.run(prompts(5))
    assert outputs(result) == outputs(await run_batch(prompts(5), world.strategy()))
    assert len(world.batches.jobs) == 2


async def test_a_create_that_failed_waits_for_proof(world: World) -> None:
    world.goes_wrong(Mishap("create", "500"))
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert world.batches.jobs[0].created - world.start > 25 * 3_600


async def test_a_create_that_failed_is_repeated_sooner_if_that_is_wanted(world: World) -> None:
    world.goes_wrong(Mishap("create", "500"))
    result = await world.run(prompts(5), on_ambiguous="resubmit")
    assert result.succeeded == 5
    assert 1_800 <= world.batches.jobs[0].created - world.start < 3_000


async def test_the_key_goes_to_no_other_host(tmp_path: Path) -> None:
    """The results are asked for at the API's own address, whatever their URL says."""
    world = World(tmp_path, BatchBehaviour(results_elsewhere=True), model=MODEL)
    assert (await world.run(prompts(3))).succeeded == 3


async def test_an_account_without_credit_fails_no_item(tmp_path: Path) -> None:
    world = World(tmp_path, model=MODEL)
    result = await world.run(marked(4, dict.fromkeys(range(4), "credit")))
    assert result.termination.cause is EndCause.ACCOUNT_PROBLEM
    assert "credit balance" in result.termination.reason
    assert (result.total_items, result.not_run) == (0, 4)
    assert world.billed == []


async def test_lines_of_every_kind_end_as_they_should(world: World) -> None:
    marks = {0: "400", 1: "500", 2: "529", 3: "missing"}
    result = await world.run(marked(8, marks))
    assert outputs(result)["0"] == "invalid_request"
    assert result.succeeded == 7
    assert [len(job.requests) for job in world.batches.jobs] == [8, 3]


async def test_what_expired_goes_into_another_batch(tmp_path: Path) -> None:
    world = World(tmp_path, BatchBehaviour(run=1_000.0, window=760.0), model=MODEL)
    result = await world.run(prompts(10), batch_rounds=1)
    assert result.succeeded == 10
    assert len(world.batches.jobs) == 1


async def test_a_quota_at_the_create_is_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path, BatchBehaviour(token_limit=700), model=MODEL)
    result = await world.run(prompts(30), chunk_size=10)
    assert result.succeeded == 30
    assert len(world.billed) == 30


async def test_what_the_provider_asks_to_wait_is_waited(world: World) -> None:
    """An answer that is good asks for ten seconds, too."""
    await world.run(prompts(5))
    assert world.batches.calls["get"] <= 13


async def test_a_batch_is_detached_from_and_gone_on_with(world: World) -> None:
    first = await world.run(prompts(5), detach=True)
    assert first.termination.cause is EndCause.DETACHED
    assert world.states() == [State.RUNNING]
    assert (await world.run(prompts(5))).succeeded == 5


@pytest.mark.parametrize("refused", [False, True])
async def test_a_second_batch_is_known_by_its_results_and_none_of_others_is_cancelled(
    tmp_path: Path, refused: bool
) -> None:
    """A batch of another program, of the time and number of ours, goes on.

    A create that was surely none, an hour before, is not taken for the one that made it.
    """
    world = World(tmp_path, BatchBehaviour(list_lag=1e6, run=3_000.0), model=MODEL)
    if refused:
        world.goes_wrong(Mishap("create", "429", asks=3_600.0))
    world.goes_wrong(Mishap("create", "ghost-500"))

    async def make_strangers() -> None:
        while len(world.batches.jobs) < 2:  # noqa: ASYNC110 - the simulator has no event for it
            await anyio.sleep(20)
        world.behaves(list_lag=0.0)
        for _ in range(2):
            strangers_batch(world, 5, world.batches.jobs[-1].created + 1)

    result = await world.run_beside(make_strangers, prompts(5), on_ambiguous="resubmit")
    assert result.succeeded == 5
    assert len(world.batches.jobs) == 4
    assert not any(job.cancelled for job in world.batches.jobs)
    ghost = world.batches.jobs[0]
    (said,) = [text for text in result.warnings if "is a second one" in text]
    assert ghost.id in said
    assert "is paid twice" in said
