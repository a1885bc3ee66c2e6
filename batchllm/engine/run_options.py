"""The options of a run: what its entry point was given, checked, beside the items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field

from batchllm.core import (
    BaseMiddleware,
    BaseObserver,
    ErrorClassifier,
    LLMCallStrategy,
    ProcessorConfig,
    WorkItemResult,
)
from batchllm.gate import Gate
from batchllm.journal import Journal, JournalWriter

__all__ = ["RunOptions"]


@define(kw_only=True)
class RunOptions:
    """The options of a run, beside its items.

    Attributes:
        config: The settings.
        strategy: For items that bring none.
        middlewares: Steps round each item.
        observers: Watch events.
        post_processor: Called with every result.
        error_classifier: Asked first what an exception means.
        gates: The user's own gates.
        journal: Where results are written down before they are delivered.
        keeps_spending: Whether the journal, which is open then, counts what calls have taken of
            the budget.
    """

    config: ProcessorConfig = field(factory=ProcessorConfig)
    strategy: LLMCallStrategy[Any] | None = None
    middlewares: Sequence[BaseMiddleware] = ()
    observers: Sequence[BaseObserver] = ()
    post_processor: Callable[[WorkItemResult[Any, Any]], Any] | None = None
    error_classifier: ErrorClassifier | None = None
    gates: Sequence[Gate] = ()
    journal: Journal | JournalWriter | None = None
    keeps_spending: bool = False
