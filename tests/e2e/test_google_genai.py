"""Google's own client through our models and strategies, against the simulator over loopback."""

import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any, TypeAlias

import attrs
import httpx
import pytest

from batchllm.api import run_batch
from batchllm.core import Category
from batchllm.llm_strategies import GeminiCachedStrategy, GeminiResponse, GeminiStrategy
from batchllm.providers import GeminiCachedModel, GeminiEmbeddingStrategy, GeminiModel
from batchllm.simulator import Simulator, serve

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]

Open: TypeAlias = Callable[[Simulator], AbstractAsyncContextManager[Any]]


@cache
def google() -> Any:
    """Return Google's package: not at once, since each process that collects would pay for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the SDK's own imports
        return pytest.importorskip("google.genai", reason="google-genai is not installed")


@pytest.fixture
def connect(anyio_backend_name: str) -> Open:
    """Give a function that opens a client of a simulator; on Trio it brings its own httpx."""

    @asynccontextmanager
    async def client_of(simulator: Simulator) -> AsyncIterator[Any]:
        async with serve(simulator) as server, httpx.AsyncClient() as http:
            own = {"httpx_async_client": http} if anyio_backend_name == "trio" else {}
            options = google().types.HttpOptions(base_url=server.url, **own)
            client = google().Client(api_key="sim-key", http_options=options)
            try:
                yield client
            finally:
                await client.aio.aclose()
                client.close()

    return client_of


def content(text: str) -> Any:
    return google().types.Content(role="user", parts=[google().types.Part(text=text)])


async def test_an_answer_of_googles_client_is_read(connect: Open) -> None:
    """Text, counts, finish reason, ratings and the SDK's own object come back."""
    simulator = Simulator("instant?profile=gemini")
    async with connect(simulator) as client:
        model = GeminiModel("gemini-x", client, system_instruction="be kind")
        response = await model.generate([content("Say it."), "[[answer:It is said.]]"])
    entry = simulator.log.entries[0]
    assert response.text == response.raw.text == "It is said."
    assert (response.input_tokens, response.output_tokens) == (
        entry.input_tokens,
        entry.output_tokens,
    )
    assert response.metadata is not None
    assert response.metadata["finish_reason"] == "stop"
    assert response.metadata["provider_finish_reason"] == "STOP"
    assert response.metadata["safety_ratings"]["HARM_CATEGORY_HARASSMENT"] == "NEGLIGIBLE"
    assert model.quota_scope.account not in ("", "sim-key")


async def test_images_go_through_googles_client(connect: Open) -> None:
    """Data stays bytes on the way, so that the SDK encodes it once."""
    prompt = [
        {"type": "text", "text": "What is it? [[answer:A dot.]]"},
        {"type": "image", "data": b"\x89PNG", "media_type": "image/png"},
        google().types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png"),
    ]
    async with connect(Simulator("instant?profile=gemini")) as client:
        assert (await GeminiModel("gemini-x", client).generate(prompt)).text == "A dot."


@attrs.frozen
class Person:
    name: str
    age: int


async def test_a_schema_goes_through_googles_client(connect: Open) -> None:
    """An output type is asked for and read, and metadata come with it."""
    async with connect(Simulator("instant?profile=gemini")) as client:
        strategy = GeminiStrategy(
            model="gemini-x", client=client, output_type=Person, include_metadata=True
        )
        (row,) = (await run_batch(["Who?"], strategy)).results
    assert isinstance(row.output, GeminiResponse)
    assert isinstance(row.output.output, Person)


MEANINGS = {
    "400": Category.INVALID_REQUEST,
    "401": Category.AUTHENTICATION,
    "404": Category.MODEL_NOT_FOUND,
    "content-filter": Category.FILTERED,
    "daily-limit": Category.RATE_LIMIT,
    "minute-limit": Category.RATE_LIMIT,
    "500": Category.SERVER_ERROR,
    "503": Category.OVERLOADED,
}


async def test_errors_of_googles_client_keep_their_meaning(connect: Open) -> None:
    """Errors of the SDK are classified as those of our own client."""
    found: dict[str, str] = {}
    async with connect(Simulator("instant?profile=gemini")) as client:
        model = GeminiModel("gemini-x", client)
        for fault in MEANINGS:
            try:
                await model.generate(f"[[fault:{fault}]]")
            except Exception as error:  # whichever it is
                info = model.error_classifier.classify(error)
                assert info is not None
                found[fault] = info.error_category
    assert found == MEANINGS


async def test_googles_client_shares_one_cache(connect: Open) -> None:
    """Many items share one cache, a second run finds it, one that vanished is made anew."""
    simulator = Simulator("instant?profile=gemini&latency=0.01")
    async with connect(simulator) as client:
        strategy = GeminiCachedStrategy(
            model="gemini-x",
            client=client,
            response_parser=lambda response: response.text,
            cached_content=[content("All that is known. " * 40)],
            system_instruction="be kind",
            cache_tags={"customer": "a"},
        )
        first = await run_batch([f"p{n}" for n in range(40)], strategy, concurrency=20)
        again = GeminiCachedModel(
            "gemini-x",
            client,
            [{"role": "user", "parts": [{"text": "All that is known. " * 40}]}],
            system_instruction="be kind",
            cache_tags={"customer": "a"},
        )
        await again.prepare()
        assert again.cache_name == strategy.cache_name
        await client.aio.caches.delete(name=strategy.cache_name)
        second = await run_batch([f"q{n}" for n in range(40)], strategy, concurrency=20)
        await client.aio.caches.delete(name=strategy.cache_name)
        assert (await again.generate("hello")).cached_input_tokens > 0
        await again.delete_cache()
    assert (first.succeeded, second.succeeded) == (40, 40)
    assert first.cache_hit_rate() > 90
    caches = simulator.stats()["caches"]
    assert (caches["created"], caches["most_alive"], caches["alive"]) == (3, 1, 0)


async def test_googles_client_makes_vectors(connect: Open) -> None:
    """Texts become vectors in their order."""
    async with connect(Simulator("instant?profile=gemini")) as client:
        parameters = {"output_dimensionality": 4}
        strategy = GeminiEmbeddingStrategy("e", client, parameters=parameters)
        vectors, _, _ = await strategy.execute(["a", "b"], 1, 5.0)
        (alone,), _, _ = await strategy.execute("b", 1, 5.0)
    assert [len(vector) for vector in vectors] == [4, 4]
    assert vectors[1] == pytest.approx(alone)
