"""Events as lines of a log, and the item that every other line was written for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from batchllm.core import BaseObserver, ProcessingEvent, current_item

__all__ = ["ItemContext", "LoggingObserver"]

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

_ITEM_FIELDS: Final = ("item_id", "attempt", "batch")


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


class ItemContext(logging.Filter):
    """Adds the item to each log record that is written for one: its id, the attempt, the batch.

    As ``item_id``, ``attempt`` and ``batch``. Put on a handler it sees the records of all loggers:
    of a strategy, of its HTTP client, of batchllm. Outside of items they are ``None``: a format may
    name them. A field that the record has already stays as it is. Formatters for JSON, such as
    that of python-json-logger, write the fields as they write all others.

    It is also a processor for structlog, which leaves them out if there is no item.

    Example::

        handler.addFilter(ItemContext())
        handler.setFormatter(logging.Formatter("%(levelname)s [%(item_id)s] %(message)s"))
        structlog.configure(processors=[ItemContext(), structlog.processors.JSONRenderer()])
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields, and let every record through."""
        item = current_item()
        for name in _ITEM_FIELDS:
            if not hasattr(record, name):
                setattr(record, name, getattr(item, name, None))
        return True

    def __call__(
        self, logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Add the fields to an event of structlog."""
        item = current_item()
        if item is not None:
            for name in _ITEM_FIELDS:
                event.setdefault(name, getattr(item, name))
        return event
