"""Waits of batch mode that must end, and calls that must not stand in the way of others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from batchllm.core import Budget, EndCause, JournalError, ProcessorConfig, SourceError
from batchllm.journal import JournalWriter
from batchllm.provider_batch import Chunk, State
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.polling import poll_delay
from batchllm.provider_batch.spool import Spool
from batchllm.provider_batch.wires import OpenAIBatches
from batchllm.provider_batch.wires.control import Control
from batchllm.simulator import BatchBehaviour, Mishap
from tests.provider_batch.kit import Fuse, World, count_calls, killed, prompts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("moving_clock")]
DAY = 86_400.0
FOR_EVER = 10**6


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user")


@pytest.fixture
def clock_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose clock is years ahead of the provider's."""
    make = JournalWriter.__init__

    def makes(self: JournalWriter, *given: Any) -> None:
        make(self, *given)
        self.wall_clock = lambda: 2_000_000_000.0

    monkeypatch.setattr(JournalWriter, "__init__", makes)


@pytest.fixture
def no_dates(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A provider whose answers have no ``Date`` while the list is not empty."""
    without, learn = [True], Control._learn

    def learns(self: Control, headers: Any) -> None:
        kept = {k: v for k, v in headers.items() if not without or k.lower() != "date"}
        learn(self, kept)

    monkeypatch.setattr(Control, "_learn", learns)
    return without


@pytest.mark.usefixtures("clock_ahead")
async def test_a_lost_create_is_proved_absent_though_its_time_was_of_a_wrong_clock(
    world: World, no_dates: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    create = OpenAIBatches.create

    async def with_dates_from_here_on(self: OpenAIBatches, *given: Any) -> Any:
        no_dates.clear()
        return await create(self, *given)

    monkeypatch.setattr(OpenAIBatches, "create", with_dates_from_here_on)
    world.goes_wrong(Mishap("create", "500"))
    with anyio.fail_after(DAY):
        result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert len(world.batches.jobs) == 1


@pytest.mark.usefixtures("clock_ahead")
async def test_a_later_process_proves_it_too(world: World, no_dates: list[bool]) -> None:
    image = world.folder.parent / "image"
    fuse = Fuse(world.folder, image, 1, "before POST /v1/batches")
    assert await killed(lambda: world.run(prompts(5), world.strategy(fuse=fuse)))
    no_dates.clear()
    with anyio.fail_after(DAY):
        result = await world.run(prompts(5), journal=world.journal(image))
    assert result.succeeded == 5
    assert len(world.batches.jobs) == 1


@pytest.mark.parametrize("model", ["openai:m", "anthropic:m"])
async def test_a_create_behind_the_upload_of_another_process_has_its_account(
    tmp_path: Path, model: str
) -> None:
    """A third process would refuse the batch as that of another account otherwise."""
    world, image = World(tmp_path / "user", model=model), tmp_path / "image"
    fuse = Fuse(world.folder, image, 1, "before a transaction: creating")
    save = BatchLedger.save

    async def with_fuse(self: BatchLedger, before: Chunk, after: Chunk, detail: str = "") -> None:
        if after.state is State.CREATING:
            fuse.passes("before a transaction: creating")
        await save(self, before, after, detail)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchLedger, "save", with_fuse)
        assert await killed(lambda: world.run(prompts(5)))
    assert [one.state for one in world.chunks(image)] == [State.UPLOADED]
    second = await world.run(prompts(5), journal=world.journal(image), detach=True)
    assert second.termination.cause is EndCause.DETACHED
    (chunk,) = world.chunks(image)
    assert chunk.intent is not None
    assert abs(chunk.intent - world.batches.jobs[0].created) < 10
    third = await world.run(prompts(5), journal=world.journal(image))
    assert third.succeeded == 5, third.termination


@pytest.mark.parametrize(
    ("trouble", "cause"),
    [
        ("401", EndCause.ACCOUNT_PROBLEM),
        ("reset", EndCause.ENDPOINT_DOWN),
        ("500", EndCause.ENDPOINT_DOWN),
    ],
)
@pytest.mark.parametrize("call", ["upload", "get", "content"])
async def test_calls_that_fail_on_and_on_end_the_run_whatever_they_are_for(
    world: World, trouble: Any, cause: EndCause, call: Any
) -> None:
    world.goes_wrong(Mishap(call, trouble, times=FOR_EVER))
    with anyio.fail_after(DAY):
        first = await world.run(prompts(5))
    assert first.termination.cause is cause
    world.batches.mishaps.clear()
    again = await world.run(prompts(5))
    assert again.succeeded == 5
    assert len(world.batches.jobs) == 1


@pytest.mark.parametrize(
    ("trouble", "cause"),
    [
        ("401", EndCause.ACCOUNT_PROBLEM),
        ("reset", EndCause.ENDPOINT_DOWN),
    ],
)
async def test_a_lost_create_is_not_looked_for_where_nothing_answers(
    world: World, trouble: Any, cause: EndCause
) -> None:
    world.goes_wrong(Mishap("create", "ghost-500"), Mishap("list", trouble, times=FOR_EVER))
    with anyio.fail_after(DAY):
        first = await world.run(prompts(5))
    assert first.termination.cause is cause
    with anyio.fail_after(DAY):  # a new process asks for the account first
        second = await world.run(prompts(5))
    assert second.termination.cause is cause
    world.batches.mishaps.clear()
    again = await world.run(prompts(5))
    assert again.succeeded == 5
    assert len(world.batches.jobs) == 1


async def test_results_that_are_not_there_for_hours_are_no_outage(world: World) -> None:
    world.goes_wrong(Mishap("content", "404", times=60))
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert anyio.current_time() > 7 * 3_600.0


@pytest.mark.parametrize("trouble", ["500", "reset", "404"])
async def test_a_second_batch_whose_cancellation_fails_keeps_no_other_waiting(
    tmp_path: Path, trouble: Any
) -> None:
    world = World(tmp_path, BatchBehaviour(list_lag=700.0, run=3_000.0))
    world.goes_wrong(Mishap("create", "ghost-500"), Mishap("cancel", trouble))
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert any("is a second one" in text for text in result.warnings)
    # Taken for ended after a refusal of 404, and asked for again after what says nothing.
    assert count_calls(world.batches, ["cancel"]) == (1 if trouble == "404" else 2)


async def test_a_budget_without_room_for_the_test_makes_it_smaller(world: World) -> None:
    """Ten lines have room behind a test of fifty that has none, and would wait for it for ever."""
    limited = world.strategy(max_tokens=50)
    world.goes_wrong(Mishap("upload", "reset", times=FOR_EVER))
    first = await world.run(prompts(60), limited, chunk_size=60)
    assert first.termination.cause is EndCause.ENDPOINT_DOWN
    assert [(one.lines, one.canary) for one in world.chunks()] == [(50, True), (10, False)]
    world.batches.mishaps.clear()
    budget = ProcessorConfig(budget=Budget(max_tokens_total=4_000))
    with anyio.fail_after(DAY):
        result = await world.run(prompts(60), limited, config=budget, chunk_size=60)
    assert result.succeeded == 60


async def test_an_error_of_the_source_comes_as_it_does_online(world: World) -> None:
    def items() -> Iterator[str]:
        yield "one"
        msg = "no more"
        raise ValueError(msg)

    with pytest.raises(SourceError, match="no more"):
        await world.run(items())


@pytest.mark.parametrize("asked", [1e9, float("inf")])
def test_a_header_that_is_wrong_ends_no_polls(asked: float) -> None:
    assert poll_delay(0.0, random.Random(1), hint=asked) <= 3_600.0


async def test_lines_that_are_gone_before_a_create_fail_no_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anthropic's creates have the lines in them; without any they would be refused."""
    world, read, lost = World(tmp_path, model="anthropic:m"), Spool.read_lines, []

    def loses_one(self: Spool, chunk: int) -> bytes | None:
        if lost:
            return read(self, chunk)
        lost.append(chunk)
        return None

    monkeypatch.setattr(Spool, "read_lines", loses_one)
    result = await world.run(prompts(5))
    assert lost
    assert result.succeeded == 5


async def test_nothing_is_created_before_it_is_on_the_disk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I2 also on a disk that does not answer: the run ends in words and not in a create."""
    save = BatchLedger.save

    async def slow(self: BatchLedger, before: Chunk, after: Chunk, detail: str = "") -> None:
        if after.state is State.CREATING:
            await anyio.sleep(100.0)
        await save(self, before, after, detail)

    monkeypatch.setattr(BatchLedger, "save", slow)
    with pytest.raises(JournalError, match=r"written down in 30 s.*run\.db"):
        await world.run(prompts(5))
    assert not world.batches.jobs
