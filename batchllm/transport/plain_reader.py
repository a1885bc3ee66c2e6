"""The reader of usual replies in Python, which hands everything else to another reader.

h11 checks much that a usual reply does not need, and takes 80 µs for it; this takes 5. A reply is
read here if its head is regular in every character and frames its body by one length or by
chunks. Anything else goes to the other reader from its first byte, so what is accepted, and what
is refused, is decided there. A property test holds it to the same answers as h11.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from attrs import define

from batchllm.transport.exchange_errors import ClosedByServerError, GarbageError
from batchllm.transport.handover import Handover
from batchllm.transport.parsing import MAX_HEAD, Headers, ReplyReader, join_headers

__all__ = ["HeaderLines", "PlainReader"]

# Within what h11 accepts (RFC 9112): a reply that does not match is not wrong, but another's.
_START: Final = b"HTTP/1.1 "
_STATUS: Final = re.compile(r"HTTP/1\.1 ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,20})(?:;[\t\x20-\x7e\x80-\xff]*|[ \t]*)")
_TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_WITHOUT_BODY: Final = (204, 304)
_MOST_LINE: Final = 4_096
"""Bytes of a line that gives a chunk's size, or of all trailers; usual are 3."""
_MOST_PIECES: Final = 8
"""Pieces in which a head may come: one of 4 kB comes in three TCP segments, and each piece is
searched with all before it."""
_MOST_KEPT: Final = 256
"""Header lines that are kept, and their names: some 20 of a server are in each of its replies."""
_MOST_OF_ONE: Final = 16
"""Lines of one name that are kept: of an identifier none comes again, and it takes no more room."""
_LONGEST_KEPT: Final = 256
"""Characters of a line that is kept; with these numbers they bound what a server can fill."""
_ANEW_AFTER: Final = 10_000
"""Lines that were not kept, after which others may be: a server may send other ones some day."""


@define(eq=False)
class _Name:
    """A name of headers in lower case, and how many more lines of it may be kept."""

    low: str
    room: int = _MOST_OF_ONE


class HeaderLines(dict[str, tuple[str, str]]):
    """The header lines of one server by what they say, so that each is read once and not per reply.

    Two thirds of the lines in a reply of a hosted API are the same in every reply.
    """

    __slots__ = ("_names", "_new")

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[str, _Name] = {}
        self._new = 0

    def read(self, head: bytes) -> tuple[str, Headers] | None:
        """Return the first line and the headers; ``None`` if they are not regular."""
        first, *rest = head.decode("latin-1").split("\r\n")
        try:
            return first, list(map(self.__getitem__, rest))
        except KeyError:
            return None

    def __missing__(self, line: str) -> tuple[str, str]:
        text, colon, value = line.partition(":")
        name = self._names.get(text) or self._keep_name(text)
        # Nearly every value is printable; a tab and what is not ASCII may be right all the same.
        if not (name and colon and (value.isprintable() or not _CONTROL.search(value))):
            raise KeyError(line)
        pair = name.low, value.strip("\t ")
        if name.room and len(self) < _MOST_KEPT and len(line) <= _LONGEST_KEPT:
            name.room -= 1
            self[line] = pair
            return pair
        self._new += 1
        if self._new > _ANEW_AFTER:
            self._begin_anew()
        return pair

    def _keep_name(self, text: str) -> _Name | None:
        """Return *text* as a name; ``None`` if it is not one."""
        if _NAME.fullmatch(text) is None:
            return None
        if len(text) > _LONGEST_KEPT:
            return _Name(text.lower(), room=0)
        if len(self._names) >= _MOST_KEPT:
            self._begin_anew()
        name = self._names[text] = _Name(text.lower())
        return name

    def _begin_anew(self) -> None:
        self._new = 0
        self._names.clear()
        self.clear()


def _closes(connection: str) -> bool:
    """Return whether one of the words of a ``Connection`` header is ``close``."""
    return "close" in [word.strip(" \t") for word in connection.split(",")]


class PlainReader(Handover):
    """Reads replies; see the module.

    Args:
        make_other: Makes the reader of what is unusual.
        lines: Shared by the readers of one server's replies.
    """

    __slots__ = ("_buffer", "_chunks", "_had_interim", "_left", "_lines", "_pieces_of_head")

    def __init__(
        self, make_other: Callable[[], ReplyReader], lines: HeaderLines | None = None
    ) -> None:
        super().__init__(make_other)
        self._lines = HeaderLines() if lines is None else lines
        self.begin("")

    def begin(self, method: str) -> None:
        """Prepare for the reply to a request with *method*."""
        self._start(method)
        self._buffer = b""
        self._chunks = self._had_interim = False
        self._left = self._pieces_of_head = 0

    def feed(self, data: bytes) -> bool:
        """Take what arrived and return whether the reply is whole."""
        if self._other is not None:
            return self._feed_other(data)
        if self.status:
            return self._feed_body(data)
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0 and self._may_go_on(data):
            self._buffer = data
            return False
        if end < 0 or not self._read_head(data, end):
            return self._hand_over(data)
        rest = data[end + 4 :]
        if self.status:
            return self._feed_body(rest)
        self._pieces_of_head = 0
        return bool(rest) and self.feed(rest)  # nothing at all would be the end to h11

    def feed_eof(self) -> None:
        """Take note that the server closed its side; the reply is whole if this returns."""
        if self._other is None:
            raise ClosedByServerError("the server closed the connection")
        self._feed_eof_to_other()

    def _may_go_on(self, data: bytes) -> bool:
        """Return whether *data* is the beginning of a head that may be for this reader."""
        self._pieces_of_head += 1
        return (
            self._pieces_of_head < _MOST_PIECES
            and len(data) < MAX_HEAD
            and _START.startswith(data[: len(_START)])
            # To h11 these end a head, too, and the server waits for the next request behind one.
            and b"\n\n" not in data
            and b"\n\r\n" not in data
        )

    def _read_head(self, data: bytes, end: int) -> bool:
        """Read the head and how the body is framed; ``False`` if that is for the other reader.

        The head of an interim reply, such as 103, is passed over if it is the first.
        """
        read = self._lines.read(data[:end])
        if read is None:
            return False
        first, headers = read
        match = _STATUS.fullmatch(first)
        if match is None:
            return False
        status = int(match[1])
        if status < 200:
            is_first, self._had_interim = not self._had_interim, True
            return is_first and status != 101  # a change of protocol, which was not asked for
        # One of these that comes twice is joined to what is none of them.
        found = join_headers(headers)
        length, encoding = found.get("content-length"), found.get("transfer-encoding")
        if encoding is not None and encoding.lower() != "chunked":
            return False
        if length is not None and not (len(length) < 16 and length.isdecimal()):
            return False
        if status in _WITHOUT_BODY or self._method == "HEAD":
            self._left = 0
        elif encoding is not None:
            self._chunks = True
        elif length is not None:
            self._left = int(length)
        else:
            return False  # it ends with the connection
        self.status, self.headers, self._by_name = status, headers, found
        connection = found.get("connection", "").lower()
        self.reusable = "close" not in connection or not _closes(connection)
        return True

    def _feed_body(self, data: bytes) -> bool:
        if self._chunks:
            return self._feed_chunks(data)
        if len(data) < self._left:
            if data:
                self.pieces.append(data)
                self._left -= len(data)
            return False
        if len(data) == self._left:
            if data:
                self.pieces.append(data)
            return True
        if self._left:
            self.pieces.append(data[: self._left])
        return self._end(data[self._left :])

    def _feed_chunks(self, data: bytes) -> bool:
        """Read chunks: ``_left`` counts the data of the present one with the line end behind it."""
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        at = 0
        while at < len(data):
            if not self._left:
                end = data.find(b"\r\n", at)
                if end < 0:
                    return self._keep(data[at:])
                match = _CHUNK.fullmatch(data, at, end)
                if match is None:
                    raise GarbageError("a chunk has no size")
                size = int(match[1], 16)
                if not size:
                    return self._end_chunks(data, at, end + 2)
                at, behind = end + 2, end + 2 + size
                if data.startswith(b"\r\n", behind):  # mostly all of it has come
                    self.pieces.append(data[at:behind])
                    at = behind + 2
                else:
                    self._left = size + 2
            elif self._left > 2:
                piece = data[at : at + self._left - 2]
                self.pieces.append(piece)
                self._left -= len(piece)
                at += len(piece)
            elif data[at] == b"\r\n"[2 - self._left]:
                self._left -= 1
                at += 1
            else:
                raise GarbageError("a chunk is longer than its size")
        return False

    def _end_chunks(self, data: bytes, start: int, at: int) -> bool:
        """Pass over the trailers behind the last chunk, which starts at *start*."""
        if data.startswith(b"\r\n", at):
            return self._end(data[at + 2 :])
        end = data.find(b"\r\n\r\n", at)
        if end < 0:
            return self._keep(data[start:])
        if not all(map(_TRAILER.fullmatch, data[at:end].split(b"\r\n"))):
            raise GarbageError("the trailers are not headers")
        return self._end(data[end + 4 :])

    def _keep(self, rest: bytes) -> bool:
        if len(rest) > _MOST_LINE:
            raise GarbageError("the size of a chunk, or its trailers, are too long")
        self._buffer = rest
        return False

    def _end(self, surplus: bytes) -> bool:
        if surplus:
            self.surplus, self.reusable = True, False
        return True
