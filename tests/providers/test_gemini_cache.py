"""A shared context cache of Gemini: one at a time, whatever happens, counted by the simulator."""

import logging
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest

from batchllm.api import open_pool, run_batch
from batchllm.core import (
    ConfigError,
    LLMModel,
    ManagedLLMModel,
    PrepareError,
    ProcessorConfig,
    ProviderError,
)
from batchllm.llm_strategies import ModelStrategy
from batchllm.providers import GeminiCachedModel, GeminiClient
from batchllm.simulator import Simulator, SimulatorTransport

pytestmark = pytest.mark.anyio

CONTEXT = "All that is known of the matter. " * 40


class Server(SimulatorTransport):
    """The simulator; `refuse` has statuses with which the next requests of a kind fail."""

    def __init__(self, scenario: str) -> None:
        super().__init__(Simulator(scenario))
        self.refuse: dict[str, list[int]] = {}
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        place = request.url.path.rpartition("/v1beta")[2]
        kind = f"{request.method} {'generate' if ':' in place else place.split('/')[1]}"
        self.asked.append(kind)
        if self.refuse.get(kind):
            await anyio.sleep(0.5)
            status = self.refuse[kind].pop(0)
            error = {"code": status, "message": "refused", "status": "INTERNAL"}
            return httpx.Response(status, json={"error": error}, request=request)
        return await super().handle_async_request(request)

    @property
    def counts(self) -> dict[str, int]:
        """All that was done to caches."""
        caches: dict[str, int] = self.simulator.stats()["caches"]
        return caches

    @property
    def calls(self) -> list[Any]:
        """The log's entries of answers."""
        entries = self.simulator.log.entries
        return [entry for entry in entries if "generateContent" in entry.path]


def world(scenario: str = "default", **settings: Any) -> tuple[GeminiCachedModel, Server]:
    server = Server(f"{scenario}{'&' if '?' in scenario else '?'}profile=gemini")
    client = GeminiClient(base_url="http://sim.test/v1beta", http=server)
    settings = {"cached_content": CONTEXT} | settings
    return GeminiCachedModel("gemini-x", client, **settings), server


def again(server: Server, **settings: Any) -> GeminiCachedModel:
    """Another process's model with the same client address."""
    client = GeminiClient(base_url="http://sim.test/v1beta", http=server)
    return GeminiCachedModel("gemini-x", client, **({"cached_content": CONTEXT} | settings))


async def at_once(count: int, call: Callable[[], Awaitable[Any]]) -> list[Any]:
    """The outcome of each of many calls at once."""
    results: list[Any] = []

    async def one() -> None:
        try:
            results.append(await call())
        except Exception as error:
            results.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return results


TIMES: dict[str, Any] = {"cache_ttl_seconds": 200, "cache_renewal_buffer_seconds": 60}
CONFIG = ProcessorConfig(max_workers=50)


async def test_a_thousand_items_share_one_cache_over_three_lifetimes() -> None:
    """One cache is made, kept alive by renewals while fifty calls run, and used by every call."""
    model, server = world("default?latency=30", **TIMES)
    result = await run_batch([f"p{n}" for n in range(1000)], ModelStrategy(model), config=CONFIG)
    assert result.succeeded == 1000
    assert result.wall_time > 3 * 190
    counts = server.counts
    assert (counts["created"], counts["most_alive"], counts["expired"]) == (1, 1, 0)
    assert 3 <= counts["renewed"] <= 5
    assert len(server.calls) == 1000
    assert all(entry.outcome == "ok" and entry.cached_tokens > 0 for entry in server.calls)
    assert result.total_cached_tokens == sum(entry.cached_tokens for entry in server.calls)
    assert model.cache_name == "cachedContents/sim000001"


async def test_a_thousand_items_outlive_caches_that_vanish() -> None:
    """A cache that is taken away three times is made anew three times, once for everybody."""
    model, server = world("default?latency=30", **TIMES)

    async def take_away() -> None:
        for _ in range(3):
            await anyio.sleep(145)
            await model._inner.client.aio.caches.delete(name=model.cache_name)

    async with anyio.create_task_group() as group:
        group.start_soon(take_away)
        strategy = ModelStrategy(model)
        result = await run_batch([f"p{n}" for n in range(1000)], strategy, config=CONFIG)
    assert result.succeeded == 1000
    assert (server.counts["created"], server.counts["most_alive"]) == (4, 1)
    assert server.asked.count("GET cachedContents") == 4  # the refusals named the cache
    answered = [entry for entry in server.calls if entry.status == 200]
    assert len(answered) == 1000
    assert all(entry.cached_tokens > 0 for entry in answered)
    assert all(row.attempts == 1 for row in result.results)


async def test_a_cache_that_expires_while_nobody_calls_is_made_anew() -> None:
    """In pauses longer than the TTL the cache ends; the next calls make one, together."""
    model, server = world(**TIMES)
    async with open_pool(ModelStrategy(model), config=CONFIG) as pool:
        for _ in range(3):
            await at_once(50, lambda: pool.call("hello"))
            await anyio.sleep(250)
    counts = server.counts
    assert (counts["created"], counts["expired"], counts["most_alive"]) == (3, 3, 1)
    assert all(entry.status == 200 for entry in server.calls)


async def test_a_cache_is_found_again() -> None:
    """Equal model, contents and tags lead to the cache that is there, which is renewed."""
    first, server = world(cache_tags={"customer": "a", "v": "1"})
    await first.prepare()
    await first.cleanup()
    second = again(server, cache_tags={"v": "1", "customer": "a"})
    await second.prepare()
    assert second.cache_name == first.cache_name
    assert (server.counts["created"], server.counts["renewed"]) == (1, 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"cache_tags": {"customer": "b"}},
        {"cache_tags": None},
        {"cached_content": "Something else altogether. " * 40},
        {"system_instruction": "be kind"},
    ],
)
async def test_another_cache_is_not_taken_for_ours(settings: dict[str, Any]) -> None:
    """Other tags, contents or instructions make another cache."""
    first, server = world(cache_tags={"customer": "a"})
    await first.prepare()
    other = again(server, **({"cache_tags": {"customer": "a"}} | settings))
    await other.prepare()
    assert other.cache_name != first.cache_name
    assert server.counts["alive"] == 2


async def test_a_cache_is_found_on_a_later_page() -> None:
    """All pages of the list are looked through, and of several the one that ends last is taken."""
    model, server = world()
    caches = model._inner.client.aio.caches
    for number in range(150):
        config = {"contents": CONTEXT, "display_name": f"other {number}", "ttl": "900s"}
        await caches.create(model="gemini-x", config=config)
    ours = {"contents": CONTEXT, "display_name": model._keeper.config["display_name"]}
    await caches.create(model="gemini-x", config={**ours, "ttl": "100s"})
    last = await caches.create(model="gemini-x", config={**ours, "ttl": "300s"})
    await caches.create(model="another", config={**ours, "ttl": "900s"})
    await model.prepare()
    assert model.cache_name == last.name
    assert server.asked.count("GET cachedContents") == 2


async def test_a_cache_that_ends_while_it_is_found_is_made() -> None:
    """A cache in the list that can no longer be renewed is no cache."""
    first, server = world()
    await first.prepare()
    server.refuse["PATCH cachedContents"] = [403]
    second = again(server)
    await second.prepare()
    assert second.cache_name != first.cache_name


async def test_fifty_unprepared_calls_make_one_cache() -> None:
    """Without prepare the first call makes the cache, and the others wait for it."""
    model, server = world("default?latency=2")
    answers = await at_once(50, lambda: model.generate("hello"))
    assert {answer.text for answer in answers} == {answers[0].text}
    assert server.asked.count("POST cachedContents") == 1
    assert server.asked.count("GET cachedContents") == 1


async def test_a_refusal_is_shared_by_all_who_waited() -> None:
    """When the cache cannot be made, one request is refused and not one for each caller."""
    model, server = world("default?latency=2")
    server.refuse["POST cachedContents"] = [429]
    answers = await at_once(50, lambda: model.generate("hello"))
    assert all(isinstance(answer, Exception) for answer in answers)
    assert server.asked.count("POST cachedContents") == 1
    classify = model.error_classifier.classify
    assert {info.is_rate_limit for error in answers if (info := classify(error))} == {True}
    assert (await model.generate("hello")).text


async def test_a_failed_renewal_does_not_fail_calls() -> None:
    """While the cache serves, a renewal that fails is logged and tried again later."""
    model, server = world(**TIMES)
    await model.prepare()
    await anyio.sleep(150)
    server.refuse["PATCH cachedContents"] = [500, 500]
    for _ in range(4):
        await model.generate("hello")
        await anyio.sleep(7)
    assert server.asked.count("PATCH cachedContents") == 2
    await anyio.sleep(10)
    await model.generate("hello")
    assert server.asked.count("PATCH cachedContents") == 3
    assert (server.counts["created"], server.counts["renewed"]) == (1, 1)


async def test_a_renewal_that_fails_after_the_end_fails_the_call() -> None:
    """With an unknown end, an error that is not about the cache being gone is told."""
    model, server = world()
    await model.prepare()
    await model.cleanup()
    server.refuse["PATCH cachedContents"] = [500]
    with pytest.raises(ProviderError, match="500"):
        await model.generate("hello")


async def test_a_cache_that_vanished_before_its_renewal_is_made_anew() -> None:
    """A renewal that finds nothing leads to a new cache."""
    model, server = world(**TIMES)
    await model.prepare()
    await model._inner.client.aio.caches.delete(name=model.cache_name)
    await anyio.sleep(150)
    await model.generate("hello")
    assert server.counts["created"] == 2
    assert len(server.calls) == 1


async def test_a_refusal_that_is_not_about_the_cache_is_no_reason_to_make_one() -> None:
    """A 404 or 403 that does not name the cache is checked, and told where the cache is there."""
    model, server = world()
    server.refuse["POST generate"] = [500]
    with pytest.raises(ProviderError, match="500"):
        await model.generate("hello")
    assert server.asked == ["GET cachedContents", "POST cachedContents", "POST generate"]
    server.refuse["POST generate"] = [403]
    with pytest.raises(ProviderError, match="403"):
        await model.generate("hello")
    assert server.counts["created"] == 1
    server.refuse["POST generate"] = [404]
    server.refuse["GET cachedContents"] = [404]
    assert (await model.generate("hello")).text
    assert model.cache_name == "cachedContents/sim000001"  # found again: it was there all along
    server.refuse["POST generate"] = [404]
    server.refuse["GET cachedContents"] = [500]
    with pytest.raises(ProviderError, match="404"):
        await model.generate("hello")


async def test_a_call_is_repeated_once_only() -> None:
    """Two caches that vanish under one call are one too many."""
    model, server = world()
    await model.prepare()
    server.refuse["POST generate"] = [404, 404]
    server.refuse["GET cachedContents"] = [404]
    with pytest.raises(ProviderError, match="404"):
        await model.generate("hello")
    assert server.asked.count("POST generate") == 2


async def test_the_servers_word_on_lifetimes_counts() -> None:
    """A cache that lives shorter than was asked for is renewed in time all the same."""
    model, server = world(**TIMES)
    real = model._keeper.caches

    async def make(**settings: Any) -> Any:
        return await real.create(model="gemini-x", config={**settings["config"], "ttl": "50s"})

    model._keeper.caches = SimpleNamespace(create=make, list=real.list, update=real.update)
    await model.prepare()
    await model.generate("hello")
    assert server.counts["renewed"] == 0
    await anyio.sleep(26)
    await model.generate("hello")
    assert (server.counts["created"], server.counts["renewed"]) == (1, 1)


async def test_without_renewal_a_cache_is_left_to_end() -> None:
    """With auto_renew off a cache is neither renewed nor made anew, and prepare is needed."""
    model, server = world(auto_renew=False, **TIMES)
    with pytest.raises(RuntimeError, match=r"call prepare\(\) first"):
        await model.generate("hello")
    await model.prepare()
    await anyio.sleep(150)
    await model.generate("hello")
    assert server.counts["renewed"] == 0
    await anyio.sleep(100)
    with pytest.raises(ProviderError, match="404"):
        await model.generate("hello")
    await model.cleanup()
    await model.prepare()
    assert (await model.generate("hello")).text
    assert server.counts["created"] == 2


async def test_cleanup_keeps_the_cache_and_deletion_ends_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A cache stays after the run; delete_cache ends it with one request, however many ask."""
    caplog.set_level(logging.INFO, "batchllm")
    model, server = world()
    await model.prepare()
    name = model.cache_name
    await model.cleanup()
    await model.cleanup()
    assert (model.cache_name, server.counts["alive"]) == (name, 1)
    assert f"the Gemini cache {name} stays" in caplog.text
    await at_once(20, model.delete_cache)
    assert model.cache_name is None
    assert server.asked.count("DELETE cachedContents") == 1
    assert server.counts["alive"] == 0
    assert f"deleted the Gemini cache {name}" in caplog.text
    assert (await model.generate("hello")).text
    assert server.counts["created"] == 2


async def test_a_deletion_that_fails_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A cache that is gone already, or a server that fails, does not raise."""
    model, server = world()
    await model.prepare()
    server.refuse["DELETE cachedContents"] = [500]
    await model.delete_cache()
    assert "could not delete the Gemini cache cachedContents/sim000001" in caplog.text
    assert model.cache_name is None


async def test_a_cache_can_go_with_its_last_user() -> None:
    """With delete_on_cleanup the last of several runs deletes the cache."""
    model, server = world(delete_on_cleanup=True)
    await model.prepare()
    await model.prepare()
    await model.cleanup()
    assert server.counts["alive"] == 1
    await model.cleanup()
    assert (server.counts["alive"], model.cache_name) == (0, None)


async def test_a_failed_prepare_holds_nothing() -> None:
    """A cache that cannot be made fails prepare, and the next one starts afresh."""
    model, server = world(delete_on_cleanup=True)
    server.refuse["POST cachedContents"] = [500]
    with pytest.raises(ProviderError, match="500"):
        await model.prepare()
    assert model._inner.client.http._holders == 0
    await model.prepare()
    await model.cleanup()
    assert (server.counts["created"], server.counts["alive"]) == (1, 0)


async def test_a_run_whose_prepare_failed_lets_go_of_nothing_that_others_hold() -> None:
    """Its cleanup follows all the same; the connections and the cache of another user stay."""
    model, server = world(delete_on_cleanup=True)
    client = model._inner.client
    await model.prepare()
    other = GeminiCachedModel("gemini-x", client, CONTEXT + "More.", delete_on_cleanup=True)
    server.refuse["POST cachedContents"] = [500]
    with pytest.raises(PrepareError, match="500"):
        await run_batch(["hello"], ModelStrategy(other))
    assert client.http._holders == 1
    await other.prepare()
    await other.cleanup()
    assert client.http._holders == 1
    await model.cleanup()
    assert (client.http._holders, server.counts["alive"]) == (0, 0)


async def test_a_cancelled_prepare_holds_nothing() -> None:
    """The connections are let go although the task is cancelled."""
    model, _ = world("default?latency=5")
    with anyio.move_on_after(1):
        await model.prepare()
    assert model._inner.client.http._holders == 0


async def test_a_cancelled_leader_leaves_the_work_to_the_next() -> None:
    """A call that is cancelled while it makes the cache does not take the others with it."""
    model, server = world("default?latency=5")
    texts: list[str] = []

    async def patient() -> None:
        texts.append((await model.generate("hello")).text)

    async with anyio.create_task_group() as group:
        with anyio.move_on_after(7):  # the list has come, the cache is being made
            group.start_soon(patient)
            await model.generate("hello")
    assert len(texts) == 1
    assert model.cache_name is not None
    assert server.counts["most_alive"] == 1


async def test_an_instruction_belongs_to_the_cache() -> None:
    """A system instruction beside a cached context is refused before anything is sent."""
    model, server = world(system_instruction="be kind")
    with pytest.raises(ValueError, match="system_instruction cannot be given"):
        await model.generate("hello", system_instruction="be rude")
    assert not server.asked
    prompt = [{"role": "system", "content": "be rude"}, {"role": "user", "content": "x"}]
    with pytest.raises(ValueError, match="system_instruction cannot be given"):
        await model.generate(prompt)
    assert not server.calls


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ((60, 60), "cache_renewal_buffer_seconds is 60 and cache_ttl_seconds 60"),
        ((100, 300), "has to be shorter"),
        ((100, -1), "not negative"),
    ],
)
async def test_times_that_cannot_work_are_refused(times: tuple[int, int], words: str) -> None:
    """The buffer has to be shorter than the TTL."""
    ttl, buffer = times
    with pytest.raises(ConfigError, match=words):
        world(cache_ttl_seconds=ttl, cache_renewal_buffer_seconds=buffer)


async def test_times_that_hardly_work_are_warned_of() -> None:
    """A short TTL and a small buffer are each worth a warning that points to the caller."""
    with pytest.warns(UserWarning, match=r"is \d+: a ca") as caught:
        world(cache_ttl_seconds=59, cache_renewal_buffer_seconds=50)
    first, second = (str(one.message) for one in caught)
    assert "cache_ttl_seconds is 59" in first
    assert "cache_renewal_buffer_seconds is 50" in second
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="give 60 or more"):
        world(cache_ttl_seconds=9, cache_renewal_buffer_seconds=5)


async def test_nothing_to_cache_is_refused() -> None:
    """A cache needs contents or an instruction; an instruction alone is enough."""
    nothings: list[Any] = [None, []]
    for nothing in nothings:
        with pytest.raises(ConfigError, match="nothing to cache"):
            world(cached_content=nothing)
    model, server = world(cached_content=None, system_instruction="be kind")
    await model.prepare()
    assert server.counts["created"] == 1


async def test_a_cached_model_is_what_the_protocols_ask_for() -> None:
    """It is a managed model, names its cache in its identity, and shares its model's scope."""
    model, _ = world(parameters={"max_tokens": 7})
    as_protocol: ManagedLLMModel = model
    assert isinstance(as_protocol, LLMModel)
    assert model.quota_scope.provider == "gemini"
    assert model.estimate("hello") is not None
    other, _ = world(cache_tags={"a": "b"}, parameters={"max_tokens": 7})
    assert model.identity() != other.identity()
    assert "cache=None" in repr(model)
