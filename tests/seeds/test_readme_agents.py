"""The samples with agents in the manner of PydanticAI, real ones and the testing kit's own."""

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from batchllm import LLMWorkItem, ParallelBatchProcessor, ProcessorConfig
from tests.seeds.harness import README, REFERENCE, needs, process, sample, usage_of

pytestmark = pytest.mark.anyio


class Agent:
    """PydanticAI's agent under the names of its first version.

    Args:
        model: Its name.
        result_type: A Pydantic model that answers have to fit.
        answer: What the model says, as JSON, to a prompt.
    """

    answer: Callable[[str], str]

    def __init__(self, model: str, result_type: Any) -> None:
        self.model = model
        self.result_type = result_type
        self.prompts: list[str] = []

    async def run(self, prompt: str) -> Any:
        await anyio.lowlevel.checkpoint()
        self.prompts.append(prompt)
        text = type(self).answer(prompt)
        tokens = usage_of(prompt, text)
        usage = SimpleNamespace(
            request_tokens=tokens["input_tokens"],
            response_tokens=tokens["output_tokens"],
            total_tokens=tokens["total_tokens"],
        )
        kind = self.result_type

        class Run:
            @property
            def output(self) -> Any:
                return kind.model_validate_json(text)

            def usage(self) -> Any:
                return usage

        return Run()


async def basic_example(lines: list[str]) -> Any:
    """The readme's first sample, its agent a stand-in."""
    from pydantic import BaseModel

    from batchllm import (
        LLMWorkItem,
        ParallelBatchProcessor,
        ProcessorConfig,
        PydanticAIStrategy,
    )

    class Summary(BaseModel):
        title: str
        key_points: list[str]

    Agent.answer = lambda prompt: json.dumps({"title": prompt, "key_points": ["a", "b"]})

    async def main():
        agent = Agent("gemini-2.5-flash", result_type=Summary)
        strategy = PydanticAIStrategy(agent=agent)

        config = ProcessorConfig(max_workers=5, timeout_per_item=30.0)

        async with ParallelBatchProcessor[str, Summary, None](config=config) as processor:
            for doc in ["Document 1 text...", "Document 2 text..."]:
                await processor.add_work(
                    LLMWorkItem(
                        item_id=f"doc_{hash(doc)}",
                        strategy=strategy,
                        prompt=f"Summarize: {doc}",
                    )
                )

            result = await processor.process_all()

        lines.append(f"{result.succeeded}/{result.total_items}")
        lines.append(f"{result.total_input_tokens + result.total_output_tokens}")
        return result

    return await main()


@needs("pydantic")
@sample(
    1,
    "Basic Example (PydanticAI)",
    "`Agent` by the names of that library's first version: `result_type`, `usage()`",
    of=README,
)
async def test_basic_example() -> None:
    """Structured outputs of two documents, with their tokens."""
    lines: list[str] = []
    result = await basic_example(lines)
    first, second = result.in_input_order()
    assert first.output.title == "Summarize: Document 1 text..."
    assert second.output.key_points == ["a", "b"]
    assert lines == ["2/2", str(2 * (4 + 8))]


@needs("pydantic")
@sample(1, "Basic Example (PydanticAI)", of=README)
def test_basic_example_by_asyncio_run() -> None:
    """`asyncio.run`, as the sample ends."""
    lines: list[str] = []

    asyncio.run(basic_example(lines))

    assert lines[0] == "2/2"


@needs("pydantic")
@sample(11, "Automatic Retry on Validation Errors", "`Agent`, as above", of=README)
async def test_automatic_retry_on_validation_errors() -> None:
    """Answers that do not fit are asked for again, three attempts in all, and are paid for."""
    from pydantic import BaseModel, Field

    from batchllm import PydanticAIStrategy
    from batchllm.core import RetryConfig

    class StructuredData(BaseModel):
        name: str = Field(min_length=1)
        age: int = Field(gt=0, lt=150)
        email: str = Field(pattern=r"^[\w\.-]+@[\w\.-]+\.\w+$")

    good = {"name": "John Smith", "age": 32, "email": "john.smith@example.com"}
    answers = [{**good, "age": 200}, {**good, "email": "nowhere"}, good]
    Agent.answer = lambda prompt: json.dumps(answers[len(agent.prompts) - 1])

    agent = Agent("gemini-2.5-flash", result_type=StructuredData)
    strategy = PydanticAIStrategy(agent=agent)

    config = ProcessorConfig(
        max_workers=5,
        timeout_per_item=30.0,
        retry=RetryConfig(
            max_attempts=3,
            initial_wait=1.0,
            exponential_base=2.0,
        ),
    )

    async with ParallelBatchProcessor[str, StructuredData, None](config=config) as processor:
        await processor.add_work(
            LLMWorkItem(
                item_id="item_1",
                strategy=strategy,
                prompt="Extract: John Smith, 32 years old, john.smith@example.com",
            )
        )

        result = await processor.process_all()

    assert result.results[0].output == StructuredData(**good)
    assert result.results[0].attempts == 3
    assert result.total_input_tokens == 3 * 7, "of all three attempts"

    answers[:] = [{**good, "age": 200}] * 6
    failed = (await process(strategy, "p", config=config)).results[0]
    assert (failed.success, failed.error_category, failed.attempts) == (False, "bad_output", 3)


@sample(
    42,
    "Testing Before Production",
    "`YourOutput` and what it is made of, `your_items`, processor",
    of=README,
    how="sketch",
)
async def test_testing_before_production() -> None:
    """A dry run, a mock agent, and ten items before all of them."""
    calls: list[str] = []
    your_items = [f"item {n}" for n in range(30)]

    class YourOutput(dict):
        pass

    from batchllm import PydanticAIStrategy

    counted = PydanticAIStrategy(agent=SimpleNamespace(run=calls.append))

    config = ProcessorConfig(dry_run=True)
    async with ParallelBatchProcessor(config=config) as processor:
        await processor.add_work(LLMWorkItem("a", counted, "p"))
        result = await processor.process_all()
    assert (result.succeeded, calls) == (1, [])

    from batchllm.testing import MockAgent

    mock = MockAgent(
        response_factory=lambda p: YourOutput(of=p),
        latency=0.01,
    )
    strategy = PydanticAIStrategy(agent=mock)

    test_items = your_items[:10]
    began = anyio.current_time()
    result = await process(strategy, *test_items, config=ProcessorConfig(max_workers=10))
    assert result.outputs == [{"of": item} for item in test_items]
    assert 0.01 <= anyio.current_time() - began <= 0.1


@needs("pydantic")
@sample(61, "Testing: 2. Mock Strategies", "`Summary`, processor", of=README)
async def test_mock_strategies() -> None:
    """A mock agent answers as it is told; limits and timeouts come on the calls that it names."""
    from pydantic import BaseModel

    from batchllm import LLMWorkItem, PydanticAIStrategy
    from batchllm.testing import MockAgent

    class Summary(BaseModel):
        title: str
        key_points: list[str]

    mock_agent = MockAgent(
        response_factory=lambda p: Summary(title="Test Summary", key_points=["Point A", "Point B"]),
        latency=0.01,
        rate_limit_on_call=None,
        timeout_on_call=None,
    )

    strategy = PydanticAIStrategy(agent=mock_agent)

    async with ParallelBatchProcessor() as processor:
        await processor.add_work(
            LLMWorkItem(
                item_id="test_1",
                strategy=strategy,
                prompt="Test input",
            )
        )
        result = await processor.process_all()
    assert result.results[0].output.key_points == ["Point A", "Point B"]
    assert result.total_input_tokens > 0
    assert mock_agent.prompts == ["Test input"]

    moody = MockAgent(response_factory=str.upper, rate_limit_on_call=1, timeout_on_call=2)
    async with ParallelBatchProcessor(strategy=PydanticAIStrategy(agent=moody)) as processor:
        await processor.add_work(LLMWorkItem("a", prompt="p"))
        result = await processor.process_all()
        stats = await processor.get_stats()
    assert result.outputs == ["P"]
    assert (stats["rate_limit_count"], moody.call_count, result.results[0].attempts) == (1, 3, 2)


@needs("pydantic")
@sample(6, "PydanticAIStrategy: dry_run", "`Agent`, as in the readme", of=REFERENCE)
async def test_dry_run_of_an_agent() -> None:
    """An empty model of its result type, unvalidated; words of the prompt as tokens."""
    from pydantic import BaseModel, Field

    from batchllm import PydanticAIStrategy

    class Strict(BaseModel):
        name: str = Field(min_length=1)

    strategy = PydanticAIStrategy(Agent("m", result_type=Strict))
    mock_output, mock_tokens = await strategy.dry_run("three words here")
    assert isinstance(mock_output, Strict)
    assert mock_tokens == {"input_tokens": 3, "output_tokens": 50, "total_tokens": 53}

    text, tokens = await PydanticAIStrategy(Agent("m", result_type=str)).dry_run("p")
    assert text == "[DRY-RUN] Mock output for prompt: p..."
    assert tokens["total_tokens"] == 150


@needs("pydantic")
@sample(7, "PydanticAIStrategy: execute", "`Agent`, as in the readme", of=REFERENCE)
async def test_execute_of_an_agent() -> None:
    """Tokens are read before the output, and travel with the error that reading it raises."""
    from pydantic import BaseModel, ValidationError

    from batchllm import PydanticAIStrategy

    class Person(BaseModel):
        name: str

    Agent.answer = lambda prompt: prompt
    strategy = PydanticAIStrategy(Agent("m", result_type=Person))
    assert strategy.agent.model == "m"
    output, tokens = await strategy.execute('{"name": "Ann"}', 1, 30.0)
    assert output == Person(name="Ann")
    assert tokens == {"input_tokens": 2, "output_tokens": 2, "total_tokens": 4}

    result = await process(strategy, "no JSON", attempts=1)
    (failed,) = result.results
    assert result.total_input_tokens == 2
    causes = {type(failed.exception), type(failed.exception.__cause__)}
    assert ValidationError in causes
