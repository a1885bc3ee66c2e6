"""Clients for Gemini, Google's or ours: generating, caches and vectors."""

from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest

from batchllm.core import ConfigError, MalformedResponseError
from batchllm.providers import GeminiClient, GeminiEmbeddingStrategy, GeminiModel
from tests.providers.wire_kit import Server, metadata_of

pytestmark = pytest.mark.anyio


CANDIDATE = {"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}


class FinishReason(Enum):
    STOP = "STOP"


async def test_stand_ins_for_googles_client_are_enough() -> None:
    """Any object with the same method and attributes is a client; a text alone is an answer."""
    seen: list[dict[str, Any]] = []
    replies: list[Any] = []

    async def generate_content(**call: Any) -> Any:
        seen.append(call)
        return replies[len(seen) - 1]

    models = SimpleNamespace(generate_content=generate_content)
    inner = SimpleNamespace(api_key="secret-key-1")
    client = SimpleNamespace(aio=SimpleNamespace(models=models), _api_client=inner)
    counts = SimpleNamespace(prompt_token_count=3, candidates_token_count=None)
    content = SimpleNamespace(parts=[SimpleNamespace(text="hi", thought=None)])
    candidate = SimpleNamespace(content=content, finish_reason=FinishReason.STOP)
    replies += [
        SimpleNamespace(candidates=[candidate], usage_metadata=counts),
        SimpleNamespace(text="only text"),
        SimpleNamespace(text=None),
    ]
    model = GeminiModel("m", client, extra={"http_options": {}})
    response = await model.generate("hello", config={"response_mime_type": "text/plain"})
    assert response.text == "hi"
    assert response.token_usage == {  # counts of zero are left out by Gemini
        "input_tokens": 3,
        "output_tokens": 0,
        "total_tokens": 3,
        "cached_input_tokens": 0,
    }
    assert metadata_of(response)["provider_finish_reason"] == "STOP"
    assert seen[0] == {
        "model": "m",
        "contents": "hello",
        "config": {"temperature": 0.0, "response_mime_type": "text/plain", "http_options": {}},
    }
    assert (await model.generate([{"role": "user", "content": "x"}])).text == "only text"
    assert seen[1]["contents"] == [{"role": "user", "parts": [{"text": "x"}]}]
    with pytest.raises(MalformedResponseError):
        await model.generate("x")
    assert model.quota_scope.account not in ("", "secret-key-1")
    await model.prepare()
    await model.cleanup()
    with pytest.raises(ConfigError, match="stream=True needs a GeminiClient"):
        GeminiModel("m", client, stream=True)
    with pytest.raises(ConfigError, match="client is a object; give a GeminiClient"):
        GeminiModel("m", object())


async def test_a_cache_is_read_with_tolerance() -> None:
    """A resource without a name is none; odd times are no times."""
    server = Server({"cachedContents": [{"name": "cachedContents/1", "expireTime": "soon"}]})
    caches = GeminiClient("k1", base_url="http://api.test/v1beta", http=server).aio.caches
    rows = [cache async for cache in await caches.list(config={"page_size": 7})]
    assert [(row.name, row.expire_time, row.create_time) for row in rows] == [
        ("cachedContents/1", None, None)
    ]
    assert server.requests[0].url.query == b"pageSize=7"
    await caches.delete(name="1")
    assert server.requests[1].url.path == "/v1beta/cachedContents/1"
    server.answer = {}
    with pytest.raises(MalformedResponseError, match="no name"):
        await caches.get(name="1")


async def test_a_cache_takes_what_a_prompt_may_be() -> None:
    """Contents of every shape are cached; a system message in them is the instruction."""
    server = Server({"name": "cachedContents/1"})
    caches = GeminiClient("k1", base_url="http://api.test/v1beta", http=server).aio.caches
    system, user = {"role": "system", "content": "be kind"}, {"role": "user", "content": "x"}
    await caches.create(model="m", config={"contents": [system, user], "display_name": "d"})
    await caches.create(model="m", config={"contents": "x", "system_instruction": "be kind"})
    first, second = server.sent
    assert first.pop("displayName") == "d"
    assert first == second
    assert first == {
        "model": "models/m",
        "contents": [{"role": "user", "parts": [{"text": "x"}]}],
        "systemInstruction": {"parts": [{"text": "be kind"}]},
    }


async def test_a_tuned_model_keeps_its_path() -> None:
    """A model's name with a slash is a path already."""
    server = Server({"candidates": [CANDIDATE]})
    client = GeminiClient("k1", base_url="http://api.test/v1beta", http=server)
    await GeminiModel("tunedModels/mine", client).generate("x")
    assert server.requests[0].url.path == "/v1beta/tunedModels/mine:generateContent"


async def test_gemini_needs_a_key() -> None:
    """Without a key and without a transport that may have one, it is asked for."""
    with pytest.raises(ConfigError, match="gemini needs a key"):
        GeminiClient()
    assert "secret" not in repr(GeminiClient("secret-key-1"))


async def test_gemini_makes_vectors() -> None:
    """One text goes to embedContent, several to batchEmbedContents, in their order."""
    server = Server({"embedding": {"values": [0.5, 1.0]}})
    client = GeminiClient("k1", base_url="http://api.test/v1beta", http=server)
    parameters = {"output_dimensionality": 2}
    strategy = GeminiEmbeddingStrategy("e", client, parameters=parameters)
    await strategy.prepare()
    vectors, usage, metadata = await strategy.execute("a", 1, 1.0)
    assert (vectors, usage, metadata) == ([[0.5, 1.0]], None, {"model": "e"})
    request = {"model": "models/e", "content": {"parts": [{"text": "a"}]}}
    assert server.sent[0] == {**request, "outputDimensionality": 2}
    server.answer = {"embeddings": [{"values": [1.0]}, {"values": [2.0]}]}
    vectors, _, _ = await strategy.execute(["a", "b"], 1, 1.0)
    assert vectors == [[1.0], [2.0]]
    assert [one["content"]["parts"][0]["text"] for one in server.sent[1]["requests"]] == ["a", "b"]
    assert server.requests[1].url.path == "/v1beta/models/e:batchEmbedContents"
    with pytest.raises(MalformedResponseError, match="2 vectors for 3 texts"):
        await strategy.execute(["a", "b", "c"], 1, 1.0)
    with pytest.raises(ConfigError, match="did you mean 'task_type'"):
        GeminiEmbeddingStrategy("e", client, parameters={"tsk_type": 1})
    assert (await strategy.dry_run(["a", "b"]))[0] == [[0.0, 0.0], [0.0, 0.0]]
    assert strategy.identity()["parameters"] == parameters
    assert "GeminiClient" in repr(strategy)
    await strategy.cleanup()
