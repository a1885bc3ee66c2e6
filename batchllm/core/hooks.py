"""The bases of middleware, which may change items and results, and of observers of events."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, StrEnum
from typing import Any, Final

from batchllm.core.items import LLMWorkItem

__all__ = ["SKIP", "BaseMiddleware", "BaseObserver", "Middleware", "ProcessingEvent"]


class _Skip(Enum):
    SKIP = "skip"


SKIP: Final = _Skip.SKIP
"""Returned by ``before_process`` to leave an item out: its result says ``skipped``."""


class BaseMiddleware:
    """Steps round each item, in registration order going in and in reverse coming out.

    Override what you need. A middleware that raises fails its item: a broken redactor must not
    let a prompt through.
    """

    async def before_process(self, work_item: LLMWorkItem[Any, Any, Any]) -> Any:
        """Look at, change or replace an item before its first call.

        Returns:
            The item to go on with; ``None`` for the one that was given; ``SKIP`` to leave it out.
        """
        return None

    async def after_process(self, *args: Any, **kwargs: Any) -> Any:
        """See or replace a result: ``after_process(work_item, result)`` or ``(result)``.

        Called for every result. Returns the result to go on with; ``None`` keeps it.
        """
        return None

    async def on_retry(
        self, work_item: LLMWorkItem[Any, Any, Any], attempt: int, error: Exception
    ) -> None:
        """See that *attempt* failed with *error* and will be followed by another."""

    async def on_error(self, work_item: LLMWorkItem[Any, Any, Any], error: Exception) -> None:
        """See that an item has failed for good."""


Middleware = BaseMiddleware


class ProcessingEvent(StrEnum):
    """The events of a batch. Every event's data has ``timestamp`` (seconds since the epoch).

    Item events also have ``item_id``; those that end an item have ``duration`` (seconds),
    ``tokens`` (a mapping as ``TokenUsage``) and ``attempts``.
    """

    PROCESSING_STARTED = "processing_started"
    ITEM_STARTED = "item_started"
    ITEM_COMPLETED = "item_completed"
    ITEM_FAILED = "item_failed"
    ITEM_SKIPPED = "item_skipped"
    ITEM_RETRY = "item_retry"
    RATE_LIMIT_HIT = "rate_limit_hit"
    COOLDOWN_STARTED = "cooldown_started"
    PAUSE_LENGTHENED = "pause_lengthened"
    COOLDOWN_ENDED = "cooldown_ended"
    QUOTA_LEARNED = "quota_learned"
    LIMIT_ADOPTED = "limit_adopted"
    SCOPE_PARKED = "scope_parked"
    OUTAGE_STARTED = "outage_started"
    OUTAGE_ENDED = "outage_ended"
    ENDPOINT_DOWN = "endpoint_down"
    HEDGE_STARTED = "hedge_started"
    BUDGET_EXHAUSTED = "budget_exhausted"
    PROCESSING_COMPLETED = "processing_completed"


class BaseObserver:
    """Watches events without changing anything.

    Attributes:
        wanted_events: The events with which ``on_event`` is called; ``None`` is all. Each costs
            some time, so one that counts pauses need not see every item.
    """

    wanted_events: Collection[ProcessingEvent] | None = None

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """See one event; *data* has the keys that the event's page lists."""
