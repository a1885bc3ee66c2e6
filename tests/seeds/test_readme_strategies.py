"""The readme's samples: strategies for any provider, and the patterns of retrying."""

import inspect
from abc import ABC
from types import SimpleNamespace
from typing import Any, TypeVar

import anyio.lowlevel
import pytest

from batchllm import LLMWorkItem, ParallelBatchProcessor, TokenUsage, from_callable
from tests.seeds.harness import (
    README,
    Client,
    needs,
    process,
    refused,
    sample,
    validation_error,
)

pytestmark = pytest.mark.anyio


@needs("openai")
@sample(12, "OpenAI", "client", of=README)
async def test_openai() -> None:
    """The tokens are a typed mapping; an answer without text is an empty one."""
    from openai import AsyncOpenAI

    from batchllm import TokenUsage
    from batchllm.llm_strategies import LLMCallStrategy

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

    client = Client("one two three", None)
    strategy = OpenAIStrategy(client=client)

    result = await process(strategy, "p", "q")

    assert sorted(r.output for r in result.results) == ["", "one two three"]
    assert {call["model"] for call in client.calls} == {"gpt-4o-mini"}
    assert result.total_input_tokens == 2


@needs("anthropic")
@sample(13, "Anthropic Claude", "client", of=README)
async def test_anthropic_claude() -> None:
    """The strategy runs with its types written out."""
    from anthropic import AsyncAnthropic

    from batchllm import TokenUsage
    from batchllm.llm_strategies import LLMCallStrategy

    class AnthropicStrategy(LLMCallStrategy[str]):
        def __init__(self, client: AsyncAnthropic, model: str = "claude-3-5-sonnet-20241022"):
            self.client = client
            self.model = model

        async def execute(
            self, prompt: str, attempt: int, timeout: float
        ) -> tuple[str, TokenUsage]:
            response = await self.client.messages.create(
                model=self.model,
                max_tokens=1024,
                messages=[{"role": "user", "content": prompt}],
            )

            output = response.content[0].text
            tokens: TokenUsage = {
                "input_tokens": response.usage.input_tokens,
                "output_tokens": response.usage.output_tokens,
                "total_tokens": response.usage.input_tokens + response.usage.output_tokens,
            }

            return output, tokens

    client = Client("hello there")
    result = await process(AnthropicStrategy(client), "say hello")
    assert result.results[0].token_usage == {
        "input_tokens": 2,
        "output_tokens": 2,
        "total_tokens": 4,
    }
    assert client.calls[0]["messages"] == [{"role": "user", "content": "say hello"}]


@sample(
    15,
    "LangChain Integration",
    "`LLMChain`, `ChatOpenAI` (that library has dropped the first), `your_prompt_template`",
    of=README,
)
async def test_langchain_integration() -> None:
    """Anything with an async call fits; known zeros are zeros."""
    from batchllm import TokenUsage
    from batchllm.llm_strategies import LLMCallStrategy

    class ChatOpenAI(SimpleNamespace):
        pass

    class LLMChain(SimpleNamespace):
        async def arun(self, input: str) -> str:
            await anyio.lowlevel.checkpoint()
            return f"{self.llm.model}: {self.prompt.format(input)}"

    your_prompt_template = "Translate {}."

    class LangChainStrategy(LLMCallStrategy[str]):
        def __init__(self, chain: LLMChain):
            self.chain = chain

        async def execute(
            self, prompt: str, attempt: int, timeout: float
        ) -> tuple[str, TokenUsage]:
            result = await self.chain.arun(input=prompt)
            tokens: TokenUsage = {
                "input_tokens": 0,
                "output_tokens": 0,
                "total_tokens": 0,
            }
            return result, tokens

    llm = ChatOpenAI(model="gpt-4o-mini")
    chain = LLMChain(llm=llm, prompt=your_prompt_template)

    strategy = LangChainStrategy(chain=chain)

    result = await process(strategy, "yes")
    assert result.results[0].output == "gpt-4o-mini: Translate yes."
    assert result.results[0].token_usage["total_tokens"] == 0


@sample(16, "Strategy Pattern", "`ABC`, `TOutput`", of=README)
async def test_strategy_pattern() -> None:
    """The outline of a strategy: the same hooks, called with what the outline takes."""
    from batchllm import TokenUsage
    from batchllm.llm_strategies import LLMCallStrategy

    TOutput = TypeVar("TOutput")
    real = LLMCallStrategy

    class LLMCallStrategy(ABC):
        async def prepare(self) -> None:
            pass

        async def execute(
            self, prompt: str, attempt: int, timeout: float
        ) -> tuple[TOutput, TokenUsage]:
            pass

        async def on_error(self, exception: Exception, attempt: int) -> None:
            pass

        async def cleanup(self) -> None:
            pass

    for name in ("prepare", "execute", "on_error", "cleanup"):
        shown = list(inspect.signature(getattr(LLMCallStrategy, name)).parameters)
        ours = list(inspect.signature(getattr(real, name)).parameters)
        assert ours[: len(shown)] == shown, name

    order: list[str] = []

    class Outlined(LLMCallStrategy, real):
        async def prepare(self) -> None:
            order.append("prepare")

        async def execute(self, prompt: str, attempt: int, timeout: float) -> Any:
            order.append(f"execute {attempt}")
            if attempt == 1:
                raise ValueError("not yet")
            return prompt, None

        async def on_error(self, exception: Exception, attempt: int) -> None:
            order.append(f"on_error {attempt}: {exception}")

        async def cleanup(self) -> None:
            order.append("cleanup")

    assert (await process(Outlined(), "p")).succeeded == 1
    assert order == ["prepare", "execute 1", "on_error 1: not yet", "execute 2", "cleanup"]


async def echo(prompt: str) -> Any:
    await anyio.lowlevel.checkpoint()
    if prompt == "bad":
        raise TypeError("no such thing")
    return f"answer to {prompt}", None


@sample(17, "Work Items", "`your_strategy`", of=README)
async def test_work_items() -> None:
    """Id, strategy, prompt and context; the context comes back."""
    your_strategy = from_callable(echo)

    work_item = LLMWorkItem(
        item_id="unique-id",
        strategy=your_strategy,
        prompt="Your prompt here",
        context={"key": "value"},
    )

    async with ParallelBatchProcessor() as processor:
        await processor.add_work(work_item)
        result = await processor.process_all()
    assert result.results[0].item_id == "unique-id"
    assert result.results[0].context == {"key": "value"}
    assert result.results[0].output == "answer to Your prompt here"


@sample(18, "Results", "processor with a good and a bad item", of=README)
async def test_results() -> None:
    """The sums of a batch, and each result by success, output and error."""
    lines: list[str] = []
    async with ParallelBatchProcessor(strategy=from_callable(echo)) as processor:
        for prompt in ("good", "bad"):
            await processor.add_work(LLMWorkItem(item_id=prompt, prompt=prompt))

        result = await processor.process_all()

        lines.append(f"Total: {result.total_items}")
        lines.append(f"Succeeded: {result.succeeded}")
        lines.append(f"Failed: {result.failed}")

        for item_result in result.results:
            if item_result.success:
                lines.append(f"{item_result.item_id}: {item_result.output}")
            else:
                lines.append(f"{item_result.item_id} failed: {item_result.error}")

    assert lines[:3] == ["Total: 2", "Succeeded: 1", "Failed: 1"]
    assert sorted(lines[3:]) == [
        "bad failed: TypeError: no such thing",
        "good: answer to good",
    ]


@sample(19, "Progressive Temperature on Retries", "client", of=README)
async def test_progressive_temperature_on_retries() -> None:
    """An empty list of temperatures is a list, too: `None` alone takes the default."""
    from batchllm import TokenUsage
    from batchllm.llm_strategies import LLMCallStrategy

    class ProgressiveTempStrategy(LLMCallStrategy[str]):
        def __init__(self, client, temps: list[float] | None = None):
            self.client = client
            self.temps = temps if temps is not None else [0.0, 0.5, 1.0]

        async def execute(
            self, prompt: str, attempt: int, timeout: float
        ) -> tuple[str, TokenUsage]:
            temp = self.temps[min(attempt - 1, len(self.temps) - 1)]

            response = await self.client.generate(prompt, temperature=temp)

            tokens: TokenUsage = {
                "input_tokens": response.usage.input_tokens,
                "output_tokens": response.usage.output_tokens,
                "total_tokens": response.usage.total_tokens,
            }

            return response.text, tokens

    client = Client(KeyError("name"), IndexError("list"), "good")
    result = await process(ProgressiveTempStrategy(client), "p")
    assert [call["temperature"] for call in client.calls] == [0.0, 0.5, 1.0]
    assert result.results[0].token_usage["total_tokens"] == 2


@needs("pydantic")
@sample(
    20,
    "Smart Retry with Validation Feedback",
    "client, `PersonData`, `tokens`, `retry_prompt`",
    of=README,
)
async def test_smart_retry_with_validation_feedback() -> None:
    """`on_error` is called between the two attempts, with what the answer lacked."""
    from pydantic import BaseModel, ValidationError

    from batchllm.llm_strategies import LLMCallStrategy

    class PersonData(BaseModel):
        name: str
        age: int

    tokens = None
    retry_prompt = "Fix the age."
    order: list[str] = []

    class SmartRetryStrategy(LLMCallStrategy[PersonData]):
        def __init__(self, client):
            self.client = client
            self.last_error = None
            self.last_response = None

        async def on_error(self, exception: Exception, attempt: int) -> None:
            order.append(f"on_error {attempt}")
            if isinstance(exception, ValidationError):
                self.last_error = exception

        async def execute(self, prompt: str, attempt: int, timeout: float):
            order.append(f"execute {attempt}")
            if attempt == 1:
                final_prompt = prompt
            else:
                final_prompt = self._create_retry_prompt(prompt)

            try:
                response = await self.client.generate(final_prompt)
                output = PersonData.model_validate_json(response.text)
                return output, tokens
            except ValidationError as e:
                self.last_response = response.text
                raise

        def _create_retry_prompt(self, original_prompt: str) -> str:
            return retry_prompt

    client = Client("no JSON at all", '{"name": "Ann", "age": "12"}')
    result = await process(SmartRetryStrategy(client), "p")
    assert order == ["execute 1", "on_error 1", "execute 2"]
    assert client.calls[1]["prompt"] == "Fix the age."
    assert result.results[0].output.age == 12


@needs("pydantic")
@sample(
    21,
    "Model Escalation for Cost Optimization",
    "client, `Analysis`, the call that `execute` leaves out",
    of=README,
    how="sketch",
)
async def test_model_escalation_for_cost_optimization() -> None:
    """Of five attempts only those after a bad answer are dearer."""
    from pydantic import ValidationError

    from batchllm.llm_strategies import LLMCallStrategy

    class Analysis(dict):
        pass

    class SmartModelEscalationStrategy(LLMCallStrategy[Analysis]):
        MODELS = [
            "gemini-2.5-flash-lite",
            "gemini-2.5-flash",
            "gemini-2.5-pro",
        ]

        def __init__(self, client):
            self.client = client
            self.validation_failures = 0

        async def on_error(self, exception: Exception, attempt: int) -> None:
            if isinstance(exception, ValidationError):
                self.validation_failures += 1

        async def execute(self, prompt: str, attempt: int, timeout: float):
            model_index = min(self.validation_failures, len(self.MODELS) - 1)
            model = self.MODELS[model_index]

            response = await self.client.generate(prompt, model=model)
            return Analysis(response.output), response.tokens

    client = Client(
        TimeoutError(),
        validation_error(),
        refused(),
        validation_error(),
        {"mood": "good"},
    )
    result = await process(SmartModelEscalationStrategy(client), "p", attempts=4)
    lite, flash, pro = SmartModelEscalationStrategy.MODELS
    assert [call["model"] for call in client.calls] == [lite, lite, flash, flash, pro]
    assert result.results[0].output == {"mood": "good"}


@sample(22, "Example: Partial Recovery Pattern", "client", of=README)
async def test_partial_recovery_pattern() -> None:
    """Right fields are kept in the item's state; only the rest is asked for again."""
    import json

    from batchllm import LLMCallStrategy, RetryState, TokenUsage

    states: dict[str, RetryState] = {}

    class PartialRecoveryStrategy(LLMCallStrategy[dict]):
        def __init__(self, client):
            self.client = client
            self.required_fields = ["name", "email", "phone", "address"]

        async def execute(
            self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
        ) -> tuple[dict, TokenUsage]:
            if state is None:
                state = RetryState()
            states[prompt] = state

            partial_results = state.get("partial_results", {})
            failed_fields = state.get("failed_fields", self.required_fields)

            if attempt == 1:
                final_prompt = f"{prompt} / all of: {', '.join(self.required_fields)}"
            else:
                final_prompt = (
                    f"{prompt} / there already: {partial_results}"
                    f" / only: {', '.join(failed_fields)}"
                )

            response = await self.client.generate(final_prompt)

            try:
                result = json.loads(response.text)

                if attempt > 1:
                    result = {**partial_results, **result}

                missing = [f for f in self.required_fields if f not in result]
                if missing:
                    state.set(
                        "partial_results",
                        {k: v for k, v in result.items() if k in self.required_fields},
                    )
                    state.set("failed_fields", missing)
                    raise ValueError(f"Missing fields: {missing}")

                state.clear()
                return result, {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}

            except (json.JSONDecodeError, KeyError) as e:
                if isinstance(e, KeyError):
                    valid_fields = {k: v for k, v in result.items() if k in self.required_fields}
                    state.set("partial_results", valid_fields)
                raise

        async def on_error(
            self, exception: Exception, attempt: int, state: RetryState | None = None
        ) -> None:
            if state:
                error_types = state.get("error_types", [])
                error_types.append(type(exception).__name__)
                state.set("error_types", error_types)

    def reply(prompt: str) -> str:
        person = prompt.split(" / ")[0]
        if "only: address" in prompt:
            return json.dumps({"address": "here"})
        known = {"name": person, "email": "e", "phone": "1"}
        return json.dumps(known if person == "Ann" else {**known, "address": "there"})

    client = Client(reply)
    result = await process(PartialRecoveryStrategy(client), "Ann", "Bob")

    by_id = result.by_id()
    assert by_id["item_0"].output == {"name": "Ann", "email": "e", "phone": "1", "address": "here"}
    assert by_id["item_1"].output["address"] == "there"
    asked = [call["prompt"] for call in client.calls if call["prompt"].startswith("Ann")]
    assert asked == [
        "Ann / all of: name, email, phone, address",
        "Ann / there already: {'name': 'Ann', 'email': 'e', 'phone': '1'} / only: address",
    ]
    assert len(client.calls) == 3, "each item has a state of its own"
    assert "partial_results" not in states["Ann"], "cleared by the success"
    assert states["Ann"] is not states["Bob"]
    assert by_id["item_0"].token_usage["total_tokens"] == 150


async def test_an_empty_state_is_true() -> None:
    """`if state:` in `on_error` holds for an item whose state nothing has been put into yet."""
    from batchllm import LLMCallStrategy, RetryState

    seen: list[Any] = []

    class Failing(LLMCallStrategy[str]):
        async def execute(
            self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
        ) -> Any:
            raise ValueError(prompt)

        async def on_error(
            self, exception: Exception, attempt: int, state: RetryState | None = None
        ) -> None:
            if state:
                error_types = state.get("error_types", [])
                error_types.append(type(exception).__name__)
                state.set("error_types", error_types)
                seen.append(list(error_types))

    await process(Failing(), "p")
    assert seen == [["ValueError"], ["ValueError"] * 2, ["ValueError"] * 3]


@sample(23, "Example: Progressive Prompting", "the `client` that the class never takes", of=README)
async def test_progressive_prompting() -> None:
    """The second prompt asks for more, the third names what went wrong."""
    from batchllm import LLMCallStrategy, RetryState

    class ProgressivePromptStrategy(LLMCallStrategy[str]):
        async def execute(
            self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
        ) -> tuple[str, TokenUsage]:
            if state is None:
                state = RetryState()

            attempts = state.get("attempts", 0)
            state.set("attempts", attempts + 1)

            if attempt == 1:
                final_prompt = prompt
            elif attempt == 2:
                final_prompt = f"{prompt} / as valid JSON"
            else:
                last_error = state.get("last_error", "")
                final_prompt = f"{prompt} / it failed with: {last_error}"

            try:
                response = await self.client.generate(final_prompt)
                return response.text, {
                    "input_tokens": 100,
                    "output_tokens": 50,
                    "total_tokens": 150,
                }
            except Exception as e:
                state.set("last_error", str(e))
                raise

        async def on_error(
            self, exception: Exception, attempt: int, state: RetryState | None = None
        ) -> None:
            if state:
                state.set("last_error", str(exception))

    strategy = ProgressivePromptStrategy()
    strategy.client = Client(ValueError("a comma is missing"), ValueError("a brace, too"), "{}")

    result = await process(strategy, "p")

    assert [call["prompt"] for call in strategy.client.calls] == [
        "p",
        "p / as valid JSON",
        "p / it failed with: a brace, too",
    ]
    assert result.results[0].output == "{}"
    assert result.results[0].attempts == 3


def test_every_name_of_the_samples_is_where_they_import_it_from() -> None:
    """The folders that samples import from have those names, and they are the package's own."""
    import batchllm.classifiers
    import batchllm.core
    import batchllm.llm_strategies
    import batchllm.middleware
    import batchllm.observers
    import batchllm.testing

    for folder, names in {
        batchllm.core: ["RetryConfig", "RateLimitConfig"],
        batchllm.llm_strategies: ["LLMCallStrategy"],
        batchllm.classifiers: ["GeminiErrorClassifier"],
        batchllm.middleware: ["Middleware"],
        batchllm.observers: ["BaseObserver", "ProcessingEvent"],
    }.items():
        for name in names:
            assert getattr(folder, name) is getattr(batchllm, name)
    assert batchllm.testing.MockAgent.__name__ == "MockAgent"
