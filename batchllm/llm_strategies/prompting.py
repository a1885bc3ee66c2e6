"""Say more in the prompt when an answer was not valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic

from attrs import Attribute, define, field
from typing_extensions import TypeVar

from batchllm.core import ConfigError, LLMCallStrategy, explain_arguments
from batchllm.llm_strategies.accept import StrategyLike, as_strategy
from batchllm.llm_strategies.composite import Ladder
from batchllm.structured import with_text

__all__ = ["ProgressivePrompting"]

T = TypeVar("T", default=Any)


def _are_texts(instance: Any, attribute: Attribute[Any], additions: Any) -> None:
    if isinstance(additions, str) or not all(isinstance(text, str) for text in additions):
        msg = f"additions is {additions!r}; give a list of texts"
        raise ConfigError(msg)


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class ProgressivePrompting(Ladder[T], Generic[T]):
    """Asks by the prompt as it is; each answer that is not valid adds one more text to it.

    Most items do well with a short prompt, and only the others pay for a long one. Network
    errors, rate limits and timeouts add nothing.

    Example::

        ProgressivePrompting(strategy, ["Answer with JSON only.", "An example: {\\"age\\": 41}"])

    Args:
        inner: Makes the calls.
        additions: Texts, in the order in which they are added.

    Raises:
        StrategyError: *inner* cannot be a strategy.
        ConfigError: *additions* is not a list of texts.
    """

    opens_with_first = True
    additions: Sequence[str] = field(init=False, validator=_are_texts)

    def __init__(self, inner: StrategyLike[T], additions: Sequence[str]) -> None:
        self.parts = (as_strategy(inner),)
        self.additions = additions if isinstance(additions, str) else tuple(additions)

    @property
    def top(self) -> int:
        """Return the number of additions: the last level has them all."""
        return len(self.additions)

    def at(self, level: int, prompt: Any) -> tuple[LLMCallStrategy[Any], Any]:
        """Return the one part, and the prompt with as many additions as the level says."""
        said = "\n\n".join(self.additions[:level])
        return self.parts[0], with_text(prompt, said) if said else prompt

    def identity(self) -> Mapping[str, Any]:
        """Name the strategy with the additions."""
        return {**super().identity(), "additions": list(self.additions)}
