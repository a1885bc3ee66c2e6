"""Reads a streamed reply, or one that should be and is not, whatever its headers say.

What a body is shows in its first bytes: servers and gateways send events as ``text/plain``, to
requests that asked for none, and plain JSON where events were asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Protocol

from batchllm.core import MalformedResponseError
from batchllm.policy import JsonError, read_json
from batchllm.transport import HttpClient, HttpStream, SseDecoder, SseEvent

__all__ = ["DONE", "EventReader", "is_events", "read_events", "read_stream", "unframed"]

_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
_NO_EVENTS: Final = (b"{", b"[", b'"', b"<")
_LONGEST_FIELD: Final = max(map(len, _FIELDS))
DONE: Final = "[DONE]"


class EventReader(Protocol):
    """Puts a streamed answer together."""

    error: object
    """The error that the stream carried, as the body of an error reply."""

    def add(self, data: str) -> None:
        """Take the data of one event."""
        ...


def is_events(body: bytes) -> bool:
    """Return whether *body* begins as server-sent events do."""
    return body[:64].lstrip(_BLANK).startswith(_FIELDS)


def _is_something_else(start: bytes) -> bool:
    """Return whether a body begins as JSON or a page does; also in UTF-16 and UTF-32."""
    return b"\0" in start[:8] or start[:64].lstrip(_BLANK).startswith(_NO_EVENTS)


def read_events(body: bytes, answer: EventReader) -> None:
    """Read a whole body of events into *answer*, up to an error if there is one."""
    events = SseDecoder()
    if not _take(events.feed(body), answer, None):
        _take_last(events, answer)


def unframed(body: bytes) -> list[str]:
    """Return the pieces of a stream that is no events: a JSON array of them, or one in each line.

    The first is what Gemini sends if a gateway leaves out ``alt=sse``. Nothing, if *body* is
    neither.
    """
    start = body[:64].lstrip(_BLANK)
    if start.startswith(b"["):
        with suppress(JsonError):
            pieces: list[Any] = read_json(body, keep_halves=True)
            if all(isinstance(piece, dict) for piece in pieces):
                return [json.dumps(piece) for piece in pieces]
    lines = [line.strip(_BLANK) for line in body.splitlines() if line.strip(_BLANK)]
    if len(lines) > 1 and all(one.startswith(b"{") and one.endswith(b"}") for one in lines):
        return [line.decode("utf-8", "replace") for line in lines]
    return []


async def read_stream(
    stream: HttpStream,
    client: HttpClient,
    answer: EventReader,
    progress: Callable[[], None] | None,
) -> bytes | None:
    """Read a reply piece by piece.

    Args:
        stream: The open reply.
        client: Whose keys a body must not show.
        answer: Gets the events, up to an error if there is one.
        progress: Called for each event.

    Returns:
        ``None`` if there were events, or nothing where the server announced events; else the
        whole body, which has none.
    """
    announced = "event-stream" in stream.headers.get("content-type", "").lower()
    start = b""
    async for piece in stream:
        start += piece
        text = start[:64].lstrip(_BLANK)
        if len(text) >= _LONGEST_FIELD or text.startswith((*_FIELDS, *_NO_EVENTS)):
            break
    if not is_events(start) and (not announced or _is_something_else(start)):
        body = client.redact.body(start + await stream.read())
        return None if announced and body.strip(_BLANK) in (b"", b"{}") else body
    events = SseDecoder()
    if _take(events.feed(start), answer, progress):
        return None
    async for piece in stream:
        if _take(events.feed(piece), answer, progress):
            return None
    _take_last(events, answer)
    return None


def _take(
    events: Iterable[SseEvent], answer: EventReader, progress: Callable[[], None] | None
) -> bool:
    """Pass *events* on; return whether one of them was an error, which is the last then."""
    for event in events:
        if progress is not None:
            progress()
        if event.event == "error":
            answer.error = event.data
        else:
            answer.add(event.data)
        if answer.error:
            return True
    return False


def _take_last(events: SseDecoder, answer: EventReader) -> None:
    """Pass on what came without the empty line behind it, if it is whole."""
    for event in events.end():
        try:
            _take([event], answer, None)
        except MalformedResponseError:  # it is cut off, as the reader will find out
            return
