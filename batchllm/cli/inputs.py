"""Open inputs: a file, read lazily and unpacked, or a pipe, read as it fills."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from typing import Any, BinaryIO, cast

import anyio
import anyio.to_thread
from attrs import define, field

from batchllm.cli.exits import UsageError
from batchllm.cli.formats import FileFormat
from batchllm.cli.lines import LineReader, Reader, TableReader, ValueReader
from batchllm.cli.parquet import read_parquet
from batchllm.cli.prompts import Line, PromptRules, unused_settings
from batchllm.cli.records import (
    Decoder,
    LineSplitter,
    ListSplitter,
    Record,
    RowSplitter,
    Splitter,
    records_of,
)

__all__ = ["BadInputError", "Input", "open_input"]

_STANDARD_INPUT = 0
_AT_ONCE = 65_536
"""Bytes of one read."""

_LINES_AT_ONCE = 1_000
"""Lines of a file that are read in one visit of a thread, if another input is a pipe."""

_BETWEEN_CHECKS = 10_000
"""Records that are counted before the counter looks whether it is still wanted."""


_ROWS_FOR_FIELDS = 1_000
"""Rows whose fields become the columns of a table."""

_WITH_HEADER = ("csv", "tsv")
_TABLES = (*_WITH_HEADER, "parquet")


class BadInputError(Exception):
    """An input is not what it should be, so that the rest of it cannot be read."""


@define(eq=False)
class Input:
    """An open input.

    Attributes:
        name: As messages show it.
        file: Its bytes.
        format: What is in it.
        rules: How its rows become prompts.
        regular: Whether it is a file on a disk, which is there as a whole and never waits.
    """

    name: str
    file: BinaryIO
    format: FileFormat
    rules: PromptRules
    regular: bool
    _split: Splitter = field(init=False)
    _reader: Reader = field(init=False)
    _decoder: Decoder = field(factory=Decoder, init=False)
    _rest: Iterator[Line] | None = field(default=None, init=False)
    _ended: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._split, self._reader = _parts_for(self.format, self.rules)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def check(self) -> str | None:
        """Look at the first record, before anything is sent or written.

        Returns:
            A sentence that the user should read, if there is one.

        Raises:
            UsageError: The input has no column for prompts, or it is not what its name says.
        """
        first = None
        if self.regular and self.format.name != "json":  # that is read as a whole
            with (
                closing(open_input(self.name, self.format, self.rules)) as other,
                suppress(BadInputError),  # the run says so, and has rows for what can be read
            ):
                first = next(other.lines(), None)
                # All rows of a table have the same fields, so that each would be refused.
                if first is not None and first.lacks_field and self.format.name in _TABLES:
                    msg = f"{self.name}: {first.problem}"
                    raise UsageError(msg)
        unused = [] if first is None else unused_settings(first)
        if not unused:
            return None
        return (
            f"{self.name}: of its requests only the prompts are used; "
            f"-m and -p give the rest ({', '.join(unused)})"
        )

    def first_fields(self) -> list[str]:
        """Return the names of the fields that its first rows have; none for a pipe."""
        if not self.regular:
            return []
        names: dict[str, None] = {}
        with (
            closing(open_input(self.name, self.format, self.rules)) as other,
            suppress(BadInputError),
        ):
            for line in islice(other.lines(), _ROWS_FOR_FIELDS):
                names.update(dict.fromkeys(map(str, line.fields)))
        return list(names)

    def lines(self) -> Iterator[Line]:
        """Read the lines, of a pipe too, in the thread that calls.

        Raises:
            BadInputError: It cannot be read on.
            UsageError: Its header will not do.
        """
        with self._named():
            for number, record in self._records():
                line = self._read(number, record)
                if line is not None:
                    yield line

    async def next_lines(self) -> list[Line] | None:
        """Read what there is of a pipe, or the next lines of a file in a thread.

        Returns:
            The lines that are complete, maybe none; ``None`` at the end.

        Raises:
            BadInputError: It cannot be read on.
            UsageError: Its header will not do.
        """
        if self.regular or self.format.name == "parquet":
            if self._rest is None:
                self._rest = self.lines()
            some = islice(self._rest, _LINES_AT_ONCE)
            return await anyio.to_thread.run_sync(list, some) or None
        if self._ended:
            return None
        with self._named():
            data = await self._read_some()
        self._ended = not data
        return list(self._cut(data))

    @contextmanager
    def _named(self) -> Generator[None]:
        """Raise what makes reading impossible as an error that names the input."""
        try:
            yield
        except (OSError, EOFError, zlib.error, ValueError) as error:
            msg = f"{self.name} cannot be read on: {_what_is_wrong(error)}"
            raise BadInputError(msg) from error

    def count(
        self,
        wanted: Callable[[Any], bool] | None = None,
        *,
        check: Callable[[], None] = lambda: None,
    ) -> int:
        """Return how many records it has.

        Args:
            wanted: Count only those whose id it accepts, for which they are read.
            check: Called every so many records, and raises what is to end the counting.
        """
        count = 0
        with closing(open_input(self.name, self.format, self.rules)) as other:
            if wanted is not None:
                for number, line in enumerate(other.lines()):
                    count += wanted(line.item_id)
                    if number % _BETWEEN_CHECKS == 0:
                        check()
                return count
            for number, (_, record) in enumerate(other._records()):
                count += not isinstance(record, bytes) or bool(record.strip())
                if number % _BETWEEN_CHECKS == 0:
                    check()
        return max(0, count - 1) if self.format.name in _WITH_HEADER else count

    def _records(self) -> Iterator[Record]:
        if self.format.name == "parquet":
            return read_parquet(self.file, self.name)
        return records_of(self._chunks(), self._split)

    def _chunks(self) -> Iterator[bytes]:
        file = self.file
        if self.format.packed:
            import gzip

            file = cast("BinaryIO", gzip.GzipFile(fileobj=self.file))
        while chunk := file.read(_AT_ONCE):
            yield chunk

    def _read(self, number: int, record: Any) -> Line | None:
        try:
            return self._reader.read(number, record)
        except UsageError as error:
            msg = f"{self.name}: {error}"
            raise UsageError(msg) from None

    def _cut(self, data: bytes) -> Iterator[Line]:
        """Read the lines that *data* completes; no data is the end."""
        with self._named():
            records = self._split.feed(self._decoder.feed(data, final=not data))
            if not data:
                records += self._split.finish()
        for number, record in records:
            line = self._read(number, record)
            if line is not None:
                yield line

    async def _read_some(self) -> bytes:
        """Return what is there to read, at least one byte; nothing at the end."""
        descriptor = self.file.fileno()
        try:
            await anyio.wait_readable(descriptor)
        except (OSError, NotImplementedError):
            # Files and null devices cannot be waited for, nor can any pipe on Windows.
            read: Callable[[int, int], bytes] = os.read
            return await anyio.to_thread.run_sync(
                read, descriptor, _AT_ONCE, abandon_on_cancel=True
            )
        return os.read(descriptor, _AT_ONCE)


def _what_is_wrong(error: Exception) -> str:
    match error:
        case EOFError() | zlib.error():
            return f"it is not a whole gzip file: {error}"
        case UnicodeDecodeError():
            return f"it begins like {error.encoding} and is not: {error.reason}"
        case ValueError():
            return f"it is not JSON: {error}"
        case _:
            return str(error)


def open_input(name: str, form: FileFormat, rules: PromptRules) -> Input:
    """Open a file, or standard input for ``-``.

    Raises:
        UsageError: It cannot be opened.
    """
    try:
        if name == "-":
            pipe = open(_STANDARD_INPUT, "rb", buffering=0, closefd=False)  # noqa: SIM115
            return Input("standard input", pipe, form, rules, regular=False)
        file = open(name, "rb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        msg = f"the input {name} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from None
    return Input(name, file, form, rules, stat.S_ISREG(os.fstat(file.fileno()).st_mode))


def _parts_for(form: FileFormat, rules: PromptRules) -> tuple[Splitter, Reader]:
    match form.name:
        case "csv" | "tsv":
            rows = RowSplitter("\t" if form.name == "tsv" else None)
            return rows, TableReader(rows, rules)
        case "json":
            return ListSplitter(), ValueReader(rules)
        case "parquet":
            return LineSplitter(), ValueReader(rules)
        case "jsonl" | "text":
            return LineSplitter(), LineReader(form.name, rules)
