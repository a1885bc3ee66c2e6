"""The types that checkers must infer for users; checked, never run."""

from dataclasses import dataclass
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
)
from batchllm.llm_strategies import OutputStrategy
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
    assert_type(AnthropicStrategy(client, "m"), AnthropicStrategy[str])
    assert_type(AnthropicStrategy(client, "m", output=Row), AnthropicStrategy[Row])


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
