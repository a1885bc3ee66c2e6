"""The samples of the page on custom strategies."""

from typing import Any

import pytest

from batchllm import LLMCallStrategy
from tests.seeds.harness import CUSTOM, Client, needs, process, sample, validation_error

pytestmark = pytest.mark.anyio


def openai_strategy() -> type[Any]:
    """The class of the first sample, which the last one uses."""
    from batchllm import LLMCallStrategy

    class OpenAIStrategy(LLMCallStrategy[str]):
        def __init__(self, client, model: str):
            self.client = client
            self.model = model

        async def execute(self, prompt: str, attempt: int, timeout: float):
            response = await self.client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": prompt}]
            )

            output = response.choices[0].message.content
            tokens = {
                "input_tokens": response.usage.prompt_tokens,
                "output_tokens": response.usage.completion_tokens,
                "total_tokens": response.usage.total_tokens,
            }

            return output, tokens

    return OpenAIStrategy


@sample(1, "Basic Custom Strategy", "client", of=CUSTOM)
async def test_basic_custom_strategy() -> None:
    """A class with `execute` alone is a strategy; its tokens are counted."""
    client = Client("four words of answer")
    strategy = openai_strategy()(client, "gpt-4")

    result = await process(strategy, "two words", "and three more")

    assert [r.output for r in result.results] == ["four words of answer"] * 2
    assert {call["model"] for call in client.calls} == {"gpt-4"}
    sent = [call["messages"] for call in client.calls]
    assert [{"role": "user", "content": "two words"}] in sent
    assert [{"role": "user", "content": "and three more"}] in sent
    assert (result.total_input_tokens, result.total_output_tokens) == (5, 8)
    assert sorted(r.token_usage["total_tokens"] for r in result.results) == [6, 7]


@sample(2, "Resource Management", "client", of=CUSTOM)
async def test_resource_management() -> None:
    """One cache is made before the first call and deleted after the last, for all items."""

    class CachedStrategy(LLMCallStrategy[str]):
        def __init__(self, client, system_instruction: str):
            self.client = client
            self.system_instruction = system_instruction
            self.cache_name = None

        async def prepare(self):
            self.cache_name = await self.client.create_cache(content=self.system_instruction)

        async def execute(self, prompt: str, attempt: int, timeout: float):
            response = await self.client.generate(prompt=prompt, cache_name=self.cache_name)
            return response.text, response.usage

        async def cleanup(self):
            if self.cache_name:
                await self.client.delete_cache(self.cache_name)

    client = Client(lambda prompt, cache_name: f"{prompt} by {cache_name}, {client.caches[1:]}")
    strategy = CachedStrategy(client, "be brief")

    result = await process(strategy, "p", "q")

    assert sorted(r.output for r in result.results) == ["p by cache 1, []", "q by cache 1, []"]
    assert client.caches == ["created with be brief", "deleted cache 1"]
    assert result.total_input_tokens == 2, "a usage object is read like a mapping"


@needs("pydantic")
@sample(3, "Error Handling", "client", of=CUSTOM)
async def test_error_handling() -> None:
    """`on_error` hears of each failure before the next attempt, and only validation escalates."""
    from pydantic import ValidationError

    class SmartRetryStrategy(LLMCallStrategy[dict]):
        def __init__(self, client):
            self.client = client
            self.validation_failures = 0

        async def on_error(self, exception: Exception, attempt: int):
            if isinstance(exception, ValidationError):
                self.validation_failures += 1

        async def execute(self, prompt: str, attempt: int, timeout: float):
            if self.validation_failures == 0:
                model = "cheap-model"
            elif self.validation_failures == 1:
                model = "medium-model"
            else:
                model = "expensive-model"

            response = await self.client.generate(prompt, model=model)
            return response.output, response.tokens

    client = Client(
        validation_error(), ConnectionError("reset"), validation_error(), {"answer": 42}
    )
    strategy = SmartRetryStrategy(client)

    result = await process(strategy, "p", attempts=4)

    assert [call["model"] for call in client.calls] == [
        "cheap-model",
        "medium-model",
        "medium-model",
        "expensive-model",
    ]
    assert result.results[0].output == {"answer": 42}
    assert strategy.validation_failures == 2


@sample(4, "Progressive Temperature", "client", of=CUSTOM)
async def test_progressive_temperature() -> None:
    """Each attempt has its number, so that each can be hotter; the last temperature stays."""

    class ProgressiveTempStrategy(LLMCallStrategy[str]):
        def __init__(self, client, temperatures=None):
            self.client = client
            self.temperatures = temperatures or [0.0, 0.5, 1.0]

        async def execute(self, prompt: str, attempt: int, timeout: float):
            temp_index = min(attempt - 1, len(self.temperatures) - 1)
            temperature = self.temperatures[temp_index]

            response = await self.client.generate(prompt=prompt, temperature=temperature)

            return response.text, response.usage

    client = Client(*[ValueError("not what was asked for")] * 3, "good")

    result = await process(ProgressiveTempStrategy(client), "p", attempts=4)

    assert [call["temperature"] for call in client.calls] == [0.0, 0.5, 1.0, 1.0]
    assert result.results[0].output == "good"


@needs("anthropic")
@sample(5, "Anthropic Example", "client", of=CUSTOM)
async def test_anthropic_example() -> None:
    """A client of Anthropic's shape: blocks of content, and no total of tokens."""
    from anthropic import AsyncAnthropic

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

    client = Client("a good answer")

    result = await process(AnthropicStrategy(client), "a question")

    assert client.calls[0]["model"] == "claude-3-5-sonnet-20241022"
    assert client.calls[0]["max_tokens"] == 1024
    assert result.results[0].token_usage["total_tokens"] == 5


@sample(6, "Usage", "`OpenAIStrategy` of the first sample, `openai_client`", of=CUSTOM)
async def test_usage() -> None:
    """Config, processor, work item, result."""
    from batchllm import LLMWorkItem, ParallelBatchProcessor, ProcessorConfig

    OpenAIStrategy = openai_strategy()
    openai_client = Client("Hello to you!")
    results = []

    async def main():
        strategy = OpenAIStrategy(client=openai_client, model="gpt-4")

        config = ProcessorConfig(max_workers=5)

        async with ParallelBatchProcessor(config=config) as processor:
            await processor.add_work(
                LLMWorkItem(item_id="test", strategy=strategy, prompt="Hello!")
            )

            result = await processor.process_all()
        results.append(result)

    await main()
    (result,) = results
    assert (result.total_items, result.succeeded, result.failed) == (1, 1, 0)
    assert result.results[0].item_id == "test"
    assert result.results[0].output == "Hello to you!"
