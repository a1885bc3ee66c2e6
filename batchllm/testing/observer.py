"""An observer that remembers the events it saw."""

from __future__ import annotations

from typing import Any

from batchllm.core import BaseObserver, ProcessingEvent

__all__ = ["RecordingObserver"]


class RecordingObserver(BaseObserver):
    """Keeps every event, in order, with its data.

    Example::

        observer = RecordingObserver()
        await run_batch(prompts, strategy, observers=[observer])
        assert observer.names[-1] == ProcessingEvent.PROCESSING_COMPLETED

    Attributes:
        events: ``(event, data)`` as they came.
    """

    def __init__(self) -> None:
        self.events: list[tuple[ProcessingEvent, dict[str, Any]]] = []

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Keep the event."""
        self.events.append((event, data))

    @property
    def names(self) -> list[ProcessingEvent]:
        """The events without their data."""
        return [event for event, _ in self.events]

    def of(self, event: ProcessingEvent) -> list[dict[str, Any]]:
        """The data of each *event*, in order."""
        return [data for name, data in self.events if name is event]

    def of_item(self, item_id: str) -> list[ProcessingEvent]:
        """The events of one item, in order."""
        return [event for event, data in self.events if data.get("item_id") == item_id]
