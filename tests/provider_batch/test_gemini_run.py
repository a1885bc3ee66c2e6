"""Batch mode on Gemini's wire: what differs from OpenAI's, in virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import frozen

from batchllm.api import run_batch
from batchllm.core import (
    ConfigError,
    EndCause,
    Price,
    ProcessorConfig,
    ProviderError,
)
from batchllm.journal import open_journal
from batchllm.llm_strategies import GeminiResponse, GeminiStrategy, ModelStrategy
from batchllm.provider_batch import JobsOfRun, State, wire_of
from batchllm.providers import (
    GeminiCachedModel,
    GeminiClient,
    GeminiEmbeddingStrategy,
    GeminiModel,
)
from batchllm.simulator import BatchBehaviour, Mishap, parse_scenario
from batchllm.testing import Backend
from tests.engine.moments import moments_for
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

pytestmark = pytest.mark.anyio
MODEL = "gemini:gemini-2.5-flash"
DAY = 86_400.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user", model=MODEL)


def open_world(folder: Path, **behaviour: Any) -> World:
    return World(folder, BatchBehaviour(**behaviour), model=MODEL)


def client_of(world: World) -> GeminiClient:
    return GeminiClient("key-1", base_url="http://simulator/v1beta", http=world.strategy_http())


def online_calls(world: World) -> int:
    return sum(one.path.endswith(":generateContent") for one in world.simulator.log.entries)


# -- results --------------------------------------------------------------------------------------


async def test_results_are_those_of_online(world: World) -> None:
    strategy = world.strategy()
    result = await world.run(prompts(30), strategy)
    plain = await run_batch(prompts(30), strategy)
    assert outputs(result) == outputs(plain)
    assert len(world.billed) == len(set(world.billed)) == 30
    assert result.total_output_tokens == plain.total_output_tokens > 0
    names = {"safety_ratings", "provider_finish_reason", "model", "batch_id"}
    assert all(names <= set(one.metadata or ()) for one in result.results)


@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("lists_results", [True, False])
async def test_batches_are_read_in_each_of_their_shapes(
    tmp_path: Path, bare: bool, lists_results: bool
) -> None:
    """With and without an operation around them, and results that the list leaves out."""
    world = open_world(tmp_path, is_bare=bare, lists_results=lists_results, shuffled=True)
    assert (await world.run(prompts(12), chunk_size=2)).succeeded == 12
    assert len(world.billed) == 12
    assert world.batches.calls["list"] > 1


async def test_vectors_go_through_a_batch_and_lists_of_texts_online(world: World) -> None:
    """A request of Gemini's batches has one text; the tokens of each are counted."""
    embed = GeminiEmbeddingStrategy("gemini-embedding-001", client_of(world))
    items = ["one", "two", ["three", "four"]]
    result = await world.run(items, embed)
    assert outputs(result) == outputs(await run_batch(items, embed))
    assert len(world.billed) == 2
    assert any("an item was called for online, at its price" in one for one in result.warnings)
    usage = result.by_id()["0"].token_usage
    assert usage is not None
    assert usage["input_tokens"] == 1
    created = [one.path for one in world.simulator.log.entries if "async" in one.path]
    assert created == ["/v1beta/models/gemini-embedding-001:asyncBatchEmbedContent"]


@frozen
class Place:
    city: str
    people: int


async def test_a_typed_answer_that_does_not_fit_is_repaired_online(world: World) -> None:
    wrong = json.dumps({"city": "Rome"}).replace(" ", "")
    items = [f"[[answer:{wrong}]] about a city", "about another"]
    config = ProcessorConfig(max_workers=2)
    result = await world.run(items, world.strategy(output=Place), config=config)
    by_id = result.by_id()
    assert isinstance(by_id["1"].output, Place)
    assert by_id["0"].attempts > 1
    assert online_calls(world)


async def test_a_strategy_of_gemini_gives_its_own_objects(world: World) -> None:
    strategy = GeminiStrategy(model="g", client=client_of(world), include_metadata=True)
    result = await world.run(prompts(3), strategy)
    assert all(isinstance(one.output, GeminiResponse) for one in result.results)
    plain = (await run_batch(prompts(3), strategy)).by_id()
    assert {one.item_id: one.output.output for one in result.results} == {
        name: one.output.output for name, one in plain.items()
    }
    assert result.by_id()["0"].output.safety_ratings == plain["0"].output.safety_ratings


async def test_a_request_has_no_tier_of_service(world: World) -> None:
    strategy = world.strategy(service_tier="flex", top_k=3)
    await world.run(prompts(1), strategy, detach=True)
    body = json.loads(world.batches.jobs[0].requests[0].body)
    assert body["generationConfig"]["topK"] == 3
    assert "serviceTier" not in body


async def test_a_batch_costs_half(world: World) -> None:
    config = ProcessorConfig(prices={MODEL: Price(input=2.0, output=8.0)})
    batch = await world.run(prompts(10), config=config)
    plain = await run_batch(prompts(10), world.strategy(), config=config)
    assert plain.cost is not None
    assert batch.cost == pytest.approx(plain.cost / 2)


async def test_clients_whose_requests_cannot_be_written_down_are_refused(world: World) -> None:
    class Foreign:
        class aio:  # noqa: N801
            class models:  # noqa: N801
                generate_content = None

    with pytest.raises(ConfigError, match="needs a GeminiClient"):
        await world.run(prompts(1), GeminiStrategy(GeminiModel("g", Foreign())))
    cached = GeminiCachedModel("g", client_of(world), "much")
    with pytest.raises(ConfigError, match="cache would end before the batch"):
        await world.run(prompts(1), GeminiStrategy(cached))


# -- processes that end ---------------------------------------------------------------------------


async def test_a_process_that_ends_at_any_point_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend_name: Backend
) -> None:
    """Each request, each answer and each transaction of the ledger is such a point.

    Half of them on one backend, and the others on the other.
    """
    online = World(tmp_path / "online", model=MODEL)
    expected = outputs(await run_batch(prompts(6), online.strategy()))
    at, names = 0, set()
    for at in moments_for(anyio_backend_name):
        world = open_world(tmp_path / f"{at}", queue=4.0, run=4.0, finalizing=0.0)
        image = tmp_path / f"{at}-image"
        fuse = Fuse(world.folder, image, at)
        with monkeypatch.context() as patch:
            lay_fuse(patch, fuse)
            strategy = world.strategy(fuse=fuse)

            async def run(world: World = world, strategy: Any = strategy) -> None:
                await world.run(prompts(6), strategy, chunk_size=4)

            if not await killed(run):
                break
        names.add(fuse.last.partition(" ")[2].partition(" ")[2].rpartition("/")[2])
        if not (image / "run.db").exists():
            image = world.folder
        result = await world.run(prompts(6), journal=world.journal(image), chunk_size=4)
        assert outputs(result) == expected, (at, fuse.last)
        assert sorted(world.billed) == sorted(set(world.billed)), (at, fuse.last)
        assert len(world.billed) == 6, (at, fuse.last)
        assert len(world.batches.jobs) == 2, (at, fuse.last)
        assert count_calls(world.batches, ["create"]) <= 3, (at, fuse.last)
    assert at > 30
    assert {"files", "gemini-2.5-flash:batchGenerateContent"} <= names


# -- accounts -------------------------------------------------------------------------------------


async def test_another_key_is_refused_and_bound_if_only_the_key_was_changed(
    tmp_path: Path,
) -> None:
    """Gemini reports no account: a key of another project must not take its 404 for an end."""
    world = open_world(tmp_path, accounts={"key-1": "project", "key-2": "project"})
    await world.run(prompts(5), detach=True)
    other = world.strategy(key="key-2")
    refused = await world.run(prompts(5), other)
    assert refused.termination.cause is EndCause.ACCOUNT_PROBLEM
    assert "another account" in refused.termination.reason
    assert world.states() == [State.RUNNING]
    async with open_journal(world.journal(), None, on_wait=print) as journal:
        journal.ending = ("done", "jobs", "{}")
        jobs = JobsOfRun(journal, lambda chunk: wire_of(other))
        assert "1 batches belong" in await jobs.adopt_account()
    assert (await world.run(prompts(5), other)).succeeded == 5
    assert len(world.billed) == 5


@pytest.mark.parametrize("known", [0, 5])
async def test_a_key_that_is_none_ends_the_run_and_no_item(tmp_path: Path, known: int) -> None:
    """Google answers it with 400, like a request that is wrong."""
    world = World(tmp_path, scenario=parse_scenario("instant?key=key-1"), model=MODEL)
    if known:
        await world.run(prompts(known), detach=True)
    wrong = world.strategy(key="key-9")
    result = await world.run(prompts(5), wrong)
    assert result.termination.cause is EndCause.ACCOUNT_PROBLEM
    assert "API key not valid" in result.termination.reason
    assert result.total_items == 0
    assert (await world.run(prompts(5))).succeeded == 5


# -- uploads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["upload", "put"])
@pytest.mark.parametrize("trouble", ["ghost-500", "ghost-reset", "500", "not-sent", "503"])
async def test_an_upload_that_failed_is_gone_on_with(world: World, call: Any, trouble: Any) -> None:
    """A file that is there under our name is used, and no second one is made."""
    world.goes_wrong(Mishap(call, trouble))
    assert (await world.run(prompts(5))).succeeded == 5
    assert len(world.billed) == 5
    assert count_calls(world.batches, ["put"]) <= 2


async def test_a_name_that_is_taken_by_another_content_is_no_obstacle(world: World) -> None:
    """Another file has the name: the new one gets one by the provider."""
    other = world.strategy()
    wire = wire_of(other)
    first = await world.run(prompts(5), detach=True)
    assert first.termination.cause is EndCause.DETACHED
    name = world.chunks()[0].name.file
    mine = world.chunks()[0].file_id
    assert await wire.upload(name, b"{}\n" * 9) not in (mine, "")
    assert await wire.upload(name, b"{}\n" * 9) != mine


class Hosts:
    """A transport that notes where requests go."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.seen: list[tuple[str, str]] = []

    async def handle_async_request(self, request: Any) -> Any:
        self.seen.append((request.url.host, request.url.path))
        return await self.inner.handle_async_request(request)


async def test_the_key_goes_to_no_other_host(tmp_path: Path) -> None:
    """The bytes go to the API's own address, whatever host the upload's address has."""
    world = open_world(tmp_path, results_elsewhere=True)
    hosts = Hosts(world.strategy_http())
    model = GeminiModel("g", GeminiClient("key-1", base_url="http://own/v1beta", http=hosts))
    assert (await world.run(prompts(3), ModelStrategy(model))).succeeded == 3
    assert {host for host, _ in hosts.seen} == {"own"}


@pytest.mark.parametrize(
    ("base_url", "upload"),
    [
        ("http://gate/gemini/v1beta", ("gate", "/gemini/upload/v1beta/files")),
        ("http://gate", ("gate", "/upload/files")),
    ],
)
async def test_files_are_beside_the_version_of_the_address(
    world: World, base_url: str, upload: tuple[str, str]
) -> None:
    """As Google's own SDK has it behind a gateway; no host is taken for a version."""
    hosts = Hosts(world.strategy_http())
    model = GeminiModel("g", GeminiClient("key-1", base_url=base_url, http=hosts))
    with pytest.raises(ProviderError):
        await wire_of(ModelStrategy(model)).upload("bllm-x", b"{}")
    assert hosts.seen == [upload]


async def test_a_file_that_is_gone_before_its_create_is_uploaded_again(tmp_path: Path) -> None:
    """A quota may be waited for longer than files are kept; no item fails by that."""
    world = open_world(tmp_path, files_kept=2 * DAY)
    world.goes_wrong(Mishap("create", "429", times=2))
    with anyio.move_on_after(30):
        await world.run(prompts(5))
    assert world.states() == [State.UPLOADED]
    await anyio.sleep(3 * DAY)
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert count_calls(world.batches, ["put"]) == 2
    assert len(world.billed) == 5


# -- creates --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ghost", ["ghost-500", "ghost-reset", "ghost-cut", "ghost-hang"])
@pytest.mark.parametrize("oldest_first", [False, True])
async def test_a_batch_that_was_created_without_an_answer_is_found(
    tmp_path: Path, ghost: Any, oldest_first: bool
) -> None:
    """In whichever order it is listed, among more than a page of others."""
    world = open_world(tmp_path, oldest_first=oldest_first)
    for number in range(120):
        created = world.now - 100_000 + number
        details = {"model": "models/m", "wanted": {"displayName": "theirs"}, "inline": True}
        world.batches.create("batches/", world.account("key-1"), [], [], details, created)
    world.goes_wrong(Mishap("create", ghost))
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert len(world.batches.jobs) == 121
    assert len(world.billed) == 5


async def test_a_create_that_failed_is_repeated_after_ten_minutes(world: World) -> None:
    world.goes_wrong(Mishap("create", "500"))
    assert (await world.run(prompts(5))).succeeded == 5
    (job,) = world.batches.jobs
    assert "-t2-" in job.details["wanted"]["displayName"]
    assert 600 <= job.created - world.start < 720


async def test_a_batch_that_turns_up_late_is_cancelled_and_reported(tmp_path: Path) -> None:
    world = open_world(tmp_path, list_lag=700.0, run=3_000.0)
    world.goes_wrong(Mishap("create", "ghost-500"))
    result = await world.run(prompts(5))
    assert result.succeeded == 5
    assert len(world.batches.jobs) == 2
    assert any("is a second one" in text for text in result.warnings)
    assert any(job.cancelled is not None for job in world.batches.jobs)
    assert len({one.item_id for one in result.results}) == len(result.results) == 5


async def test_a_quota_at_the_create_is_waited_for(tmp_path: Path) -> None:
    """The refusal speaks of plan and billing, as each of Google's does."""
    world = open_world(tmp_path, token_limit=500)
    result = await world.run(prompts(30), chunk_size=10)
    assert result.succeeded == 30
    assert count_calls(world.batches, ["create"]) > 3
    assert all(one.attempts == 1 for one in result.results)
    assert len(world.billed) == 30 == len(set(world.billed))


async def test_a_chunk_that_never_fits_is_split(tmp_path: Path) -> None:
    world = open_world(tmp_path, token_limit=500)
    result = await world.run(prompts(40), chunk_size=40)
    assert result.succeeded == 40
    assert max(len(job.requests) for job in world.batches.jobs) < 40


async def test_a_storm_of_refusals_is_sat_out(world: World) -> None:
    """On creates and lists: pauses grow to half an hour, and nothing is given up.

    What is created afterwards has a minute between, until a batch is seen to run.
    """
    world.goes_wrong(Mishap("create", "429", times=5), Mishap("list", "429", times=6))
    result = await world.run(prompts(16), chunk_size=2)
    assert result.succeeded == 16
    assert len(world.billed) == 16 == len(set(world.billed))
    assert count_calls(world.batches, ["create"]) <= 16 + 5
    times = [job.created - world.start for job in world.batches.jobs]
    assert times[0] >= 60 + 120 + 240 + 480 + 960
    assert times[1] - times[0] >= 60
    assert result.wall_time >= times[5] + 60 + 120 + 240 + 480 + 960 + 1_800


# -- ends of batches ------------------------------------------------------------------------------


async def test_lines_of_every_kind_end_as_they_should(world: World) -> None:
    marks = {0: "400", 1: "500", 2: "429", 3: "missing", 4: "empty", 5: "text", 6: "nokey"}
    result = await world.run(marked(9, marks))
    assert outputs(result)["0"] == "invalid_request"
    assert result.succeeded == 8
    assert [len(job.requests) for job in world.batches.jobs] == [9, 6]
    assert any("1 lines that are of no request" in text for text in result.warnings)


@pytest.mark.parametrize(("keeps", "second"), [(True, 3), (False, 10)])
async def test_what_an_expired_batch_has_done_is_taken_if_it_is_kept(
    tmp_path: Path, keeps: bool, second: int
) -> None:
    world = open_world(tmp_path, run=1_000.0, window=760.0, keeps_parts=keeps)

    async def widen() -> None:
        await anyio.sleep(200)
        world.behaves(window=2 * DAY)

    result = await world.run_beside(widen, prompts(10))
    assert result.succeeded == 10
    assert [len(job.requests) for job in world.batches.jobs] == [10, second]
    assert online_calls(world) == 0


@pytest.mark.parametrize(("code", "succeeded"), [("INTERNAL", 10), ("INVALID_ARGUMENT", 0)])
async def test_a_batch_that_failed_goes_again_if_its_requests_are_not_to_blame(
    world: World, code: str, succeeded: int
) -> None:
    async def fail() -> None:
        await anyio.sleep(30)
        world.batches.jobs[0].problems.append({"code": code, "message": "It went wrong."})

    result = await world.run_beside(fail, prompts(10))
    assert result.succeeded == succeeded
    assert {one.error_category for one in result.failures} <= {"invalid_request"}
    assert len(world.batches.jobs) == (2 if succeeded else 1)
    assert online_calls(world) == 0


async def test_a_quota_that_is_found_late_is_waited_for(world: World) -> None:
    async def fail() -> None:
        await anyio.sleep(30)
        problem = {"code": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota."}
        world.batches.jobs[0].problems.append(problem)

    result = await world.run_beside(fail, prompts(10))
    assert result.succeeded == 10
    assert len(world.billed) == 10


async def test_results_that_are_kept_no_more_are_said_to_be_gone(tmp_path: Path) -> None:
    """A user who comes back after days learns that, and decides: they may have been paid for."""
    world = open_world(tmp_path, files_kept=2 * DAY)
    await world.run(prompts(5), detach=True)
    await anyio.sleep(4 * DAY)
    result = await world.run(prompts(5))
    assert result.termination.cause is EndCause.STOPPED
    assert "no more, with 5 requests that may be paid for" in result.termination.reason
    assert world.states() == [State.LOST]
    assert len(world.batches.jobs) == 1
    async with open_journal(world.journal(), None, on_wait=print) as journal:
        journal.ending = ("done", "jobs", "{}")
        await JobsOfRun(journal, lambda chunk: wire_of(world.strategy())).cancel([1])
    assert (await world.run(prompts(5))).succeeded == 5


async def test_results_that_are_gone_are_asked_for_anew_if_that_is_wanted(tmp_path: Path) -> None:
    world = open_world(tmp_path, files_kept=2 * DAY)
    await world.run(prompts(5), detach=True)
    await anyio.sleep(4 * DAY)
    result = await world.run(prompts(5), on_lost="resubmit")
    assert result.succeeded == 5
    assert len(world.batches.jobs) == 2


# -- deadlines ------------------------------------------------------------------------------------


async def test_a_batch_that_never_begins_leaves_the_run_resumable_at_the_deadline(
    tmp_path: Path,
) -> None:
    """Days in which none begins were seen; a cancellation may then not settle either."""
    world = open_world(tmp_path, queue=float("inf"), cancel=1e9)
    result = await world.run(prompts(5), deadline=3_600)
    assert result.termination.cause is EndCause.BATCH_TIMEOUT
    assert result.not_run == 5
    assert world.states() == [State.CANCELLING]
    assert world.billed == []


async def test_jobs_are_cancelled_and_their_files_deleted(world: World) -> None:
    await world.run(prompts(5), detach=True)
    strategy = world.strategy()
    async with open_journal(world.journal(), None, on_wait=print) as journal:
        journal.ending = ("done", "jobs", "{}")
        (said,) = await JobsOfRun(journal, lambda chunk: wire_of(strategy)).cancel([])
    assert "is being cancelled" in said
    assert (await world.run(prompts(5))).succeeded == 5
    assert len(world.billed) == 5
    async with open_journal(world.journal(), None, on_wait=print) as journal:
        journal.ending = ("done", "jobs", "{}")
        said = await JobsOfRun(journal, lambda chunk: wire_of(strategy)).collect_garbage()
    assert said
    files = await wire_of(strategy).control.call("GET", "/files")  # type: ignore[attr-defined]
    assert files["files"] == []
