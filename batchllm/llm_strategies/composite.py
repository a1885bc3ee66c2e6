"""The base of the ready-made composites: parts, a memory per item, and no call of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, cast

from attrs import Attribute, define, field
from typing_extensions import TypeVar

from batchllm.classifiers import DefaultErrorClassifier, classify
from batchllm.core import (
    Category,
    ErrorInfo,
    LLMCallStrategy,
    Reply,
    RetryState,
    StrategyError,
    TokenUsage,
)
from batchllm.llm_strategies.accept import as_strategy

__all__ = ["Composite", "Ladder", "parts_of"]

T = TypeVar("T", default=Any)

_DEFAULT = DefaultErrorClassifier()


def _are_strategies(instance: Any, attribute: Attribute[Any], parts: Any) -> None:
    if not isinstance(parts, tuple | list) or not all(
        isinstance(part, LLMCallStrategy) for part in cast("Sequence[Any]", parts)
    ):
        msg = f"{type(instance).__name__}.parts is {parts!r}; give a tuple of strategies"
        raise StrategyError(msg)


@define(eq=False, slots=False, init=False, repr=False)
class Composite(LLMCallStrategy[T], Generic[T]):
    """A strategy that makes no calls itself and has its parts make them.

    One instance serves any number of items; what belongs to one item is kept in its
    ``RetryState`` under a key of this instance, so that a class may be nested in itself.

    Attributes:
        parts: The strategies that it calls, set by ``__init__`` of each class.
        opens_with_first: Whether an item's first call is of the first part, with its prompt as it
            is. Then that call can be made in a batch of the provider, and the others online.
    """

    quota_scope = None
    opens_with_first: ClassVar[bool] = False
    parts: Sequence[LLMCallStrategy[Any]] = field(default=(), init=False, validator=_are_strategies)

    @property
    def takes_texts(self) -> bool:  # type: ignore[override]
        """Return whether each of the parts takes a list of texts."""
        return bool(self.parts) and all(part.takes_texts for part in self.parts)

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> Reply:
        """Have the parts make one attempt, as the class says.

        Raises:
            Exception: What a part raised, or what the class makes of it.
        """
        # Without a state, as in a unit test, nothing is remembered and parts are called directly.
        return await self.run(prompt, attempt, timeout, RetryState() if state is None else state)

    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        """Make one attempt; parts are called by ``memory.call``. Each class has its own way.

        Raises:
            StrategyError: The class overrides neither this nor ``execute``.
        """
        name = type(self).__name__
        msg = f"{name} has no way to make an attempt; write async def run(…) in it"
        raise StrategyError(msg)

    def recall(self, state: RetryState, default: Any = None) -> Any:
        """Return what this instance has kept for the item."""
        return state.get(self._key, default)

    def keep(self, state: RetryState, value: Any) -> None:
        """Keep *value* for the item's later attempts."""
        state.set(self._key, value)

    def has_answer(self, memory: RetryState) -> bool:
        """Return whether the item's next call has its answer already, and asks no endpoint."""
        first = self.parts[0] if self.opens_with_first else None
        return isinstance(first, Composite) and first.has_answer(memory)

    def is_bad_output(
        self, error: Exception, part: LLMCallStrategy[Any], state: RetryState
    ) -> bool:
        """Return whether *part*'s model answered, and *error* says that the answer is not valid."""
        return self.meaning(error, part, state).error_category == Category.BAD_OUTPUT

    def meaning(self, error: Exception, part: LLMCallStrategy[Any], state: RetryState) -> ErrorInfo:
        """Classify *error*, which came from *part*."""
        info = state.explain(error)
        if info is None:
            info = classify(error, None, getattr(part, "error_classifier", None) or _DEFAULT)
        return info

    async def dry_run(self, prompt: Any) -> tuple[T, TokenUsage]:
        """Answer as the first part does in a dry run."""
        return await self.parts[0].dry_run(prompt)

    def identity(self) -> Mapping[str, Any]:
        """Name the parts with this one's settings."""
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "parts": [dict(part.identity()) for part in self.parts],
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"

    @property
    def _key(self) -> str:
        return f"{type(self).__name__} {id(self):x}"


class Ladder(Composite[T], Generic[T]):
    """A composite with levels: each answer that is not valid moves its item one level up.

    Network errors, rate limits and timeouts say nothing about the answer, so the item stays where
    it is. The last level keeps the item.
    """

    @property
    def top(self) -> int:
        """Return the last level, counted from 0; by default each part is one."""
        return len(self.parts) - 1

    def at(self, level: int, prompt: Any) -> tuple[LLMCallStrategy[Any], Any]:
        """Return the part that is called at *level*, and the prompt that it gets."""
        return self.parts[level], prompt

    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        """Call at the level that the item has reached.

        Raises:
            Exception: What the call raised.
        """
        level = self.recall(memory, 0)
        part, asked = self.at(level, prompt)
        try:
            return await memory.call(part, asked, attempt, timeout)
        except Exception as error:
            if self.is_bad_output(error, part, memory):
                self.keep(memory, min(level + 1, self.top))
            raise


def parts_of(owner: str, given: Sequence[Any]) -> tuple[LLMCallStrategy[Any], ...]:
    """Make the strategies that *given* stands for.

    Raises:
        StrategyError: *given* is empty, or something in it cannot be a strategy.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        msg = f"{owner} takes a list of strategies; write {owner}([{given!r}, ...])"
        raise StrategyError(msg)
    parts = tuple(as_strategy(part) for part in given)
    if not parts:
        msg = f"{owner} got an empty list; give it at least one strategy"
        raise StrategyError(msg)
    return parts
