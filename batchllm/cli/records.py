"""Bytes become records: lines of text, rows of a table, the elements of a list."""

from __future__ import annotations

import codecs
import csv
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from attrs import define, field

__all__ = [
    "Decoder",
    "LineSplitter",
    "ListSplitter",
    "Record",
    "RowSplitter",
    "Splitter",
    "fields_of",
    "records_of",
]

Record = tuple[int, Any]
"""A number, counted from 1, and the record: bytes in UTF-8, or a value that is read already.

The number is that of its first line; of an element of a list, or a row of Parquet, its place.
"""

_MARKS = (  # that of UTF-32 begins like that of UTF-16, so it comes first
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BEGINNINGS = (codecs.BOM_UTF8, *(mark for mark, _ in _MARKS))
_MOST_LINES = 10_000
"""Lines of one field of a table, beyond which its quote was rather never closed."""

_DELIMITERS = ",;\t|"

# The module's own limit of 128 KiB a field is less than a long prompt. It cannot be set for one
# reader; beyond a C long it is refused, which is 32 bits wide on Windows.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))


@define(eq=False)
class Decoder:
    """Makes UTF-8 of what a file says it is by the mark at its beginning.

    Programs of Windows like to write UTF-16, of which each line would be garbage.
    """

    _decode: codecs.IncrementalDecoder | None = field(default=None, init=False)
    _begun: bool = field(default=False, init=False)
    _head: bytes = field(default=b"", init=False)

    def feed(self, data: bytes, *, final: bool = False) -> bytes:
        """Return the text of *data*, without the mark.

        Raises:
            UnicodeDecodeError: The file is not what its mark says.
        """
        if not self._begun:
            self._head += data
            if not final and any(
                mark.startswith(self._head) and mark != self._head for mark in _BEGINNINGS
            ):
                return b""  # more of a pipe has to come before it is clear; else none has to
            data = self._begin()
        if self._decode is None:
            return data
        return self._decode.decode(data, final).encode("utf-8", "surrogatepass")

    def _begin(self) -> bytes:
        self._begun, head, self._head = True, self._head, b""
        for mark, name in _MARKS:
            if head.startswith(mark):
                self._decode = codecs.getincrementaldecoder(name)()
                return head
        return head.removeprefix(codecs.BOM_UTF8)


class Splitter(Protocol):
    """Cuts a text into records as it comes."""

    def feed(self, data: bytes) -> list[Record]:
        """Return the records that are complete."""
        ...

    def finish(self) -> list[Record]:
        """Return what is left at the end.

        Raises:
            ValueError: The whole is not what it should be.
        """
        ...


@define(eq=False)
class LineSplitter:
    """Every line is a record; blank ones too, for the number."""

    _number: int = field(default=0, init=False)
    _parts: list[bytes] = field(factory=list, init=False)

    def feed(self, data: bytes) -> list[Record]:
        """Return the lines that are complete."""
        lines = data.split(b"\n")
        if len(lines) == 1:  # joined at its end only: a long line takes no time for each chunk
            self._parts.append(data)
            return []
        lines[0] = b"".join([*self._parts, lines[0]])
        self._parts = [lines.pop()]
        first = self._number + 1
        self._number += len(lines)
        return list(enumerate(lines, first))

    def finish(self) -> list[Record]:
        """Return the last line, if it does not end in a line feed."""
        rest, self._parts = b"".join(self._parts), []
        return [(self._number + 1, rest)] if rest else []


@define(eq=False)
class RowSplitter:
    """A row of a table goes on over the next line while the quote of a field is open.

    Attributes:
        delimiter: Between fields; ``None`` until the first line shows it.
    """

    delimiter: str | None = None
    _lines: LineSplitter = field(factory=LineSplitter, init=False)
    _open: list[bytes] = field(factory=list, init=False)
    _begun: int = field(default=0, init=False)

    def feed(self, data: bytes) -> list[Record]:
        """Return the rows that are complete."""
        return [row for line in self._lines.feed(data) if (row := self._add(line)) is not None]

    def finish(self) -> list[Record]:
        """Return the last row, also if its quote is still open."""
        rows = [row for line in self._lines.finish() if (row := self._add(line)) is not None]
        return [*rows, self._close()] if self._open else rows

    def _add(self, line: Record) -> Record | None:
        number, text = line
        if self.delimiter is None and text.strip():
            self.delimiter = _delimiter_of(text)
        if not self._open:
            if b'"' not in text:
                return line
            self._begun = number
        self._open.append(text)
        # A line without a quote neither opens a field nor closes one.
        if len(self._open) < _MOST_LINES and (b'"' not in text or self._is_open()):
            return None
        return self._close()

    def _is_open(self) -> bool:
        text = b"\n".join(self._open).decode("utf-8", "replace")
        try:
            fields_of(text, self.delimiter or ",")
        except csv.Error as error:
            return "unexpected end of data" in str(error)
        return False

    def _close(self) -> Record:
        row = (self._begun, b"\n".join(self._open))
        self._open = []
        return row


def _delimiter_of(header: bytes) -> str:
    """Return the delimiter that *header* has most of; many spreadsheets write ``;``."""
    text = header.decode("utf-8", "replace")
    return max(_DELIMITERS, key=text.count)


def fields_of(text: str, delimiter: str) -> list[str]:
    """Return the fields of a row.

    Raises:
        csv.Error: A quote is not closed, or text follows one that is.
    """
    return next(csv.reader([text], delimiter=delimiter, strict=True), [])


@define(eq=False)
class ListSplitter:
    """A JSON list, which is read as a whole; its elements are the records.

    What turns out to be JSON lines under a name in .json is taken as that.
    """

    _parts: list[bytes] = field(factory=list, init=False)

    def feed(self, data: bytes) -> list[Record]:
        """Keep *data* for the end."""
        self._parts.append(data)
        return []

    def finish(self) -> list[Record]:
        """Return the elements.

        Raises:
            ValueError: It is not JSON.
        """
        text = b"".join(self._parts)
        self._parts = []
        if not text.strip():
            return []
        try:
            value: Any = json.loads(text)
        except json.JSONDecodeError as error:
            if error.msg == "Extra data":
                lines = LineSplitter()
                return [*lines.feed(text), *lines.finish()]
            raise
        except RecursionError:
            msg = "it is nested too deeply"
            raise ValueError(msg) from None
        return list(enumerate(value if isinstance(value, list) else [value], 1))


def records_of(chunks: Iterable[bytes], splitter: Splitter) -> Iterator[Record]:
    """Yield the records of a file that comes in *chunks*."""
    decoder = Decoder()
    for chunk in chunks:
        yield from splitter.feed(decoder.feed(chunk))
    yield from splitter.feed(decoder.feed(b"", final=True))
    yield from splitter.finish()
