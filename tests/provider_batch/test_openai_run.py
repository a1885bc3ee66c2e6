"""Batch mode on OpenAI's wire, from items to results, in virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import frozen

from batchllm.api import run_batch, stream_batch
from batchllm.core import (
    ConfigError,
    EndCause,
    LLMWorkItem,
    Price,
    ProcessorConfig,
    UnknownArgumentError,
)
from batchllm.llm_strategies import Balance, llm
from batchllm.provider_batch import State
from batchllm.provider_batch.admission import Admission
from batchllm.provider_batch.pacing import WireLimits
from batchllm.provider_batch.wires import OpenAIBatches
from batchllm.providers import EmbeddingStrategy
from batchllm.simulator import BatchBehaviour, Mishap
from tests.provider_batch.kit import (
    Fuse,
    World,
    count_calls,
    killed,
    lay_fuse,
    marked,
    outputs,
    prompts,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("moving_clock")]
CONTROL = ("upload", "find", "create", "get", "list", "cancel", "content", "delete")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user")


async def online(world: World, items: Any, **more: Any) -> dict[str, Any]:
    return outputs(await run_batch(items, world.strategy(), **more))


@pytest.mark.parametrize("model", ["openai:m", "openai-responses:m", "openai-compatible:m"])
async def test_results_are_those_of_online(tmp_path: Path, model: str) -> None:
    world = World(tmp_path, model=model)
    made = llm(model, base_url="http://simulator/v1", api_key="k", http=world.strategy_http())
    result = await world.run(prompts(30), made)
    assert outputs(result) == outputs(await run_batch(prompts(30), made))
    assert len(world.billed) == len(set(world.billed)) == 30
    assert result.total_output_tokens == sum(one.output_tokens for one in world.batches.invoice)


async def test_a_finished_run_that_is_typed_again_asks_the_provider_nothing(world: World) -> None:
    first = await world.run(prompts(10))
    before = dict(world.batches.calls)
    again = await world.run(prompts(10))
    assert outputs(again) == outputs(first)
    assert all(one.replayed for one in again.results)
    assert world.batches.calls == before
    assert sorted(one.name for one in world.folder.iterdir()) == ["run.db"]


async def test_embeddings_go_through_a_batch(world: World) -> None:
    embed = EmbeddingStrategy("small", api_key="k", http=world.strategy_http())
    items = ["one", ["two", "three"]]
    result = await world.run(items, embed)
    alone = await run_batch(items, embed)
    assert outputs(result) == outputs(alone)
    assert len(world.billed) == 2


@frozen
class Place:
    city: str
    people: int


async def test_a_typed_answer_that_does_not_fit_is_repaired_online(tmp_path: Path) -> None:
    world = World(tmp_path)
    wrong = json.dumps({"city": "Rome"}).replace(" ", "")
    items = [f"[[answer:{wrong}]] about a city", "about another"]
    result = await world.run(
        items, world.strategy(output=Place), config=ProcessorConfig(max_workers=2)
    )
    by_id = result.by_id()
    assert isinstance(by_id["1"].output, Place)
    assert by_id["0"].attempts > 1
    posts = [one for one in world.simulator.log.entries if one.path.endswith("/chat/completions")]
    assert posts


async def test_stream_batch_gives_results_as_batches_end(world: World) -> None:
    async with stream_batch(
        prompts(8), world.strategy(), mode="batch", journal=world.journal(), chunk_size=4
    ) as run:
        seen = [result.item_id async for result in run]
    assert sorted(seen, key=int) == [str(number) for number in range(8)]


async def test_results_come_and_are_cleaned_up_while_others_are_uploaded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads that follow each other without a pause keep nothing else waiting."""
    upload = OpenAIBatches.upload

    async def slow_upload(self: OpenAIBatches, name: str, content: bytes) -> str:
        await anyio.sleep(30.0)
        return await upload(self, name, content)

    monkeypatch.setattr(OpenAIBatches, "upload", slow_upload)
    begun, first, states = world.start + anyio.current_time(), 0.0, []
    async with stream_batch(
        prompts(100), world.strategy(), mode="batch", journal=world.journal(), chunk_size=5
    ) as run:
        async for result in run:
            assert result.success
            first = first or world.start + anyio.current_time()
            if len(world.batches.jobs) < 20:
                states = world.states()
    assert first < begun + 300.0 < world.batches.jobs[-1].created
    assert states.count(State.CLEANED) > 5


async def test_ordered_results_come_in_the_order_of_the_input(world: World) -> None:
    world.behaves(shuffled=True)
    async with stream_batch(
        prompts(12),
        world.strategy(),
        mode="batch",
        ordered=True,
        journal=world.journal(),
        chunk_size=5,
    ) as run:
        assert [one.item_id async for one in run] == [str(number) for number in range(12)]


async def test_contexts_come_back(world: World) -> None:
    thing = object()
    items: list[Any] = [
        LLMWorkItem("a", None, "first", thing),
        ("b", "second", {"row": 2}),
        ("c", [{"role": "user", "content": "third"}], None),
    ]
    by_id = (await world.run(items)).by_id()
    assert by_id["a"].context is thing
    assert by_id["b"].context == {"row": 2}
    assert by_id["c"].success


async def test_a_bad_item_fails_alone(world: World) -> None:
    items: list[Any] = [("a", "x"), ("a", "again"), 17, ("d", "y")]
    result = await world.run(items)
    assert (result.succeeded, result.failed) == (2, 2)
    assert {one.error_category for one in result.failures} == {"invalid_item"}


# -- what does not go together --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"journal": None}, "needs a journal"),
        ({"mode": "fast"}, "give 'online' or 'batch'"),
        ({"mode": "online", "chunk_size": 5}, "chunk_size belongs to batches"),
        ({"chunk_size": 0}, "chunk_size is 0; give a whole number of at least 1"),
        ({"deadline": -1}, "deadline is -1; give seconds above 0"),
        ({"on_late": "never"}, "on_late is 'never'; give 'online' or 'wait' or 'fail'"),
    ],
)
async def test_what_cannot_work_is_refused_in_words(
    world: World, more: dict[str, Any], words: str
) -> None:
    given: dict[str, Any] = {"mode": "batch", "journal": world.journal(), **more}
    with pytest.raises(ConfigError, match=words):
        await run_batch(prompts(1), world.strategy(), **given)


async def test_an_option_that_is_misspelt_is_named(world: World) -> None:
    misspelt: dict[str, Any] = {"chunksize": 3}
    with pytest.raises(UnknownArgumentError, match="did you mean chunk_size="):
        await world.run(prompts(1), **misspelt)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (lambda: Balance(["sim:default", "sim:default"]), "is not of one model"),
        (lambda: lambda prompt: "x", "cannot be written down"),
        (lambda: llm("ollama:g"), "has no batches in this version"),
        (lambda: llm("mistral:m", api_key="k"), "Batches can go to"),
    ],
)
async def test_a_strategy_that_no_batch_can_take_is_refused(
    world: World, strategy: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        await run_batch(prompts(1), strategy(), mode="batch", journal=world.journal())


# -- processes that end ---------------------------------------------------------------------------


async def test_a_process_that_ends_at_any_point_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend_name: str
) -> None:
    """Each request, each answer and each transaction of the ledger is such a point.

    Every second of them on one backend, and the others on the other.
    """
    expected = await online(World(tmp_path / "online"), prompts(6))
    quick = BatchBehaviour(queue=4.0, run=4.0, finalizing=0.0)
    at, names = -2 if anyio_backend_name == "trio" else -1, set()
    while True:
        at += 2
        if at < 1:
            continue
        world = World(tmp_path / f"{at}", quick)
        image = tmp_path / f"{at}-image"
        fuse = Fuse(world.folder, image, at)
        with monkeypatch.context() as patch:
            lay_fuse(patch, fuse)
            strategy = world.strategy(fuse=fuse)

            async def run(world: World = world, strategy: Any = strategy) -> None:
                await world.run(prompts(6), strategy, chunk_size=4)

            if not await killed(run):
                break
        names.add(fuse.last.partition(" ")[2])
        if not (image / "run.db").exists():
            image = world.folder
        result = await world.run(prompts(6), journal=world.journal(image), chunk_size=4)
        assert outputs(result) == expected, (at, fuse.last)
        assert sorted(world.billed) == sorted(set(world.billed)), (at, fuse.last)
        assert len(world.billed) == 6, (at, fuse.last)
        assert len(world.batches.jobs) == 2, (at, fuse.last)
        assert count_calls(world.batches, ["create"]) <= 3, (at, fuse.last)
    assert at > 30
    assert {"POST /v1/files", "POST /v1/batches", "a transaction"} <= names


async def test_a_key_that_was_changed_within_its_account_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path, BatchBehaviour(accounts={"key-1": "org-a", "key-2": "org-a"}))
    await world.run(prompts(5), detach=True)
    result = await world.run(prompts(5), world.strategy(key="key-2"))
    assert result.succeeded == 5
    assert len(world.billed) == 5


# -- creates whose answer is lost -----------------------------------------------------------------


@pytest.mark.parametrize("ghost", ["ghost-500", "ghost-reset", "ghost-cut", "ghost-hang"])
async def test_a_batch_that_was_created_without_an_answer_is_found(
    world: World, ghost: Any
) -> None:
    world.goes_wrong(Mishap("create", ghost))
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert len(world.batches.jobs) == 1
    assert len(world.billed) == 5


async def test_a_create_that_failed_is_repeated_after_the_quarantine(world: World) -> None:
    world.goes_wrong(Mishap("create", "500"))
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert len(world.batches.jobs) == 1
    assert world.batches.jobs[0].details["metadata"]["bllm_try"] == "2"
    started = world.batches.jobs[0].created - 1_767_225_600
    assert 300 <= started < 400


@pytest.mark.parametrize("pause", [0.0, 4.0, 150.0, 290.0, 335.0, 3_600.0])
@pytest.mark.parametrize("model", ["openai:m", "anthropic:m"])
async def test_a_process_that_comes_after_the_create_was_lost_waits_for_proof_and_no_longer(
    tmp_path: Path, model: str, pause: float
) -> None:
    """Its second look follows the first soon, however late it comes."""
    world, image = World(tmp_path / "user", model=model), tmp_path / "image"
    path = "/v1/batches" if model.startswith("openai") else "/v1/messages/batches"
    fuse = Fuse(world.folder, image, 1, f"before POST {path}")
    assert await killed(lambda: world.run(prompts(5), world.strategy(fuse=fuse)))
    await anyio.sleep(pause)
    began = anyio.current_time()
    journal = world.journal(image)
    result = await world.run(prompts(5), journal=journal, on_ambiguous="resubmit")
    assert result.succeeded == 5
    (job,) = world.batches.jobs
    waited = job.created - world.start - began
    needed = 300.0 if model.startswith("openai") else 1_800.0
    assert waited <= max(30.0, needed - pause) + 10.0


async def test_a_create_that_never_left_is_repeated_soon(world: World) -> None:
    world.goes_wrong(Mishap("create", "not-sent", times=2))
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert world.batches.jobs[0].details["metadata"]["bllm_try"] == "1"
    assert world.batches.jobs[0].created - 1_767_225_600 < 60


async def test_a_batch_that_turns_up_late_is_cancelled_and_reported(tmp_path: Path) -> None:
    world = World(tmp_path, BatchBehaviour(list_lag=700.0, run=3_000.0))
    world.goes_wrong(Mishap("create", "ghost-500"))
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert len(world.batches.jobs) == 2
    assert any("is a second one" in text for text in result.warnings)
    assert any(job.cancelled is not None for job in world.batches.jobs)
    assert len({one.item_id for one in result.results}) == len(result.results) == 5


# -- ends of batches ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["null", "empty", "zero-bytes"])
async def test_an_error_file_that_is_not_there_is_not_asked_for(tmp_path: Path, shape: Any) -> None:
    world = World(tmp_path, BatchBehaviour(no_errors=shape))
    result = await world.run(prompts(4))
    assert result.succeeded == 4
    assert world.batches.calls["content"] == (2 if shape == "zero-bytes" else 1)


async def test_what_expired_or_is_missing_goes_into_another_batch(tmp_path: Path) -> None:
    world = World(tmp_path, BatchBehaviour(run=1_000.0, window=60.0 + 700.0))
    result_world = world
    marks = {0: "missing"}

    async def widen() -> None:
        await anyio.sleep(200)
        result_world.behaves(window=86_400.0)

    result = await world.run_beside(widen, marked(10, marks), batch_rounds=3)
    assert len(world.batches.jobs) == 3
    assert [len(job.requests) for job in world.batches.jobs] == [10, 4, 1]
    assert result.succeeded == 10
    assert len(set(world.billed)) == len(world.billed)


async def test_lines_that_validation_names_fail_and_the_rest_goes_again(world: World) -> None:
    bad = {3: "invalid", 7: "invalid", 11: "invalid"}
    result = await world.run(marked(40, bad))
    assert {one.item_id for one in result.failures} == {"3", "7", "11"}
    assert result.succeeded == 37
    assert [len(job.requests) for job in world.batches.jobs] == [40, 37]
    assert len(world.billed) == 37


async def test_a_batch_of_which_most_is_bad_fails_as_a_whole(world: World) -> None:
    result = await world.run(marked(4, dict.fromkeys(range(3), "invalid")))
    assert result.failed == 4
    assert len(world.batches.jobs) == 1


async def test_estimates_are_held_against_what_answers_have_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(Admission, "counted", lambda _, *counts: seen.append(counts))
    result = await world.run(marked(10, {3: "400"}), chunk_size=10)
    ((estimated, counted),) = seen
    (chunk,) = world.chunks()
    assert estimated == pytest.approx(chunk.tokens * 0.9)
    assert counted == result.total_input_tokens


async def test_a_batch_of_embeddings_has_only_so_many_texts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is on the texts of all its lines together; one that has more goes online."""
    limits = WireLimits(lines=50_000, bytes=200_000_000, inputs=10)
    monkeypatch.setattr(OpenAIBatches, "limits", limits)
    strategy = EmbeddingStrategy("small", api_key="k", http=world.strategy_http())
    items = [[f"text {n} {m}" for m in range(4)] for n in range(5)] + [["x"] * 11]
    result = await world.run(items, strategy)
    assert result.succeeded == 6
    assert [len(job.requests) for job in world.batches.jobs] == [2, 2, 1]
    assert len(world.billed) == 5


async def test_a_test_of_a_batch_of_embeddings_leaves_room_for_its_texts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = WireLimits(lines=50_000, bytes=200_000_000, inputs=130)
    monkeypatch.setattr(OpenAIBatches, "limits", limits)
    strategy = EmbeddingStrategy("small", api_key="k", http=world.strategy_http())
    items = [[f"{n} {m}" for m in range(1 if n < 50 else 2)] for n in range(90)]
    items.append(["x"] * 125)
    result = await world.run(items, strategy)
    assert result.succeeded == 91
    assert [len(job.requests) for job in world.batches.jobs] == [50, 40, 1]


@pytest.mark.parametrize("says", [True, False])
async def test_a_quota_after_the_create_is_waited_for(tmp_path: Path, says: bool) -> None:
    world = World(tmp_path, BatchBehaviour(token_limit=700, says_limit=says))
    result = await world.run(prompts(60), chunk_size=10, config=ProcessorConfig(max_workers=4))
    assert result.succeeded == 60
    assert all(one.attempts == 1 for one in result.results)
    assert len(world.billed) == 60 == len(set(world.billed))


async def test_a_chunk_that_never_fits_is_split(tmp_path: Path) -> None:
    world = World(tmp_path, BatchBehaviour(token_limit=400))
    result = await world.run(prompts(40), chunk_size=40)
    assert result.succeeded == 40
    assert max(len(job.requests) for job in world.batches.jobs if not job.problems) < 40


async def test_an_account_without_credit_fails_no_item(tmp_path: Path) -> None:
    world = World(tmp_path, BatchBehaviour(credit=0))
    result = await world.run(prompts(5))
    assert result.termination.cause is EndCause.ACCOUNT_PROBLEM
    assert "Billing hard limit" in result.termination.reason
    assert result.total_items == 0
    assert result.not_run == 5
    world.behaves(credit=None)
    again = await world.run(prompts(5))
    assert again.succeeded == 5
    assert len(world.billed) == 5


async def test_lines_that_fail_in_passing_get_another_round_and_then_go_online(
    world: World,
) -> None:
    marks = {0: "500", 1: "status0", 2: "timeout", 3: "text"}
    result = await world.run(marked(6, marks))
    assert result.succeeded == 6
    assert [len(job.requests) for job in world.batches.jobs] == [6, 4]
    posts = [one for one in world.simulator.log.entries if one.path.endswith("/chat/completions")]
    assert len(posts) == 4


# -- going away and coming back -------------------------------------------------------------------


async def test_detached_runs_go_on_by_the_same_call(world: World) -> None:
    first = await world.run(prompts(10), detach=True, chunk_size=4)
    assert first.termination.cause is EndCause.DETACHED
    assert "10 requests are in 3 batches" in first.termination.reason
    assert first.not_run == 10
    second = await world.run(prompts(10), chunk_size=4)
    assert second.succeeded == 10
    assert count_calls(world.batches, ["create"]) == 3


async def test_a_journal_with_batches_under_way_is_refused_online(world: World) -> None:
    """Online their requests would be paid for twice."""
    await world.run(prompts(5), detach=True)
    with pytest.raises(ConfigError, match="5 requests in batches of openai"):
        await run_batch(prompts(5), world.strategy(), journal=world.journal())
    assert (await world.run(prompts(5))).succeeded == 5
    again = await run_batch(prompts(6), world.strategy(), journal=world.journal())
    assert again.succeeded == 6


async def test_a_batch_costs_half(tmp_path: Path) -> None:
    """Half of each token's price, and the price online for what was called for online."""
    world = World(tmp_path)
    config = ProcessorConfig(prices={"openai:gpt-5-mini": Price(input=2.0, output=8.0)})
    batch = await world.run(prompts(10), config=config)
    plain = await run_batch(prompts(10), world.strategy(), config=config)
    assert plain.cost is not None
    assert batch.cost == pytest.approx(plain.cost / 2)


async def test_stats_have_what_is_under_way(world: World) -> None:
    async with stream_batch(
        prompts(6), world.strategy(), mode="batch", journal=world.journal(), chunk_size=4
    ) as run:
        await anyio.sleep(90)
        seen = run.stats()["provider_batches"]
        results = [result async for result in run]
    assert (seen["batches"], seen["requests"]) == (2, 6)
    assert len(results) == 6
    assert run.stats()["provider_batches"]["batches"] == 0


# -- deadlines ------------------------------------------------------------------------------------


async def test_a_batch_that_never_ends_leaves_the_run_resumable_at_the_deadline(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, BatchBehaviour(finalizing=float("inf"), cancel=1e9))
    result = await world.run(prompts(5), deadline=3_600)
    assert result.termination.cause is EndCause.BATCH_TIMEOUT
    assert result.not_run == 5
    assert world.states() == [State.CANCELLING]


async def test_late_items_may_fail_at_the_deadline_and_be_had_later(tmp_path: Path) -> None:
    world = World(tmp_path, BatchBehaviour(run=4_000.0))
    result = await world.run(prompts(5), deadline=600, on_late="fail")
    assert result.termination.cause is EndCause.BATCH_TIMEOUT
    again = await world.run(prompts(5), on_late="wait", deadline=10)
    assert again.succeeded == 5
    assert len(world.billed) == 5


# -- runs that are cancelled, and batches that are lost -------------------------------------------


@pytest.mark.parametrize("how", ["scope", "stop", "reader"])
async def test_batches_are_cancelled_with_the_run_if_that_is_asked_for(
    tmp_path: Path, how: str
) -> None:
    """Their results are taken by the same call, which sends the rest again."""
    world = World(tmp_path, BatchBehaviour(run=1_000.0))
    began = anyio.current_time()
    async with anyio.create_task_group() as group:
        with anyio.move_on_after(600.0 if how == "scope" else 1e6):
            async with stream_batch(
                prompts(10),
                world.strategy(),
                mode="batch",
                journal=world.journal(),
                chunk_size=5,
                on_cancel="cancel",
            ) as run:
                if how == "scope":
                    await run.__anext__()
                await anyio.sleep(600)
                if how == "stop":
                    run.stop()
                    assert [one async for one in run] == []
        group.cancel_scope.cancel()
    assert anyio.current_time() - began < 615
    assert all(job.cancelled for job in world.batches.jobs)
    assert set(world.states()) == {State.CANCELLING}
    result = await world.run(prompts(10))
    assert result.succeeded == 10
    assert len(world.billed) == 10 == len(set(world.billed))


async def test_a_provider_that_does_not_answer_keeps_no_run_from_ending(world: World) -> None:
    world.goes_wrong(Mishap("cancel", "ghost-hang"))
    began = anyio.current_time()
    with anyio.move_on_after(90.0):
        await world.run(prompts(4), on_cancel="cancel")
    assert anyio.current_time() - began < 105
    result = await world.run(prompts(4))
    assert result.succeeded == 4


async def test_a_batch_that_is_lost_ends_the_run_or_is_sent_again(world: World) -> None:
    await world.run(prompts(6), detach=True)
    world.goes_wrong(Mishap("get", "404", times=10**6))
    first = await world.run(prompts(6))
    assert first.termination.cause is EndCause.STOPPED
    assert "has batch" in first.termination.reason
    assert world.states() == [State.LOST]
    world.batches.mishaps.clear()
    again = await world.run(prompts(6), on_lost="resubmit")
    assert again.succeeded == 6
    assert any("may be paid for twice" in text for text in again.warnings)
    assert len(world.batches.jobs) == 2


async def test_a_batch_that_is_lost_during_a_run_is_sent_again_if_that_is_asked_for(
    world: World,
) -> None:
    world.goes_wrong(Mishap("get", "404", times=8))
    world.behaves(run=100_000.0)

    async def hurry() -> None:
        await anyio.sleep(300)
        world.behaves(run=60.0)

    result = await world.run_beside(hurry, prompts(6), on_lost="resubmit")
    assert result.succeeded == 6
    assert len(world.batches.jobs) == 2
