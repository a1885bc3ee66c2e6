"""The real packages of others through our strategies, against the simulator, on every loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from attrs import frozen

from batchllm import (
    AnthropicStrategy,
    AsyncioBridge,
    BatchResult,
    LangChainStrategy,
    LLMCallStrategy,
    OpenAIResponsesStrategy,
    OpenAIStrategy,
    ProcessorConfig,
    PydanticAIStrategy,
    RetryConfig,
    run_batch,
)
from batchllm.simulator import Simulator, SimulatorServer, serve
from tests.e2e.patience import PATIENCE

pytestmark = pytest.mark.anyio

CONFIG = ProcessorConfig(
    max_workers=5,
    timeout_per_item=10,
    retry=RetryConfig(initial_wait=0.01, jitter=False),
)


@frozen
class Person:
    """The type of the outputs."""

    name: str
    age: int


@asynccontextmanager
async def simulated() -> AsyncIterator[tuple[Simulator, SimulatorServer]]:
    simulator = Simulator("instant")
    async with serve(simulator) as server:
        yield simulator, server


async def run(strategy: LLMCallStrategy[Any], *prompts: Any) -> BatchResult[Any, Any]:
    """Run a batch; nothing here takes long."""
    with anyio.fail_after(PATIENCE):
        return await run_batch(list(prompts), strategy, config=CONFIG)


def check_books(result: BatchResult[Any, Any], simulator: Simulator) -> None:
    """Compare the counts here with the server's own."""
    answered = [entry for entry in simulator.log.entries if entry.outcome == "ok"]
    assert result.total_input_tokens == sum(entry.input_tokens for entry in answered)
    assert result.total_output_tokens == sum(entry.output_tokens for entry in answered)


@pytest.mark.parametrize(
    ("by", "given"),
    [
        pytest.param(OpenAIStrategy, {}, id="chat"),
        pytest.param(OpenAIResponsesStrategy, {}, id="responses"),
        pytest.param(OpenAIResponsesStrategy, {"stream": True}, id="responses streamed"),
    ],
)
async def test_openai(by: Any, given: dict[str, Any]) -> None:
    """Answers, a retry of ours and none of the client's, tokens and types, by either API."""
    openai = pytest.importorskip("openai")
    async with (
        simulated() as (simulator, server),
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k") as client,
    ):
        texts = by(client, "gpt-x", system="Be brief.", **given)
        result = await run(
            texts, "[[answer:one]]", "[[answer:two]] [[fault:500*1]]", "[[fault:refusal]]"
        )
        people = await run(by(client, "gpt-x", output=Person), "Who?")
    assert result.outputs == ["one", "two", None]
    assert [one.attempts for one in result.in_input_order()] == [1, 2, 1]
    assert result.in_input_order()[2].error_category == "filtered"
    assert len(simulator.log.entries) == 5
    assert isinstance(people.outputs[0], Person)
    assert result.total_input_tokens > 0


async def test_anthropic() -> None:
    """Answers, a retry of ours and none of the client's, tokens and types."""
    anthropic = pytest.importorskip("anthropic")
    async with (
        simulated() as (simulator, server),
        anthropic.AsyncAnthropic(base_url=server.url, api_key="k") as client,
    ):
        texts = AnthropicStrategy(client, "claude-x", system="Be brief.")
        result = await run(texts, "[[answer:one]]", "[[answer:two]] [[fault:500*1]]")
        check_books(result, simulator)
        people = await run(AnthropicStrategy(client, "claude-x", output=Person), "Who?")
    assert result.outputs == ["one", "two"]
    assert [one.attempts for one in result.in_input_order()] == [1, 2]
    assert len(simulator.log.entries) == 4
    assert isinstance(people.outputs[0], Person)


async def test_pydantic_ai() -> None:
    """An agent runs on every loop, again in a second batch, and is typed and counted."""
    pytest.importorskip("pydantic_ai")
    pydantic = pytest.importorskip("pydantic")
    openai = pytest.importorskip("openai")
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    class City(pydantic.BaseModel):  # type: ignore[misc,name-defined]
        name: str
        inhabitants: int

    async with simulated() as (simulator, server):
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0)
        model = OpenAIChatModel("gpt-x", provider=OpenAIProvider(openai_client=client))
        async with AsyncioBridge() as bridge:
            texts = PydanticAIStrategy(Agent(model), bridge=bridge)
            first = await run(texts, "[[answer:one]]", "[[answer:two]]")
            second = await run(texts, "[[answer:three]]")
            typed = PydanticAIStrategy(Agent(model, output_type=City), bridge=bridge)
            cities = await run(typed, "Which?")
            await bridge.call(client.close)
    assert first.outputs == ["one", "two"], first.failures
    assert second.outputs == ["three"], second.failures
    assert isinstance(cities.outputs[0], City), cities.failures
    for result in (first, second, cities):
        assert result.total_input_tokens > 0
    assert len(simulator.log.entries) == 4


async def test_langchain() -> None:
    """A chat model and a chain run on every loop, and are counted."""
    pytest.importorskip("langchain_openai")
    pydantic = pytest.importorskip("pydantic")
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI

    async with simulated() as (simulator, server):
        key = pydantic.SecretStr("k")
        chat = ChatOpenAI(model="gpt-x", base_url=f"{server.url}/v1", api_key=key, max_retries=0)
        chain = (
            ChatPromptTemplate.from_messages([("user", "{question}")]) | chat | StrOutputParser()
        )
        async with AsyncioBridge() as bridge:
            plain = await run(
                LangChainStrategy(chat, bridge=bridge), "[[answer:one]]", "[[answer:two]]"
            )
            asks = LangChainStrategy(
                chain, to_input=lambda prompt: {"question": prompt}, bridge=bridge
            )
            chained = await run(asks, "[[answer:three]]")
            await bridge.call(chat.root_async_client.close)
    assert plain.outputs == ["one", "two"], plain.failures
    assert chained.outputs == ["three"], chained.failures
    for result in (plain, chained):
        assert result.total_input_tokens > 0
        assert result.total_output_tokens > 0
    assert len(simulator.log.entries) == 3
