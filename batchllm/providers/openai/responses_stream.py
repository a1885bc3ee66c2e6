"""A streamed answer of Responses, put together from its events. No I/O."""

from __future__ import annotations

from typing import Any, Final

from batchllm.core import TokenUsage, normalize_usage
from batchllm.providers.wire import (
    DONE,
    JsonObject,
    Peer,
    cut_off,
    decode_event,
    error_within,
    mapping_of,
    mappings_of,
)

__all__ = ["ResponsesStream"]

_BEFORE: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
_TERMINAL: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


class ResponsesStream:
    """Waits for the terminal event, which carries the whole response.

    Args:
        client: Named in messages, which do not show its keys.
    """

    def __init__(self, client: Peer) -> None:
        self._client = client
        self._response: JsonObject | None = None
        self._items: list[Any] = []
        self._events = 0
        self._has_begun = False
        self.error: object = None

    @property
    def usage(self) -> TokenUsage | None:
        """The token counts; they come with the terminal event only."""
        usage = (self._response or {}).get("usage")
        return normalize_usage(usage) if isinstance(usage, dict) else None

    @property
    def has_begun(self) -> bool:
        """Return whether part of the answer has come."""
        return self._has_begun

    def add(self, data: str) -> None:
        """Take the data of one event.

        Raises:
            MalformedResponseError: It is no event.
        """
        if self._response is not None or not data.strip() or data.strip() == DONE:
            return
        event = decode_event(data, self._client)
        self._events += 1
        kind = _kind_of(event)
        if kind == "error":
            self.error = {"error": event.get("error") or event}
        elif kind == "response.output_item.done":
            self._items.append(event.get("item"))
            self._has_begun = True
        elif kind in _TERMINAL:
            self._end(dict(mapping_of(event.get("response"))))
        elif not kind.startswith("response."):
            self.error = error_within(event, answered=False)
        elif kind not in _BEFORE:
            self._has_begun = True

    def _end(self, response: JsonObject) -> None:
        # Some compatible servers leave out of the last event what the others have said already.
        response["output"] = mappings_of(response.get("output")) or self._items
        self._response = response
        self._has_begun = False  # it says itself what it took
        if response.get("error") or response.get("status") == "failed":
            said = response.get("error")
            self.error = {"error": said or {"code": "server_error", "message": "it failed"}}

    def reply(self) -> JsonObject:
        """The whole response.

        Raises:
            MalformedResponseError: The stream ended before the answer did.
        """
        if self._response is None:
            lacks = "without its last event"
            raise cut_off(self._client, "events", self._events, lacks, None)
        return self._response


def _kind_of(event: JsonObject) -> str:
    """Return the type of *event*; one without a type is what its fields make it."""
    kind = event.get("type")
    if isinstance(kind, str):
        return kind
    response = mapping_of(event.get("response"))
    ending = f"response.{response.get('status')}"
    if ending not in _TERMINAL and mappings_of(response.get("output")):
        return "response.completed"  # what is still in progress has no output yet
    return ending if ending in _TERMINAL else ""
