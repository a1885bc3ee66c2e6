"""Embeddings, from the simulator and from scripts."""

import json
import struct
from base64 import b64encode
from typing import Any

import httpx
import pytest

from batchllm.api import ParallelBatchProcessor, call, open_pool, run_batch, stream_batch
from batchllm.core import (
    CallGuard,
    ConfigError,
    LLMCallStrategy,
    LLMWorkItem,
    MalformedResponseError,
    ProviderError,
    Reply,
    RetryState,
    ServerHint,
    TransportError,
)
from batchllm.llm_strategies import Balance, Fallback, ResponseCache
from batchllm.providers import EmbeddingStrategy, GeminiClient, GeminiEmbeddingStrategy
from batchllm.simulator import Simulator, SimulatorTransport
from batchllm.testing import ScriptedStrategy

pytestmark = pytest.mark.anyio

URL = "http://api.test/v1"


def simulated(scenario: str = "default", **settings: Any) -> EmbeddingStrategy:
    http = SimulatorTransport(Simulator(scenario))
    settings = {"api_key": "k", **settings}
    return EmbeddingStrategy("embed-1", base_url=URL, http=http, **settings)


def scripted(answer: object, status: int = 200) -> EmbeddingStrategy:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    http = httpx.MockTransport(lambda _: httpx.Response(status, content=body))
    return EmbeddingStrategy("e", profile="ollama", base_url=URL, http=http)


@pytest.mark.parametrize("profile", ["openai", "mistral"])
async def test_each_text_has_its_vector(profile: str) -> None:
    """A list of texts gives one vector each, in order, packed or not, with the tokens counted."""
    strategy = simulated(profile=profile, parameters={"dimensions": 16})
    both, usage, metadata = await strategy.execute(["one", "two"], 1, 10.0)
    (two,), _, _ = await strategy.execute("two", 1, 10.0)
    assert [len(vector) for vector in both] == [16, 16]
    assert both[1] == pytest.approx(two, rel=1e-5)
    assert both[0] != both[1]
    assert usage is not None
    assert usage["input_tokens"] > 0
    assert metadata["request_id"]


async def test_packed_and_plain_vectors_agree() -> None:
    """Floats in base64 are those that digits would have told."""
    numbers = [0.5, -2.0, 0.0]
    packed = b64encode(struct.pack("<3f", *numbers)).decode()
    for embedding in (numbers, packed, [0.5, -2, 0]):
        strategy = scripted({"data": [{"index": 0, "embedding": embedding}]})
        assert (await strategy.execute("x", 1, 10.0))[:2] == ([numbers], None)


async def test_vectors_are_put_in_order() -> None:
    """The index of a vector counts, not its place; without indices the place does."""
    second_first = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    bare = [{"embedding": [1.0]}, {"embedding": [2.0]}]
    for data in (second_first, bare):
        vectors, _, _ = await scripted({"data": data}).execute(["a", "b"], 1, 10.0)
        assert vectors == [[1.0], [2.0]]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {},
        {"data": [{"index": 0, "embedding": [1.0]}] * 2},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": "AAA"}, {"index": 1, "embedding": "AAAA"}]},
        {"data": [{"index": 0}]},
        b"<html>",
    ],
)
async def test_vectors_that_do_not_match_are_refused(answer: object) -> None:
    """Too few, too many, wrongly numbered or broken vectors are never handed on."""
    with pytest.raises(MalformedResponseError):
        await scripted(answer).execute(["a", "b"], 1, 10.0)


async def test_errors_are_the_providers() -> None:
    """Error replies, errors in a success and lost connections are told as for chats."""
    with pytest.raises(ProviderError, match="401") as caught:
        await simulated("strict").execute("x", 1, 10.0)
    assert caught.value.code == "invalid_api_key"
    with pytest.raises(ProviderError, match="busy"):
        await scripted({"error": "busy"}).execute("x", 1, 10.0)
    with pytest.raises(TransportError):
        await simulated().execute("[[fault:connect]]", 1, 10.0)


@pytest.mark.parametrize("item", [7, [], ["a", 7], None])
async def test_an_item_that_is_no_text_is_refused(item: object) -> None:
    """Only a text or a list of texts can be embedded."""
    with pytest.raises(ValueError, match="a text or a list of texts"):
        await simulated().execute(item, 1, 10.0)


async def test_limits_are_passed_on() -> None:
    """Limits in the reply reach the run."""

    seen: list[ServerHint] = []

    class State(CallGuard):
        def progress(self) -> None:
            raise AssertionError

        def observe(self, hint: ServerHint) -> None:
            seen.append(hint)

        async def call(
            self, inner: LLMCallStrategy[Any], prompt: Any, attempt: int, timeout: float
        ) -> Reply:
            raise AssertionError

    await simulated("quota").execute("x", 1, 10.0, RetryState(_guard=State()))
    assert [bool(hint.limits) for hint in seen] == [True]


async def test_a_dry_run_calls_nobody() -> None:
    """A dry run gives vectors of the right number and length."""
    vectors, usage = await scripted({}).dry_run(["a", "b"])
    assert (len(vectors), len(vectors[0]), usage["output_tokens"]) == (2, 8, 0)


async def test_the_strategy_is_managed_and_named() -> None:
    """It can be prepared and cleaned up, and is told from others without its key."""
    strategy = simulated(api_key="canary-0123456789", parameters={"dimensions": 4})
    await strategy.prepare()
    await strategy.cleanup()
    assert strategy.identity()["parameters"]["dimensions"] == 4
    assert strategy.quota_scope is not None
    assert "canary" not in f"{strategy!r} {strategy.identity()} {strategy.quota_scope}"
    with pytest.raises(ConfigError, match="did you mean 'dimensions'"):
        simulated(parameters={"dimension": 4})


async def vectors_of(*items: Any, **options: Any) -> list[int]:
    """Embed *items* by a batch; return how many vectors each has got."""
    result = await run_batch(items, options.pop("strategy", None) or simulated(), **options)
    result.raise_for_failures()
    return [len(each.output or ()) for each in result.in_input_order()]


async def test_lists_of_texts_are_items() -> None:
    """However they come: bare, with an id, with a context, and as a work item."""
    item = LLMWorkItem[Any, Any, Any]("d", prompt=["a", "b", "c", "d", "e"])
    counts = await vectors_of("a", ["a", "b"], ("x", ["a", "b", "c"]), (7, ["a"] * 4, "ctx"), item)
    assert counts == [1, 2, 3, 4, 5]


async def test_lists_of_texts_through_every_entry_point() -> None:
    """A stream, a pool, one call, a processor, and composites round the strategy."""
    strategy = simulated()
    assert len(await call(["a", "b"], strategy)) == 2
    async with open_pool(strategy) as pool:
        assert len(await pool.call(["a", "b", "c"])) == 3
    async with stream_batch([["a", "b"]], strategy) as run:
        assert [len(result.output or ()) async for result in run] == [2]
    async with ParallelBatchProcessor[Any, Any, Any](strategy=strategy) as processor:
        await processor.add_work(LLMWorkItem("a", prompt=["a", "b"]))
        assert len((await processor.process_all()).outputs[0] or ()) == 2
    for composite in (Balance([simulated(), simulated()]), ResponseCache(Fallback([simulated()]))):
        assert await vectors_of(["a", "b"], strategy=composite) == [2]


async def test_gemini_takes_lists_of_texts_too() -> None:
    """Its strategy and its client are others; the items are the same."""
    client = GeminiClient("k", base_url=URL, http=SimulatorTransport(Simulator()))
    assert await vectors_of(["a", "b"], strategy=GeminiEmbeddingStrategy("embed-1", client)) == [2]


@pytest.mark.parametrize("wrong", [[], ["a", 1], [["a"]], 5, None, {"a": "b"}])
async def test_what_is_no_text_is_an_invalid_item(wrong: Any) -> None:
    """It is named before anything is sent; the others go on."""
    result = await run_batch([wrong, ["a"]], simulated())
    bad, good = sorted(result.results, key=lambda each: each.success)
    assert bad.error_category == "invalid_item"
    assert "give a text, or a list of texts that is not empty" in str(bad.error)
    assert good.success


async def test_half_a_character_in_a_list_of_texts() -> None:
    """It is found in any of them."""
    (result,) = (await run_batch([["good", "half \ud800"]], simulated())).results
    assert result.error_category == "invalid_item"
    assert "its prompt[1] has half a surrogate pair" in str(result.error)


async def test_to_other_strategies_a_list_of_texts_is_no_prompt() -> None:
    """It may be an id and a prompt in the wrong brackets; a balance with one of them refuses it."""
    mixed = Balance([simulated(), ScriptedStrategy()])
    for strategy in (ScriptedStrategy(), mixed):
        (result,) = (await run_batch([["a", "b"]], strategy)).results
        assert result.error_category == "invalid_item"
        assert "(id, prompt)" in str(result.error)
