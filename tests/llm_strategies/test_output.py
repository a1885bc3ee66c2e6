"""Outputs of a type: by the provider's schema, by the prompt, and again with what was wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from attrs import frozen

from batchllm.core import LLMResponse
from batchllm.llm_strategies import (
    Fallback,
    ModelEscalation,
    OutputStrategy,
    ProgressiveTemperature,
    ValidationFeedback,
    llm,
    structured,
)
from batchllm.simulator import Simulator, SimulatorTransport
from batchllm.structured import OutputValidationError
from tests.llm_strategies.world import BAD_AGE, GOOD, Person, refused, run, says, scripted

pytestmark = pytest.mark.anyio

BaseModel: Any = pytest.importorskip("pydantic").BaseModel


@dataclass
class AsDataclass:
    """A person."""

    name: str
    age: int


class AsTypedDict(TypedDict):
    """A person."""

    name: str
    age: int


class AsModel(BaseModel):
    """A person."""

    name: str
    age: int


@frozen
class Loose:
    """A type without a strict form."""

    scores: dict[str, int]


class TextModel:
    """A model that knows no schemas; it says one answer after the other."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.prompts: list[Any] = []

    async def generate(self, prompt: Any, **settings: Any) -> LLMResponse:
        self.prompts.append(prompt)
        return LLMResponse(self.answers.pop(0), input_tokens=10, output_tokens=5, total_tokens=15)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (AsDataclass, AsDataclass),
        (AsTypedDict, dict),
        (AsModel, AsModel),
        (Person, Person),
        (list[Person], list),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "openai-responses", "anthropic", "gemini"])
async def test_each_provider_is_held_to_the_schema(
    provider: str, kind: Any, expected: type
) -> None:
    """Every kind of type comes back from every provider, by its own mode for schemas."""
    simulator = Simulator("default")
    strategy = llm(f"{provider}:m", output=kind, api_key="k", http=SimulatorTransport(simulator))
    result = await run(strategy, "Who is it?")
    assert [type(output) for output in result.outputs] == [expected]
    assert [entry.prompt for entry in simulator.log.entries] == ["Who is it?"]


async def test_a_type_without_a_strict_form_is_asked_for_loosely() -> None:
    """A provider is not told that a schema is strict that is not."""
    bodies: list[bytes] = []

    class Spy(SimulatorTransport):
        async def handle_async_request(self, request: Any) -> Any:
            bodies.append(await request.aread())
            return await super().handle_async_request(request)

    for kind in (Loose, Person):
        strategy = llm("openai:m", output=kind, api_key="k", http=Spy(Simulator("default")))
        result = await run(strategy, "p")
        assert isinstance(result.outputs[0], kind)
    assert b'"strict":false' in bodies[0]
    assert b'"strict":true' in bodies[1]


async def test_fences_and_talk_round_the_json_do_no_harm() -> None:
    """A server that ignores the schema may still answer well enough."""
    answer = f"Sure:\n```json\n{GOOD}\n```"
    strategy = llm("sim:default", output=Person)
    result = await run(strategy, f"[[answer:{answer}]]")
    assert result.outputs == [Person("Ann", 41, "Lima")]


async def test_a_model_without_schemas_reads_it_in_the_prompt() -> None:
    """The schema stands behind the prompt, and the answer is parsed."""
    model = TextModel(GOOD)
    result = await run(OutputStrategy(model, Person), "Who?")
    assert result.outputs == [Person("Ann", 41, "Lima")]
    assert model.prompts[0].startswith("Who?\n\nAnswer with JSON that follows this schema")
    assert '"age"' in model.prompts[0]


async def test_what_was_wrong_is_said_on_the_next_attempt() -> None:
    """Feedback names the field to fix and those to keep; the failed attempt is paid for."""
    model = TextModel(BAD_AGE, GOOD)
    result = await run(OutputStrategy(model, Person), "Who?")
    assert result.results[0].attempts == 2
    assert result.outputs == [Person("Ann", 41, "Lima")]
    assert "Fix the following:\n- age" in model.prompts[1]
    assert '- name: "Ann"' in model.prompts[1]
    assert result.total_input_tokens == 20


async def test_feedback_belongs_to_its_item() -> None:
    """Another item of the same strategy is asked plainly."""
    model = TextModel(BAD_AGE, GOOD, GOOD)
    await run(OutputStrategy(model, Person), "Who?")
    await run(OutputStrategy(model, Person), "And who?")
    assert "not valid" not in model.prompts[2]


async def test_feedback_goes_from_one_temperature_to_the_next() -> None:
    """A strategy that asks hotter and hotter tells each what the one before did wrong."""
    model = TextModel(BAD_AGE, GOOD)
    strategy = ProgressiveTemperature(OutputStrategy(model, Person), (0.0, 1.0))
    assert (await run(strategy, "Who?")).succeeded == 1
    assert "not valid" in model.prompts[1]


async def test_text_stays_text_without_a_type() -> None:
    """No schema is sent, and nothing is parsed."""
    model = TextModel("plain")
    result = await run(OutputStrategy(model), "Who?")
    assert result.outputs == ["plain"]
    assert model.prompts == ["Who?"]


async def test_an_answer_that_never_fits_is_a_failed_result() -> None:
    """The last error says what is wrong."""
    result = await run(OutputStrategy(TextModel(*[BAD_AGE] * 5), Person), "Who?")
    assert isinstance(result.results[0].exception, OutputValidationError)
    assert result.results[0].error_category == "bad_output"


def of_name() -> Any:
    return "sim:default"


def of_strategy() -> Any:
    return llm("sim:default", temperature=0.5, system="Be brief.")


@pytest.mark.parametrize("make", [of_name, of_strategy])
async def test_structured_uses_the_schema_mode_of_a_model(make: Callable[[], Any]) -> None:
    """A name and a strategy that gives text become one model call with a schema."""
    strategy = structured(make(), Person)
    assert isinstance(strategy, OutputStrategy)
    result = await run(strategy, "Who?")
    assert isinstance(result.outputs[0], Person)


async def test_structured_keeps_what_the_strategy_was_told() -> None:
    """System instruction and connections are those of the strategy."""
    plain = of_strategy()
    strategy: Any = structured(plain, Person)
    assert strategy.system == "Be brief."
    assert strategy.quota_scope == plain.quota_scope
    assert strategy.identity() != plain.identity()
    assert strategy.identity()["output"] == "Person"


async def test_structured_puts_the_schema_into_the_prompt_of_everything_else() -> None:
    """A composite or a function is asked by its prompt, with feedback on the next attempt."""
    seen: list[str] = []
    answers = iter([BAD_AGE, GOOD])

    async def ask(prompt: str) -> str:
        seen.append(prompt)
        return next(answers)

    strategy = structured(ask, Person)
    assert isinstance(strategy, ValidationFeedback)
    assert "schema_text" in strategy.parts[0].identity()
    result = await run(strategy, "Who?")
    assert result.outputs == [Person("Ann", 41, "Lima")]
    assert seen[0].startswith("Who?\n\nAnswer with JSON")
    assert "not valid" in seen[1]


async def test_structured_leaves_composites_whole() -> None:
    """Each part of a fallback sees the schema."""
    first, second = scripted("first", refused(401)), scripted("second", says(GOOD))
    result = await run(structured(Fallback([first, second]), Person), "Who?")
    assert result.outputs == [Person("Ann", 41, "Lima")]
    assert "schema" in first.prompts[0]
    assert "schema" in second.prompts[0]


async def test_models_of_a_type_are_parts_of_an_escalation() -> None:
    """An answer that does not fit is seen by the escalation, which asks the next model."""
    weak, strong = TextModel(BAD_AGE), TextModel(GOOD)
    parts = [OutputStrategy(model, Person) for model in (weak, strong)]
    result = await run(ModelEscalation(parts), "Who?")
    assert result.outputs == [Person("Ann", 41, "Lima")]
    assert not weak.answers
    assert not strong.answers
    assert "not valid" not in strong.prompts[0]


def test_equal_strategies_have_equal_identities() -> None:
    """A record names the type and the model, and nothing that changes from run to run."""
    one, other = (llm("sim:default", output=Person, temperature=0.5) for _ in range(2))
    assert one.identity() == other.identity()
    assert one.identity()["output"] == "Person"
    assert one.identity() != llm("sim:default", output=AsModel, temperature=0.5).identity()


def test_a_type_that_json_cannot_express_is_told_at_once() -> None:
    """The error comes where the strategy is made."""
    with pytest.raises(TypeError):
        llm("sim:default", output=Callable)  # type: ignore[call-overload]


@frozen
class Chain:
    """A type that contains itself."""

    label: str
    next: "Chain | None" = None


@pytest.mark.parametrize(
    ("provider", "kind", "natively"),
    [
        ("openai", Chain, True),
        ("anthropic", Person, True),
        ("anthropic", Chain, False),
        ("anthropic", Loose, False),
        ("gemini", Person, True),
        ("gemini", Chain, False),
        ("gemini", Loose, True),
    ],
)
def test_a_schema_that_a_provider_would_refuse_stands_in_the_prompt(
    provider: str, kind: Any, natively: bool
) -> None:
    """Else each of its items would cost a request that is answered with 400."""
    strategy: Any = llm(f"{provider}:m", output=kind, api_key="k")
    assert (strategy.model.schema is not None) == natively
    assert (strategy._schema_text is None) == natively
