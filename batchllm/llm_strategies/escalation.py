"""Start with a cheap model, and go on to a stronger one when its answers are not valid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic

from typing_extensions import TypeVar

from batchllm.core import Reply, RetryState
from batchllm.llm_strategies.accept import StrategyLike
from batchllm.llm_strategies.composite import Composite, parts_of

__all__ = ["ModelEscalation"]

T = TypeVar("T", default=Any)


class ModelEscalation(Composite[T], Generic[T]):
    """Calls the first model; each answer that is not valid moves its item on to the next.

    Network errors, rate limits and timeouts say nothing about the model, so the item stays where
    it is. What is valid is decided by the parts, by an error such as an
    ``OutputValidationError`` from a response parser. The last model keeps the item.

    Example::

        ModelEscalation([ModelStrategy(small, parse_person), ModelStrategy(large, parse_person)])

    Args:
        strategies: From the cheapest to the strongest.

    Raises:
        StrategyError: *strategies* is empty or holds something else.
    """

    def __init__(self, strategies: Sequence[StrategyLike[T]]) -> None:
        self.parts = parts_of("ModelEscalation", strategies)

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> Reply:
        """Call the model that the item has got to.

        Raises:
            Exception: What it raised.
        """
        memory = RetryState() if state is None else state
        level = self.recall(memory, 0)
        try:
            return await memory.call(self.parts[level], prompt, attempt, timeout)
        except Exception as error:
            if self.is_bad_output(error, self.parts[level], memory):
                self.keep(memory, min(level + 1, len(self.parts) - 1))
            raise
