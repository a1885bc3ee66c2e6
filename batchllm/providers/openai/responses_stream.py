"""A streamed answer of Responses, put together from its events. No I/O."""

from __future__ import annotations

from typing import Any, Final

from batchllm.core import TokenUsage, normalize_usage
from batchllm.providers.wire import (
    DONE,
    JsonObject,
    Peer,
    decode_object,
    error_within,
    malformed,
    mapping_of,
)

__all__ = ["ResponsesStream"]

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
        self.error: object = None

    @property
    def usage(self) -> TokenUsage | None:
        """The token counts; they come with the terminal event only."""
        usage = (self._response or {}).get("usage")
        return normalize_usage(usage) if isinstance(usage, dict) else None

    def add(self, data: str) -> None:
        """Take the data of one event.

        Raises:
            MalformedResponseError: It is no event.
        """
        if self._response is not None or not data.strip() or data.strip() == DONE:
            return
        event = decode_object(data.encode("utf-8", "replace"), self._client)
        self._events += 1
        kind = event.get("type")
        if kind == "error":
            self.error = {"error": event.get("error") or event}
        elif kind == "response.output_item.done":
            self._items.append(event.get("item"))
        elif kind in _TERMINAL:
            self._end(dict(mapping_of(event.get("response"))))
        elif not str(kind).startswith("response."):
            self.error = error_within(event, answered=False)

    def _end(self, response: JsonObject) -> None:
        # Some compatible servers leave out of the last event what the others have told already.
        response["output"] = response.get("output") or self._items
        self._response = response
        if response.get("error") or response.get("status") == "failed":
            told = response.get("error")
            self.error = {"error": told or {"code": "server_error", "message": "it failed"}}

    def reply(self) -> JsonObject:
        """The whole response.

        Raises:
            MalformedResponseError: The stream ended before the answer did.
        """
        if self._response is None:
            got = f"after {self._events} events" if self._events else "before it began"
            msg = (
                f"the stream of {self._client.host} ended {got}, without its last event; its "
                "text is not whole, and the provider may bill it"
            )
            raise malformed(msg, None)
        return self._response
