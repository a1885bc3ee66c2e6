"""Samples with the SDKs' real clients, which find the simulator by the environment."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from batchllm import LLMCallStrategy, TokenUsage
from batchllm.simulator import Simulator, SimulatorServer, serve
from tests.seeds.harness import CUSTOM, README, needs, process, sample

pytestmark = pytest.mark.anyio

PROMPTS = [f"[[answer:answer {n}]]" for n in range(20)]


@pytest.fixture
async def server() -> AsyncIterator[SimulatorServer]:
    """Give a provider that listens on loopback."""
    async with serve(Simulator("instant")) as running:
        yield running


@needs("openai")
@sample(12, "OpenAI", "the real `AsyncOpenAI` against the simulator", of=README)
async def test_openai(server: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer reaches its item, with the tokens that the server counted."""
    from openai import AsyncOpenAI

    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    API_KEY = "sk-test"  # noqa: N806

    class OpenAIStrategy(LLMCallStrategy[str]):
        def __init__(self, client: AsyncOpenAI, model: str = "gpt-4o-mini"):
            self.client = client
            self.model = model

        async def execute(
            self, prompt: str, attempt: int, timeout: float
        ) -> tuple[str, TokenUsage]:
            response = await self.client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": prompt}],
            )

            output = response.choices[0].message.content or ""
            tokens: TokenUsage = {
                "input_tokens": response.usage.prompt_tokens,
                "output_tokens": response.usage.completion_tokens,
                "total_tokens": response.usage.total_tokens,
            }

            return output, tokens

    client = AsyncOpenAI(api_key=API_KEY)
    strategy = OpenAIStrategy(client=client)

    result = await process(strategy, *PROMPTS)
    await client.close()
    assert result.outputs == [f"answer {n}" for n in range(20)]
    log = server.simulator.log.entries
    assert {entry.model for entry in log} == {"gpt-4o-mini"}
    assert result.total_input_tokens == sum(entry.input_tokens for entry in log)


async def ask_anthropic(server: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    from anthropic import AsyncAnthropic

    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test")

    class AnthropicStrategy(LLMCallStrategy[str]):
        def __init__(self, client: AsyncAnthropic, model: str = "claude-3-5-sonnet-20241022"):
            self.client = client
            self.model = model

        async def execute(self, prompt: str, attempt: int, timeout: float):
            response = await self.client.messages.create(
                model=self.model,
                max_tokens=1024,
                messages=[{"role": "user", "content": prompt}],
            )

            output = response.content[0].text
            tokens = {
                "input_tokens": response.usage.input_tokens,
                "output_tokens": response.usage.output_tokens,
                "total_tokens": response.usage.input_tokens + response.usage.output_tokens,
            }

            return output, tokens

    client = AsyncAnthropic()
    result = await process(AnthropicStrategy(client), *PROMPTS)
    await client.close()
    return result


@needs("anthropic")
@sample(13, "Anthropic Claude", "the real `AsyncAnthropic` against the simulator", of=README)
@sample(5, "Anthropic Example", "the real `AsyncAnthropic` against the simulator", of=CUSTOM)
async def test_anthropic(server: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer reaches its item, with the tokens that the server counted."""
    result = await ask_anthropic(server, monkeypatch)
    assert result.outputs == [f"answer {n}" for n in range(20)]
    log = server.simulator.log.entries
    assert {entry.model for entry in log} == {"claude-3-5-sonnet-20241022"}
    assert result.total_output_tokens == sum(entry.output_tokens for entry in log)


@needs("google.genai")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("anyio_backend", ["asyncio", "uvloop"], indirect=True)
@sample(
    14,
    "Google Gemini with Caching (RAG)",
    "the real `genai.Client` against the simulator",
    of=README,
    loops="with the real client asyncio (on Trio it needs an httpx client given to it)",
)
async def test_google(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's client makes, uses and deletes the cache."""
    from google import genai

    from batchllm import GeminiCachedStrategy

    async with serve(Simulator("instant?profile=gemini")) as server:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)

        client = genai.Client(api_key="your-api-key")

        cached_content = [
            genai.types.Content(
                role="user",
                parts=[genai.types.Part(text="Large document context..." * 60)],
            )
        ]

        strategy = GeminiCachedStrategy(
            model="gemini-2.0-flash",
            client=client,
            response_parser=lambda r: r.text,
            cached_content=cached_content,
            cache_ttl_seconds=3600,
        )

        result = await process(strategy, *PROMPTS)
        await strategy.delete_cache()
        await client.aio.aclose()
        client.close()
    assert result.outputs == [f"answer {n}" for n in range(20)]
    assert result.cache_hit_rate() > 90
    caches = server.simulator.stats()["caches"]
    assert (caches["created"], caches["deleted"], caches["alive"]) == (1, 1, 0)
