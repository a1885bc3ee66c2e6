"""The types of composites, from those of their parts; checked, never run."""

from typing import Any, assert_type

from attrs import frozen

from batchllm import (
    Balance,
    BatchResult,
    Fallback,
    LLMCallStrategy,
    LLMModel,
    LLMResponse,
    ModelEscalation,
    ModelStrategy,
    PartialRecovery,
    ProgressivePrompting,
    ProgressiveTemperature,
    ResponseCache,
    ValidationFeedback,
    llm,
    run_batch,
)


@frozen
class Person:
    name: str


def as_person(response: LLMResponse) -> Person:
    return Person(response.text)


def read(answer: Any) -> int:
    return int(answer)


async def composites(model: LLMModel) -> None:
    people = ModelStrategy(model, as_person)
    assert_type(Fallback([people, people]), Fallback[Person])
    assert_type(Balance([people, people]), Balance[Person])
    assert_type(ModelEscalation([people, people]), ModelEscalation[Person])
    assert_type(ResponseCache(people), ResponseCache[Person])
    assert_type(ProgressiveTemperature(people), ProgressiveTemperature[Person])
    assert_type(ProgressivePrompting(people, ["More."]), ProgressivePrompting[Person])
    assert_type(ValidationFeedback(people), ValidationFeedback[Person])
    assert_type(ValidationFeedback(llm("sim:default"), Person), ValidationFeedback[Person])
    assert_type(ValidationFeedback("sim:default", read), ValidationFeedback[int])
    assert_type(PartialRecovery("sim:default", Person), PartialRecovery[Person])

    nested: LLMCallStrategy[Person] = ResponseCache(Fallback([ModelEscalation([people])]))
    batch = await run_batch(["a"], nested)
    assert_type(batch, BatchResult[Person, Any])
    assert_type(batch.results[0].output, Person | None)
