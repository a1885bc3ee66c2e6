"""Ask again with what was wrong in the answer, field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, cast, get_origin, overload

from attrs import define, field
from typing_extensions import TypeVar

from batchllm.core import Reply, RetryState, explain_arguments, with_notes
from batchllm.llm_strategies.accept import StrategyLike, as_strategy
from batchllm.llm_strategies.composite import Composite
from batchllm.llm_strategies.output import is_output, name_of
from batchllm.structured import Parsed, feedback_prompt, parse_noted

__all__ = ["ValidationFeedback"]

T = TypeVar("T", default=Any)


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class ValidationFeedback(Composite[T], Generic[T]):
    """After an answer that is not valid, asks again and says what was right and what was not.

    Example::

        ValidationFeedback("openai:gpt-5-mini", Person)

    Args:
        inner: Makes the calls.
        output: What to make of its answer: a type such as an attrs class, dataclass, TypedDict
            or Pydantic model, or a function. ``None`` if *inner* validates by itself; then
            it may be a composite, such as a ``ModelEscalation``.

    Raises:
        StrategyError: *inner* cannot be a strategy.
        ConfigError: *output* is neither a type nor a function.
    """

    opens_with_first = True
    output: Any = field(init=False, validator=is_output)

    @overload
    def __init__(self, inner: StrategyLike[T], output: None = None) -> None: ...

    @overload
    def __init__(self, inner: StrategyLike[Any], output: type[T] | Callable[[Any], T]) -> None: ...

    def __init__(self, inner: StrategyLike[Any], output: Any = None) -> None:
        self.parts = (as_strategy(inner),)
        self.output = output

    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        """Call, with feedback if the item's last answer was not valid.

        Raises:
            Exception: What the call raised, or the error of the validation.
        """
        (inner,) = self.parts
        refused: Exception | None = self.recall(memory)
        asked = prompt if refused is None else feedback_prompt(prompt, refused)
        try:
            reply = await memory.call(inner, asked, attempt, timeout)
            parsed = self._read(reply.output)
        except Exception as error:
            if self.is_bad_output(error, inner, memory):
                self.keep(memory, error)
            raise
        return Reply(parsed.output, reply.usage, with_notes(reply.metadata, parsed.notes))

    def identity(self) -> Mapping[str, Any]:
        """Name the strategy with the output's type."""
        return {**super().identity(), "output": name_of(self.output)}

    def _read(self, answer: Any) -> Parsed[T]:
        if self.output is None:
            return Parsed(cast("T", answer))
        if isinstance(self.output, type) or get_origin(self.output) is not None:
            return cast("Parsed[T]", parse_noted(answer, self.output))
        return Parsed(cast("T", self.output(answer)))
