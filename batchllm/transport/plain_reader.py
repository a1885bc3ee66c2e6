"""The reader of plain replies in Python, which hands everything unusual to h11.

h11 checks much that a usual reply does not need, and takes 80 µs for it; this takes 10. A reply is
read here if its head came in one piece, is regular in every character, and frames its body by one
length or by chunks. Anything else goes to h11 from its first byte, so what is accepted, and what is
refused, is decided there. A property test holds the two to the same answers.
"""

from __future__ import annotations

import re
from typing import Final

from batchllm.transport.exchange_errors import ClosedByServerError, GarbageError
from batchllm.transport.h11_fallback import H11Fallback
from batchllm.transport.parsing import MAX_HEAD, Headers

__all__ = ["PlainReader"]

# Within what h11 accepts (RFC 9112): a reply that does not match is not wrong, but h11's.
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?"
    rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*)*"
)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*|[ \t]*)")
_WITHOUT_BODY: Final = (204, 304)
_MOST_LINE: Final = 4_096
"""Bytes of a line that gives a chunk's size, or of all trailers; usual are 3."""


class PlainReader(H11Fallback):
    """Reads replies; see the module."""

    __slots__ = ("_buffer", "_chunks", "_left", "_method", "_whole")

    def __init__(self) -> None:
        super().__init__()
        self._chunks = False
        self._left = 0
        self._buffer = b""
        self._whole = False
        self._method = ""

    def begin(self, method: str) -> None:
        """Prepare for the reply to a request with *method*."""
        self._h11 = None
        self._method = method
        self._buffer = b""
        self._left = self.status = 0
        self._chunks = self._whole = False
        self.headers, self.pieces = [], []
        self.reusable = self.surplus = False

    def feed(self, data: bytes) -> bool:
        """Take what arrived and return whether the reply is whole."""
        if self._h11 is not None:
            return self._feed_h11(data)
        if self.status:
            return self._feed_body(data)
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0 or not self._read_head(data, end):
            self._begin_h11(self._method)
            return self._feed_h11(data)
        return self._feed_body(data[end + 4 :])

    def feed_eof(self) -> None:
        """Take note that the server closed its side; the reply is whole if this returns."""
        if self._h11 is None:
            raise ClosedByServerError("the server closed the connection")
        self._h11.feed_eof()
        self._take_from_h11()

    def _read_head(self, data: bytes, end: int) -> bool:
        """Read the head and how the body is framed; ``False`` if that is for h11."""
        match = _HEAD.fullmatch(data, 0, end)
        if match is None or self._method == "HEAD":
            return False
        headers: Headers = []
        for line in data[:end].decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(":")
            headers.append((name.lower(), value.strip(" \t")))
        status = int(match[1])
        found = dict(headers)
        length, encoding = found.get("content-length"), found.get("transfer-encoding")
        kept = found.get("connection", "keep-alive").lower()
        if kept not in ("keep-alive", "close") or status in _WITHOUT_BODY:
            return False
        if len(found) != len(headers):  # some come twice, such as cookies
            framing = [name for name, _ in headers if name in _FRAMING]
            if len(framing) != len(set(framing)):
                return False
        if encoding is not None:
            if encoding.lower() != "chunked":
                return False
            self._chunks = True
        elif length is not None and len(length) < 16 and length.isdecimal():
            self._left = int(length)
        else:
            return False
        self.status, self.headers = status, headers
        self.reusable = kept == "keep-alive"
        return True

    def _feed_body(self, data: bytes) -> bool:
        if self._chunks:
            return self._feed_chunks(data)
        if len(data) < self._left:
            if data:
                self.pieces.append(data)
                self._left -= len(data)
            return False
        if self._left:
            self.pieces.append(data[: self._left])
        return self._end(data[self._left :])

    def _feed_chunks(self, data: bytes) -> bool:
        """Read chunks: ``_left`` counts the data of the present one with the line end behind it."""
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        at = 0
        while at < len(data):
            if self._left > 2:
                piece = data[at : at + self._left - 2]
                self.pieces.append(piece)
                self._left -= len(piece)
                at += len(piece)
            elif self._left:
                if data[at] != b"\r\n"[2 - self._left]:
                    raise GarbageError("a chunk is longer than its size")
                self._left -= 1
                at += 1
            else:
                end = data.find(b"\r\n", at)
                if end < 0:
                    return self._keep(data[at:])
                match = _CHUNK.fullmatch(data, at, end)
                if match is None:
                    raise GarbageError("a chunk has no size")
                size = int(match[1], 16)
                if not size:
                    return self._end_chunks(data, at, end + 2)
                self._left = size + 2
                at = end + 2
        return False

    def _end_chunks(self, data: bytes, start: int, at: int) -> bool:
        """Pass over the trailers behind the last chunk, which starts at *start*."""
        if data.startswith(b"\r\n", at):
            return self._end(data[at + 2 :])
        end = data.find(b"\r\n\r\n", at)
        if end < 0:
            return self._keep(data[start:])
        if _TRAILERS.fullmatch(data, at, end) is None:
            raise GarbageError("the trailers are not headers")
        return self._end(data[end + 4 :])

    def _keep(self, rest: bytes) -> bool:
        if len(rest) > _MOST_LINE:
            raise GarbageError("the size of a chunk, or its trailers, are too long")
        self._buffer = rest
        return False

    def _end(self, rest: bytes) -> bool:
        self._whole = True
        if rest:
            self.surplus, self.reusable = True, False
        return True


_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection"})
_TRAILERS: Final = re.compile(
    rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*"
    rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*)*"
)
