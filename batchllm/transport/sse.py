"""Server-sent events: bytes in, events out, with no I/O of its own."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from batchllm.core import MalformedResponseError

__all__ = ["SseDecoder", "SseEvent"]

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """One event: its data, and its type where the server named one."""

    data: str
    event: str = "message"


class SseDecoder:
    """Decodes a stream that arrives in pieces of any size, cut anywhere.

    Comments and the fields ``id`` and ``retry`` are left out, and so is an event that the end of
    the stream cuts off, as the HTML standard has it.

    Args:
        max_event_bytes: The most that one event may take.
    """

    def __init__(self, max_event_bytes: int = 16 * 1024 * 1024) -> None:
        self._max_event_bytes = max_event_bytes
        self._pieces: list[bytes] = []  # of the line that has not ended yet
        self._size = 0  # of the event that has not ended yet
        self._after_cr = False
        self._at_start = True
        self._data: list[str] = []
        self._event = ""

    def feed(self, piece: bytes) -> list[SseEvent]:
        """Take the next bytes and return the events that they complete.

        Raises:
            MalformedResponseError: One event is larger than ``max_event_bytes``.
        """
        if self._after_cr and piece:
            # A line ended with the last piece's CR; an LF here belongs to that same end.
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        if not piece:
            return []
        self._after_cr = piece.endswith(b"\r")
        events: list[SseEvent] = []
        *ended, rest = _LINE_END.split(piece)
        for part in ended:
            self._count(len(part))
            line = b"".join((*self._pieces, part)) if self._pieces else part
            self._pieces.clear()
            event = self._read_line(line)
            if event is not None:
                events.append(event)
        if rest:
            self._count(len(rest))
            self._pieces.append(rest)
        return events

    def end(self) -> list[SseEvent]:
        """Return what the end of the stream cut off, which is whole if only its empty line lacks.

        Servers leave that line out behind their last event. What is returned may as well be half
        an event.
        """
        line = b"".join(self._pieces)
        self._pieces.clear()
        found = [self._read_line(line) if line else None, self._end_event()]
        return [event for event in found if event is not None]

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._max_event_bytes:
            msg = f"one event of the stream is larger than {self._max_event_bytes:,} bytes"
            raise MalformedResponseError(msg, status=200)

    def _read_line(self, line: bytes) -> SseEvent | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._end_event()
        if line.startswith(b"{"):
            # No field of an event: an error that a gateway wrote amid the stream as it is.
            return SseEvent(line.decode("utf-8", "replace"))
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        return None

    def _end_event(self) -> SseEvent | None:
        data, event = self._data, self._event
        self._data, self._event, self._size = [], "", 0
        return SseEvent("\n".join(data), event or "message") if data else None
