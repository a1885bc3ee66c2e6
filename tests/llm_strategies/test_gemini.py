"""Gemini's strategies in both spellings, and what comes with a blocked answer."""

from typing import Any

import attrs
import pytest

from batchllm.api import run_batch
from batchllm.core import Category, LLMResponse, ProcessorConfig, RetryConfig, StrategyError
from batchllm.llm_strategies import GeminiCachedStrategy, GeminiResponse, GeminiStrategy
from batchllm.providers import GeminiCachedModel, GeminiClient, GeminiModel
from batchllm.simulator import Simulator, SimulatorTransport

pytestmark = pytest.mark.anyio

ONCE = ProcessorConfig(retry=RetryConfig(max_attempts=1))
CONTEXT = [{"role": "user", "parts": [{"text": "All that is known. " * 40}]}]


@pytest.fixture
def simulator() -> Simulator:
    """Give a provider that speaks Gemini."""
    return Simulator("default?profile=gemini")


@pytest.fixture
def client(simulator: Simulator) -> GeminiClient:
    """Give a client of that provider."""
    http = SimulatorTransport(simulator)
    return GeminiClient(base_url="http://sim.test/v1beta", http=http)


def shout(response: LLMResponse) -> str:
    return response.text.upper()


async def test_a_model_and_a_parser_make_a_strategy(client: GeminiClient) -> None:
    """The newer spelling takes any model, positionally."""
    strategy = GeminiStrategy(GeminiModel("gemini-x", client), shout, temperature=0.5)
    result = await run_batch(["[[answer:said]]"], strategy)
    assert result.outputs == ["SAID"]
    assert strategy.temperature == 0.5
    assert strategy.quota_scope == GeminiModel("gemini-x", client).quota_scope
    cached = GeminiCachedModel("gemini-x", client, CONTEXT)
    result = await run_batch(["[[answer:said]]"], GeminiStrategy(cached, response_parser=shout))
    assert result.outputs == ["SAID"]
    assert result.total_cached_tokens > 0


async def test_a_name_and_a_client_make_a_strategy(
    client: GeminiClient, simulator: Simulator
) -> None:
    """The older spelling takes a name and a client; without a parser the output is the text."""
    strategy = GeminiStrategy(
        model="gemini-x",
        client=client,
        system_instruction="be kind",
        safety_settings=[{"category": "HARM_CATEGORY_X", "threshold": "BLOCK_NONE"}],
    )
    result = await run_batch(["[[answer:said]]"], strategy)
    assert result.outputs == ["said"]
    assert simulator.log.entries[0].input_tokens > 5


async def test_the_cached_strategy_keeps_one_cache(
    client: GeminiClient, simulator: Simulator
) -> None:
    """All items share the cache, which stays after the run and is deleted on demand."""
    strategy = GeminiCachedStrategy(
        model="gemini-x",
        client=client,
        cached_content=CONTEXT,
        system_instruction="be kind",
        cache_tags={"customer": "a"},
    )
    for _ in range(2):
        result = await run_batch([f"p{n}" for n in range(30)], strategy)
        assert result.succeeded == 30
        assert result.cache_hit_rate() > 90
    caches = simulator.stats()["caches"]
    assert (caches["created"], caches["alive"]) == (1, 1)
    assert strategy.cache_name == "cachedContents/sim000001"
    await strategy.delete_cache()
    assert strategy.cache_name is None
    assert simulator.stats()["caches"]["alive"] == 0


@attrs.frozen
class Person:
    name: str
    age: int


async def test_an_output_type_is_asked_for_and_read(client: GeminiClient) -> None:
    """With an output type the answer follows its schema and is an object of it."""
    plain = GeminiStrategy("gemini-x", client=client, output_type=Person)
    cached = GeminiCachedStrategy("gemini-x", client, cached_content=CONTEXT, output_type=Person)
    for strategy in (plain, cached):
        result = await run_batch(["Who?"], strategy)
        assert isinstance(result.outputs[0], Person)


async def test_metadata_come_with_an_answer(client: GeminiClient) -> None:
    """With include_metadata an output has ratings, finish reason, tokens and the raw reply."""
    strategy: GeminiStrategy[Any] = GeminiStrategy(
        "gemini-x", shout, client=client, include_metadata=True
    )
    result = await run_batch(["[[answer:said]]"], strategy)
    output = result.outputs[0]
    assert isinstance(output, GeminiResponse)
    assert (output.output, output.finish_reason) == ("SAID", "STOP")
    assert output.safety_ratings is not None
    assert output.safety_ratings["HARM_CATEGORY_HARASSMENT"] == "NEGLIGIBLE"
    assert output.token_usage == result.results[0].token_usage
    assert output.raw_response["candidates"]


@pytest.mark.parametrize(
    ("fault", "reason"), [("content-filter", "SAFETY"), ("refusal", "PROHIBITED_CONTENT")]
)
async def test_metadata_come_with_a_blocked_answer(
    fault: str, reason: str, client: GeminiClient
) -> None:
    """A blocked answer is a failed result that says, as its output, why it was blocked."""
    strategy: GeminiCachedStrategy[Any] = GeminiCachedStrategy(
        "gemini-x", client, cached_content=CONTEXT, include_metadata=True
    )
    (row,) = (await run_batch([f"[[fault:{fault}]]"], strategy)).results
    assert not row.success
    assert (row.error_category, row.attempts) == (Category.FILTERED, 1)
    assert isinstance(row.output, GeminiResponse)
    assert row.output.output is None
    assert row.output.finish_reason == reason
    assert row.output.safety_ratings is not None
    assert row.output.safety_ratings["HARM_CATEGORY_HATE_SPEECH"] == "HIGH"
    assert row.output.token_usage == row.token_usage
    assert row.token_usage["input_tokens"] > 0


async def test_without_metadata_a_blocked_answer_has_no_output(client: GeminiClient) -> None:
    """By default the error alone says what was blocked."""
    strategy = GeminiStrategy("gemini-x", client=client)
    (row,) = (await run_batch(["[[fault:content-filter]]"], strategy)).results
    assert (row.success, row.output, row.error_category) == (False, None, Category.FILTERED)


async def test_a_parser_that_fails_is_a_bad_output(client: GeminiClient) -> None:
    """An error of the parser fails the attempt, with its tokens counted."""

    def strict(response: LLMResponse) -> str:
        raise ValueError(response.text)

    strategy = GeminiStrategy("gemini-x", strict, client=client, include_metadata=True)
    (row,) = (await run_batch(["hello"], strategy, config=ONCE)).results
    assert row.error_category == Category.BAD_OUTPUT
    assert row.token_usage["output_tokens"] > 0


async def test_what_does_not_go_together_is_refused(client: GeminiClient) -> None:
    """A name needs a client, and a model has its own."""
    with pytest.raises(StrategyError, match=r"only a name; give client=GeminiClient\(api_key\)"):
        GeminiStrategy("gemini-x")
    model = GeminiModel("gemini-x", client)
    with pytest.raises(StrategyError, match="the model is a GeminiModel, which has its own"):
        GeminiStrategy(model, client=client)
    with pytest.raises(StrategyError, match="give an LLMModel"):
        GeminiStrategy(object())  # type: ignore[arg-type]
