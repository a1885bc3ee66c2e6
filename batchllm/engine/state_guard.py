"""The engine's side of a ``RetryState``, as far as it concerns the item and the run alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define

from batchllm.core import ErrorInfo, LLMCallStrategy, TokenUsage
from batchllm.engine.call_context import CallContext
from batchllm.engine.failures import Failure, judge
from batchllm.engine.item import ItemRun

__all__ = ["StateGuard"]


@define(eq=False)
class StateGuard:
    """Does what a strategy asks for through its ``RetryState``.

    Args:
        context: What it shares with the run's other calls.
        item: Whose call it is.
        strategy: What is called.
    """

    context: CallContext
    item: ItemRun
    strategy: LLMCallStrategy[Any]

    def judge(self, error: BaseException) -> Failure:
        """Classify what the call raised."""
        self.item.last_failure = failure = judge(self.strategy, error, self.context.classifier)
        return failure

    def book(self, usage: TokenUsage | None, cost: float | None) -> None:
        """Add tokens and dollars to the item's bill that no call of this run has used."""
        self.item.book(usage, cost, answered=True)

    def price(
        self,
        inner: LLMCallStrategy[Any],
        usage: TokenUsage | None,
        metadata: Mapping[str, Any] | None = None,
    ) -> float | None:
        """Return what a call of *inner* costs online; ``None`` if its price is not known."""
        return self.context.prices.cost(inner, usage, metadata)

    def explain(self, error: Exception) -> ErrorInfo:
        """Return what *error* means: as judged where it arose, else as this strategy's own."""
        last = self.item.last_failure
        if isinstance(last, Failure) and last.error is error:
            return last.info
        return self.judge(error).info

    def is_closed(self, inner: LLMCallStrategy[Any]) -> bool:
        """Return whether *inner* has to wait for its scope, or all its parts have to."""
        return self.context.gates.is_closed(inner)

    def is_unanswered(self, inner: LLMCallStrategy[Any]) -> bool:
        """Return whether a call of *inner* would wait for an endpoint that does not answer."""
        return self.context.gates.is_unanswered(inner)
