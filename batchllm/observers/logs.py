"""Events as lines of a log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from batchllm.core import BaseObserver, ProcessingEvent

__all__ = ["LoggingObserver"]

_LEVELS: Final[Mapping[ProcessingEvent, int]] = {
    ProcessingEvent.ITEM_STARTED: logging.DEBUG,
    ProcessingEvent.ITEM_COMPLETED: logging.DEBUG,
    ProcessingEvent.QUOTA_LEARNED: logging.DEBUG,
    ProcessingEvent.ITEM_FAILED: logging.WARNING,
    ProcessingEvent.RATE_LIMIT_HIT: logging.WARNING,
    ProcessingEvent.PAUSE_LENGTHENED: logging.WARNING,
    ProcessingEvent.SCOPE_PARKED: logging.WARNING,
    ProcessingEvent.OUTAGE_STARTED: logging.WARNING,
    ProcessingEvent.OUTAGE_ENDED: logging.WARNING,
    ProcessingEvent.ENDPOINT_DOWN: logging.WARNING,
}


class LoggingObserver(BaseObserver):
    """Writes each event with its data to a logger.

    Items that start and end well are DEBUG, failures and limits WARNING, the rest INFO. Prompts
    and outputs are not part of events and so never reach the log.

    Args:
        logger: By default ``batchllm.events``.
        levels: Levels that differ, by event.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        levels: Mapping[ProcessingEvent, int] | None = None,
    ) -> None:
        self.logger = logging.getLogger("batchllm.events") if logger is None else logger
        self.levels = {**_LEVELS, **(levels or {})}

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Write one line, such as ``item_failed item_id=7 error_category=timeout``."""
        level = self.levels.get(event, logging.INFO)
        if self.logger.isEnabledFor(level):
            fields = " ".join(f"{key}={value}" for key, value in data.items() if key != "timestamp")
            self.logger.log(level, "%s %s", event.value, fields, extra={"batchllm": data})
