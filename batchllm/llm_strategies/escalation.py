"""Start with a cheap model, and go on to a stronger one when its answers are not valid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic

from attrs import define
from typing_extensions import TypeVar

from batchllm.core import explain_arguments
from batchllm.llm_strategies.accept import StrategyLike
from batchllm.llm_strategies.composite import Ladder, parts_of

__all__ = ["ModelEscalation"]

T = TypeVar("T", default=Any)


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class ModelEscalation(Ladder[T], Generic[T]):
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

    opens_with_first = True

    def __init__(self, strategies: Sequence[StrategyLike[T]]) -> None:
        self.parts = parts_of("ModelEscalation", strategies)
