"""``structured``: any strategy, with outputs of a type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast, overload

from attrs import define, field

from batchllm.core import LLMCallStrategy, Reply, RetryState
from batchllm.llm_strategies.accept import StrategyLike, as_strategy
from batchllm.llm_strategies.composite import Composite
from batchllm.llm_strategies.feedback import ValidationFeedback
from batchllm.llm_strategies.model import ModelStrategy
from batchllm.llm_strategies.output import is_plain_text, schema_text, with_output
from batchllm.structured import output_schema, with_text

__all__ = ["structured"]

T = TypeVar("T")


@overload
def structured(inner: StrategyLike[Any], output: type[T]) -> LLMCallStrategy[T]: ...


@overload
def structured(inner: StrategyLike[Any], output: Any) -> LLMCallStrategy[Any]: ...


def structured(inner: StrategyLike[Any], output: Any) -> LLMCallStrategy[Any]:
    """Make a strategy that asks *inner* for values of a type.

    A model that gives its text is held to the type's schema by its provider, if that has a mode
    for it; every other strategy finds the schema behind its prompt. Answers that do not fit are
    retried with feedback, field by field. If a composite is to react to them, such as a
    ``ModelEscalation``, make each of its parts structured instead.

    Args:
        inner: A strategy whose output is text, a name such as ``"openai:gpt-5-mini"``, an
            ``LLMModel``, or a function from prompt to text.
        output: An attrs class, dataclass, ``TypedDict`` or Pydantic model, or anything that is
            built of those, such as ``list[Person]``.

    Raises:
        StrategyError: *inner* cannot be a strategy.
        TypeError: *output* holds a type that JSON cannot express.

    Example:
        >>> structured("sim:default", dict[str, int])
        OutputStrategy(ChatModel('default', sim, 'http://simulator/v1'))
    """
    strategy = as_strategy(inner)
    if is_plain_text(strategy):
        return with_output(cast("ModelStrategy[str]", strategy), output)
    wanted = schema_text(output_schema(output).schema)
    return ValidationFeedback(_SchemaInPrompt(strategy, wanted), output)


@define(eq=False, slots=False, init=False, repr=False)
class _SchemaInPrompt(Composite[str]):
    """Calls a strategy with a text behind its prompt that says what to answer."""

    schema_text: str = field(init=False)

    def __init__(self, inner: LLMCallStrategy[Any], schema_text: str) -> None:
        self.parts = (inner,)
        self.schema_text = schema_text

    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        return await memory.call(
            self.parts[0], with_text(prompt, self.schema_text), attempt, timeout
        )

    def identity(self) -> Mapping[str, Any]:
        return {**super().identity(), "schema_text": self.schema_text}
