"""The types that checkers must infer for users; checked, never run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, assert_type

from attrs import frozen
from pydantic import BaseModel
from pydantic_ai import Agent

from batchllm import (
    AnthropicStrategy,
    BatchResult,
    Journal,
    LLMCallStrategy,
    LLMWorkItem,
    ModelStrategy,
    OpenAIResponsesStrategy,
    OpenAIStrategy,
    ParallelBatchProcessor,
    PydanticAIStrategy,
    WorkItemResult,
    call,
    call_result,
    llm,
    open_pool,
    run_batch,
    stream_batch,
    structured,
    write_report,
)
from batchllm.core import Citation, TokenLogprob, ToolCall
from batchllm.llm_strategies import OutputStrategy
from batchllm.providers import ChatModel
from batchllm.testing import MockAgent, virtual_run


@frozen
class Person:
    name: str


@dataclass
class City:
    name: str


class Row(TypedDict):
    name: str


class Report(BaseModel):
    name: str


class Length(LLMCallStrategy[int]):
    async def execute(
        self, prompt: Any, attempt: int, timeout: float
    ) -> tuple[int, dict[str, int]]:
        return len(prompt), {}


async def answer(question: str) -> int:
    return len(question)


assert_type(virtual_run(answer, "six by nine", backend="trio"), int)

assert_type(llm("openai:m"), ModelStrategy[str])
assert_type(llm("openai:m", output=Person), OutputStrategy[Person])
assert_type(llm("openai:m", output=City), OutputStrategy[City])
assert_type(llm("openai:m", output=Row), OutputStrategy[Row])
assert_type(llm("openai:m", output=Report), OutputStrategy[Report])
assert_type(llm("openai:m", output=list[Person]), OutputStrategy[list[Person]])
assert_type(structured("openai:m", Person), LLMCallStrategy[Person])
assert_type(structured(llm("openai:m"), Report), LLMCallStrategy[Report])


async def clients(client: Any) -> None:
    assert_type(OpenAIStrategy(client, "m"), OpenAIStrategy[str])
    assert_type(OpenAIStrategy(client, "m", output=Person), OpenAIStrategy[Person])
    assert_type(OpenAIResponsesStrategy(client, "m"), OpenAIResponsesStrategy[str])
    assert_type(
        OpenAIResponsesStrategy(client, "m", output=Person), OpenAIResponsesStrategy[Person]
    )
    assert_type(AnthropicStrategy(client, "m"), AnthropicStrategy[str])
    assert_type(AnthropicStrategy(client, "m", output=Row), AnthropicStrategy[Row])
    ChatModel("m", profile="vllm", base_url="http://gpu:8000/v1", stream=True)
    # A misspelt option is an error for both checkers, so each expects one here.
    ChatModel("m", base_ur="http://gpu:8000/v1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def agents(agent: Agent[None, Report], mock: MockAgent[Person]) -> None:
    assert_type(PydanticAIStrategy(agent), PydanticAIStrategy[Report])
    assert_type(PydanticAIStrategy(agent=mock), PydanticAIStrategy[Person])
    batch = await run_batch(["a"], PydanticAIStrategy(agent))
    assert_type(batch.results[0].output, Report | None)


async def batches() -> None:
    batch = await run_batch(["a"], llm("openai:m", output=Person))
    assert_type(batch, BatchResult[Person, Any])
    assert_type(batch.results[0].output, Person | None)
    assert_type(batch.outputs, list[Person | None])
    assert_type(await run_batch(["a"], Length()), BatchResult[int, Any])
    journal = Journal("run.db", on_resume="skip", durability="normal")
    assert_type(await run_batch(["a"], Length(), journal=journal), BatchResult[int, Any])
    assert_type(await run_batch(["a"], Length(), journal="run.db"), BatchResult[int, Any])
    async with stream_batch(["a"], llm("openai:m")) as run:
        async for result in run:
            assert_type(result, WorkItemResult[str, Any])
            assert_type(result.reasoning, str | None)
            assert_type(result.tool_calls, tuple[ToolCall, ...])
            assert_type(result.logprobs, tuple[TokenLogprob, ...])
            assert_type(result.citations, tuple[Citation, ...])


async def services() -> None:
    assert_type(await call("a", llm("openai:m", output=Person)), Person)
    assert_type(await call_result("a", Length()), WorkItemResult[int, Any])
    async with open_pool(llm("openai:m", output=Report)) as pool:
        assert_type(await pool.call("a"), Report)
        assert_type((await pool.call_result("a")).output, Report | None)


async def processors() -> None:
    async with ParallelBatchProcessor[str, Person, int]() as processor:
        strategy = llm("openai:m", output=Person)
        await processor.add_work(LLMWorkItem("1", strategy, "a", context=1))
        done = await processor.process_all()
        assert_type(done, BatchResult[Person, int])
        assert_type(done.results[0].output, Person | None)
        assert_type(done.results[0].context, int | None)


class Bar:
    """A progress bar, as far as one is needed."""

    def __init__(self, total: int | None = None) -> None:
        self.n = 0

    def update(self, n: int = 1) -> bool:
        self.n += n
        return True


def reports(result: BatchResult[str, int], journal: Journal) -> None:
    for source in (result, journal, "run.db", Path("run.db")):
        assert_type(write_report(source, "run.html", texts=False), Path)


async def progress_is_true_a_class_or_a_bar() -> None:
    for progress in (True, Bar, Bar(), None):
        await run_batch(["a"], llm("sim:default"), progress=progress)
