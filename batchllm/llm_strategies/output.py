"""The strategy that asks one model for values of a type."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, cast, get_origin

from attrs import Attribute, define, field
from typing_extensions import TypeVar

from batchllm.core import (
    ErrorClassifier,
    LLMModel,
    LLMResponse,
    RetryState,
    TokenUsage,
    explain_arguments,
    refuse,
)
from batchllm.llm_strategies.model import ModelStrategy
from batchllm.providers import WireRequest
from batchllm.structured import (
    OutputSchema,
    OutputValidationError,
    SchemaRules,
    feedback_prompt,
    output_schema,
    parse_noted,
    strict_problems,
    with_text,
)
from batchllm.transport import HttpReply

__all__ = ["OutputStrategy", "is_output", "is_plain_text", "name_of", "schema_text", "with_output"]

T = TypeVar("T", default=str)


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class OutputStrategy(ModelStrategy[T], Generic[T]):
    """Asks *model* for an *output*, and says what was wrong when it asks again.

    The model is held to the type's JSON schema by its provider if it can be (it then has a
    method ``with_output``); otherwise the schema is put behind the prompt. An answer that does
    not fit is an ``OutputValidationError``, which is retried with feedback field by field.

    Args:
        model: Any ``LLMModel``.
        output: An attrs class, dataclass, ``TypedDict`` or Pydantic model, or anything that is
            built of those, such as ``list[Person]``. ``None`` leaves the answer as text.
        temperature: ``None`` leaves it to the model.
        system: The system instruction.
        config: Settings for the model's provider.
        error_classifier: See ``ModelStrategy``.

    Raises:
        StrategyError: *model* has no ``generate``.
        ConfigError: Another argument is of a wrong kind.
        TypeError: *output* holds a type that JSON cannot express.
    """

    output: Any = field(init=False)

    def __init__(
        self,
        model: LLMModel,
        output: type[T] | None = None,
        *,
        temperature: float | None = None,
        system: str | None = None,
        config: Mapping[str, Any] | None = None,
        error_classifier: ErrorClassifier | None = None,
    ) -> None:
        held, wanted = (model, None) if output is None else _asked_for(model, output)
        super().__init__(
            held,
            cast("Any", None if output is None else partial(_read, output=output)),
            temperature=temperature,
            system=system,
            config=config,
            error_classifier=error_classifier,
        )
        self.output = output
        self._schema_text = wanted
        # Copies share it, so that feedback goes from one temperature's copy to the next.
        self._key = f"OutputStrategy {id(self):x}"

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[T, TokenUsage | None, Mapping[str, Any] | None]:
        """Ask the model once, with feedback if the item's last answer did not fit.

        Raises:
            OutputValidationError: The answer is no *output*; it says what is wrong.
            Exception: What the model raised.
        """
        asked = self._asked(prompt)
        # Without a state, as in a unit test, nothing is remembered.
        refused: OutputValidationError | None = None if state is None else state.get(self._key)
        if refused is not None:
            asked = feedback_prompt(asked, refused)
        try:
            return await super().execute(asked, attempt, timeout, state)
        except OutputValidationError as error:
            if state is not None:
                state.set(self._key, error)
            raise

    def compose(self, prompt: Any) -> WireRequest:
        """Write the request of the first attempt, which has no feedback in it."""
        return super().compose(self._asked(prompt))

    def read_reply(
        self, reply: HttpReply, prompt: Any, state: RetryState
    ) -> tuple[T, TokenUsage | None, Mapping[str, Any] | None]:
        """Read a reply; what was wrong with it is the feedback of the item's next attempt.

        Raises:
            OutputValidationError: The answer is no *output*; it says what is wrong.
            Exception: As :meth:`execute` does for that reply.
        """
        try:
            return super().read_reply(reply, prompt, state)
        except OutputValidationError as error:
            state.set(self._key, error)
            raise

    def _asked(self, prompt: Any) -> Any:
        return prompt if self._schema_text is None else with_text(prompt, self._schema_text)

    def identity(self) -> Mapping[str, Any]:
        """Name the model with the output's type."""
        return {**super().identity(), "output": name_of(self.output)}


def is_output(instance: Any, attribute: Attribute[Any], output: object) -> None:
    """Pass if *output* is a type or a function; a value, such as a list of types, is neither."""
    if output is not None and not callable(output) and get_origin(output) is None:
        refuse(instance, attribute, output, "a type, such as list[str], or a function")


def is_plain_text(strategy: object) -> bool:
    """Return whether *strategy* does nothing but ask a model, and gives its text."""
    return (
        isinstance(strategy, ModelStrategy)
        and strategy.gives_text
        and type(strategy).execute in (ModelStrategy.execute, OutputStrategy.execute)
    )


def with_output(strategy: ModelStrategy[Any], output: type[T]) -> OutputStrategy[T]:
    """Make a strategy that asks the same model in the same manner for an *output*."""
    return OutputStrategy(
        strategy.model,
        output,
        temperature=strategy.temperature,
        system=strategy.system,
        config=strategy.config,
        error_classifier=strategy.error_classifier,
    )


def name_of(kind: Any) -> str:
    """Return the name of a type or function, for records."""
    return getattr(kind, "__qualname__", None) or str(kind)


def schema_text(schema: Mapping[str, Any]) -> str:
    """Write the request for an answer that follows *schema*."""
    shown = json.dumps(schema, ensure_ascii=False)
    return f"Answer with JSON that follows this schema, and with nothing else:\n{shown}"


def _asked_for(model: LLMModel, output: Any) -> tuple[LLMModel, str | None]:
    """Return the model held to the type's schema, or the text that asks it to follow it."""
    schema = output_schema(output)
    hold: Callable[[OutputSchema], LLMModel] | None = getattr(model, "with_output", None)
    if hold is None or _refuses(model, schema):
        return model, schema_text(schema.schema)
    return hold(schema), None


def _refuses(model: LLMModel, schema: OutputSchema) -> bool:
    """Return whether the model's provider would answer 400 to each request with *schema*."""
    rules: SchemaRules | None = getattr(model, "schema_rules", None)
    # Gemini takes open schemas in its own way; Anthropic has no mode that is not strict.
    if rules is None or not (schema.strict or rules == "anthropic"):
        return False
    return bool(strict_problems(schema.schema, rules))


def _read(response: LLMResponse, *, output: Any) -> Any:
    try:
        return parse_noted(response.text, output)
    except OutputValidationError as error:
        if (response.metadata or {}).get("finish_reason") == "length":
            error.args = (f"the limit on tokens cut it off, raise max_tokens; {error}",)
        raise
