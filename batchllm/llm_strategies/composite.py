"""What the ready-made composites share: parts, a memory per item, and no call of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic

from typing_extensions import TypeVar

from batchllm.classifiers import DefaultErrorClassifier, classify
from batchllm.core import (
    Category,
    ErrorInfo,
    LLMCallStrategy,
    RetryState,
    StrategyError,
    TokenUsage,
)
from batchllm.llm_strategies.accept import as_strategy

__all__ = ["Composite", "parts_of"]

T = TypeVar("T", default=Any)

_DEFAULT = DefaultErrorClassifier()


class Composite(LLMCallStrategy[T], Generic[T]):
    """A strategy that makes no calls itself and has its parts make them.

    One instance serves any number of items; what belongs to one item is kept in its
    ``RetryState`` under a key of this instance, so that a class may be nested in itself.
    """

    quota_scope = None

    def recall(self, state: RetryState, default: Any = None) -> Any:
        """What this instance has kept for the item."""
        return state.get(self._key, default)

    def keep(self, state: RetryState, value: Any) -> None:
        """Keep *value* for the item's later attempts."""
        state.set(self._key, value)

    def is_bad_output(
        self, error: Exception, part: LLMCallStrategy[Any], state: RetryState
    ) -> bool:
        """Whether *error* says that *part*'s model answered, and the answer is not valid."""
        return self.meaning(error, part, state).error_category == Category.BAD_OUTPUT

    def meaning(self, error: Exception, part: LLMCallStrategy[Any], state: RetryState) -> ErrorInfo:
        """What *error*, which came from *part*, means."""
        info = state.explain(error)
        if info is None:
            info = classify(error, None, getattr(part, "error_classifier", None) or _DEFAULT)
        return info

    async def dry_run(self, prompt: Any) -> tuple[T, TokenUsage]:
        """What the first part answers in a dry run."""
        return await self.parts[0].dry_run(prompt)

    def identity(self) -> Mapping[str, Any]:
        """The identities of the parts with this one's settings."""
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "parts": [dict(part.identity()) for part in self.parts],
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"

    @property
    def _key(self) -> str:
        return f"{type(self).__name__} {id(self):x}"


def parts_of(owner: str, given: Sequence[Any]) -> tuple[LLMCallStrategy[Any], ...]:
    """The strategies that *given* stands for.

    Raises:
        StrategyError: There is none, or one cannot be a strategy.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        msg = f"{owner} takes a list of strategies; write {owner}([{given!r}, ...])"
        raise StrategyError(msg)
    parts = tuple(as_strategy(part) for part in given)
    if not parts:
        msg = f"{owner} got an empty list; give it at least one strategy"
        raise StrategyError(msg)
    return parts
