"""The shapes of steps round an item and of those who watch: middleware and observers."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from batchllm.core.events import ProcessingEvent
from batchllm.core.items import LLMWorkItem

__all__ = ["SKIP", "BaseMiddleware", "BaseObserver", "Middleware"]


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


class BaseObserver:
    """Watches events without changing anything."""

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """See one event; *data* has the keys that the event's page lists."""
