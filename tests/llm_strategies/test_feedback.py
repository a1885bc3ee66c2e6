"""Telling the model what was wrong."""

import json
from typing import Any

import pytest

from batchllm.core import LLMResponse
from batchllm.llm_strategies import ModelEscalation, ModelStrategy, ValidationFeedback
from batchllm.structured import parse
from batchllm.testing import Raise
from tests.llm_strategies.world import BAD_AGE, GOOD, Person, refused, run, says, scripted

pytestmark = pytest.mark.anyio


async def test_the_next_prompt_names_what_was_right_and_what_was_not() -> None:
    """The fields that fit are to be kept, and the one that does not is named with its value."""
    inner = scripted("one", says(BAD_AGE), says(GOOD))
    batch = await run(ValidationFeedback(inner, Person), "Who is it?")
    assert batch.outputs == [Person("Ann", 41, "Lima")]
    first, second = inner.prompts
    assert first == "Who is it?"
    assert second.startswith("Who is it?\n\n")
    assert '- name: "Ann"' in second
    assert "age" in second.partition("Fix the following")[2]
    assert '"old"' in second


async def test_tokens_of_bad_answers_are_counted_once() -> None:
    """Both calls are billed, each once."""
    batch = await run(ValidationFeedback(scripted("one", says(BAD_AGE), says(GOOD)), Person))
    assert batch.total_input_tokens == 20


async def test_other_failures_change_nothing() -> None:
    """After a server's error the prompt is the same; feedback outlives one in between."""
    inner = scripted("one", refused(500), says(BAD_AGE), refused(500), says(GOOD))
    batch = await run(ValidationFeedback(inner, Person))
    assert batch.succeeded == 1
    assert inner.prompts[1] == "p"
    assert inner.prompts[2] == inner.prompts[3] != "p"


async def test_a_function_may_validate() -> None:
    """A parser's own error becomes the feedback."""
    inner = scripted("one", says("[1, 2"), says("[1, 2]"))
    batch = await run(ValidationFeedback(inner, json.loads))
    assert batch.outputs == [[1, 2]]
    assert "delimiter" in inner.prompts[1]


async def test_a_list_of_records_is_a_type_as_well() -> None:
    """Any type that can be parsed says how an answer is read."""
    batch = await run(ValidationFeedback(scripted("one", says(f"[{GOOD}]")), list[Person]))
    assert batch.outputs == [[Person("Ann", 41, "Lima")]]


class Model:
    """Gives one answer after the other."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.prompts = list(answers), list[Any]()

    async def generate(self, prompt: Any, **settings: Any) -> LLMResponse:
        self.prompts.append(prompt)
        return LLMResponse(self.answers[len(self.prompts) - 1])


def as_person(response: LLMResponse) -> Person:
    return parse(response.text, Person)


async def test_the_inner_strategy_may_validate_by_itself() -> None:
    """The stronger model is told what the cheaper one got wrong."""
    cheap, strong = Model(BAD_AGE), Model(GOOD)
    models = [ModelStrategy(cheap, as_person), ModelStrategy(strong, as_person)]
    batch = await run(ValidationFeedback(ModelEscalation(models)))
    assert batch.outputs == [Person("Ann", 41, "Lima")]
    assert '- name: "Ann"' in strong.prompts[0]


async def test_it_gives_up_with_the_error_of_the_validation() -> None:
    """An answer that never fits fails the item as bad output, with the error itself."""
    batch = await run(ValidationFeedback(scripted("one", says(BAD_AGE)), Person))
    (result,) = batch.results
    assert result.error_category == "bad_output"
    assert result.attempts == 5
    assert type(result.exception).__name__ == "OutputValidationError"


async def test_without_a_run() -> None:
    """It can be called directly, and then remembers nothing."""
    strategy = ValidationFeedback(scripted("one", Raise(ValueError), per_call=True))
    with pytest.raises(ValueError, match=r"^$"):
        await strategy.execute("p", 1, 9.0)


def test_the_type_is_part_of_the_identity() -> None:
    """Another output type makes another strategy for a journal."""
    of = {str(ValidationFeedback(scripted("x"), t).identity()["output"]) for t in (Person, int)}
    assert of == {"Person", "int"}
    assert ValidationFeedback(scripted("x"), list[int]).identity()["output"]
