"""Rows on their way to a file, each as soon as it is there."""

from __future__ import annotations

import csv
import errno
import io
import os
import selectors
import stat
import sys
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import anyio.to_thread
from attrs import define, field

from batchllm.cli.exits import UsageError
from batchllm.cli.formats import OutputFormat, format_of_output
from batchllm.cli.output_names import number_of_open_file
from batchllm.cli.parquet import ParquetColumns
from batchllm.cli.rows import EXTRA, as_cell, as_json

__all__ = [
    "AnswerWriter",
    "RowWriter",
    "StreamWriter",
    "appended_as",
    "encoder_for",
    "header_of",
    "open_output",
    "write_whole",
]

_GZIP = 31  # zlib's number for its largest window with the head and tail of gzip


class RowWriter(Protocol):
    """The destination of rows.

    Attributes:
        name: As messages show it.
    """

    name: str

    async def write(self, row: dict[str, Any]) -> None:
        """Write a row; it is out of our hands when this returns.

        Raises:
            OSError: It cannot be written.
        """
        ...

    def close(self) -> None:
        """Write what is still to be written, and close the file; may be called again.

        Raises:
            OSError: It cannot be written.
        """
        ...


@define(eq=False)
class StreamWriter:
    """Writes each row behind the last one.

    Attributes:
        name: As messages show it.
        file: Where they go, unbuffered.
        waits: Whether a write may have to wait for a reader, and so belongs in a thread.
        encode: Makes bytes of a row.
        packs: Whether the bytes are packed by gzip.
    """

    name: str
    file: BinaryIO
    waits: bool
    encode: Callable[[dict[str, Any]], bytes]
    packs: bool = False
    _packer: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._packer = zlib.compressobj(wbits=_GZIP) if self.packs else None

    async def write(self, row: dict[str, Any]) -> None:
        """Write a row; it is out of our hands when this returns.

        Of a row that cannot be written no part stays in a file: the disk may be full in the middle
        of a row, and every line of the file is to be read.

        Raises:
            OSError: It cannot be written.
        """
        data = self.encode(row)
        if self._packer is not None:
            # Flushed for each row, so that all of them can be read if the program is killed.
            data = self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        if self.waits:
            await anyio.to_thread.run_sync(write_whole, self.file, data, abandon_on_cancel=True)
        else:
            try:
                write_whole(self.file, data)
            except OSError:
                self._packer = None  # what it holds back belongs to the row that is cut off
                raise

    def close(self) -> None:
        """Close the file; may be called again.

        Raises:
            OSError: The end of a packed file cannot be written.
        """
        packer, self._packer = self._packer, None
        try:
            if packer is not None:
                write_whole(self.file, packer.flush())
        finally:
            self.file.close()


@define(eq=False)
class AnswerWriter:
    """Prints the answer to a single prompt, and nothing else."""

    name: str = field(default="standard output", init=False)

    async def write(self, row: dict[str, Any]) -> None:
        """Print the output of a row, if it has one: a text as it is, anything else as JSON.

        Raises:
            OSError: It cannot be written.
        """
        if row["success"]:
            output = row["output"]
            text = output if isinstance(output, str) else as_json(output)
            sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
            sys.stdout.flush()

    def close(self) -> None:
        """Do nothing: standard output is not ours to close."""


def write_whole(file: BinaryIO, data: bytes) -> None:
    """Write all of *data*, or on a disk nothing of it: a file may take only a part at once.

    Standard output may be a file that had contents before, as behind ``>>`` or after another
    command in brackets, and others may write to it meanwhile: so no more is cut off than the part
    that was written here, and only if it still is the end of the file.

    Raises:
        OSError: It cannot be written; what a pipe took of it is gone.
    """
    rest = memoryview(data)
    try:
        while rest:
            taken = file.write(rest)
            if taken:
                rest = rest[taken:]
            else:  # None: it is full, and another program has made it a pipe that does not block
                _wait_for_room(file)
    except OSError:
        with suppress(OSError):  # of a pipe, which has no place to go back to
            end, part = file.seek(0, os.SEEK_CUR), len(data) - len(rest)
            if part and end == os.fstat(file.fileno()).st_size:
                os.ftruncate(file.fileno(), end - part)
        raise


def _wait_for_room(file: BinaryIO) -> None:
    """Return when a pipe takes more, or its reader has gone, which the next write reports."""
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_WRITE)
        selector.select()


def json_line(row: dict[str, Any]) -> bytes:
    """Return a row as a line of JSON."""
    return as_json(row).encode() + b"\n"


@define(eq=False)
class CsvLines:
    """Makes rows of a table, the header before the first one.

    Attributes:
        columns: Their names; fields that have none are put together in the last, one of the input
            among them that is called like it.
        delimiter: Between fields.
        begun: Whether the header is there.
    """

    columns: Sequence[str]
    delimiter: str
    begun: bool = field(default=False, init=False)

    def __call__(self, row: dict[str, Any]) -> bytes:
        """Return a row as a line of text."""
        head = b"" if self.begun else self.header()
        self.begun = True
        extra = {name: value for name, value in row.items() if name not in self.columns[:-1]}
        cells = {**row, EXTRA: extra or None}
        return head + self._line([_in_words(as_cell(cells.get(name))) for name in self.columns])

    def header(self) -> bytes:
        """Return the names of the columns as a line of text."""
        return self._line(self.columns)

    def _line(self, cells: Sequence[Any]) -> bytes:
        text = io.StringIO()
        csv.writer(text, delimiter=self.delimiter, lineterminator="\n").writerow(cells)
        return text.getvalue().encode("utf-8", "backslashreplace")


def _in_words(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


@define(eq=False)
class ParquetWriter:
    """Keeps rows as JSON lines beside the output, and makes Parquet of them at the end.

    Attributes:
        name: As messages show it.
        rows: The JSON lines.
        aside: Their file, which is deleted once all is done.
    """

    name: str
    rows: StreamWriter
    aside: Path
    _columns: ParquetColumns = field(factory=ParquetColumns, init=False)

    async def write(self, row: dict[str, Any]) -> None:
        """Write a row to the side.

        Raises:
            OSError: It cannot be written.
        """
        self._columns.add(row)
        await self.rows.write(row)

    def close(self) -> None:
        """Write the Parquet file; may be called again.

        Raises:
            OSError: It cannot be written; the rows stay in the file beside it.
        """
        if self.rows.file.closed:
            return
        self.rows.close()
        self._columns.write(self.aside, Path(self.name))
        self.aside.unlink()


def open_output(name: str, *, overwrite: bool, columns: Sequence[str]) -> RowWriter:
    """Open a new file, a device or pipe such as ``/dev/null``, or standard output for ``-``.

    Args:
        name: Where to write; ``check_output`` has passed it.
        overwrite: Whether a file of that name may be emptied.
        columns: The columns of a table.

    Raises:
        UsageError: It exists already, or cannot be made.
    """
    if name == "-":
        sys.stdout.flush()
        file: BinaryIO = open(1, "wb", buffering=0, closefd=False)  # noqa: SIM115
        return StreamWriter("standard output", file, _waits(file), json_line)
    kind, packs = format_of_output(name)
    number = number_of_open_file(name)
    file = _open_new(name, overwrite=overwrite) if number is None else _open_number(name, number)
    if kind == "parquet":
        file.close()  # it keeps the place until the end
        aside = Path(f"{name}.rows.jsonl")
        beside = _open_new(str(aside), overwrite=overwrite)
        rows = StreamWriter(str(aside), beside, _waits(beside), json_line)
        return ParquetWriter(name, rows, aside)
    return StreamWriter(name, file, _waits(file), encoder_for(kind, columns), packs)


def _open_number(name: str, number: int) -> BinaryIO:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        # Files that Python or a library has opened here are not inheritable (PEP 446), so what is
        # came from the shell; rows must not get into one of ours.
        if not os.get_inheritable(number):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return open(number, "wb", buffering=0, closefd=False)
    except OSError as error:
        msg = f"the output {name} cannot be written: {error.strerror or error}"
        raise UsageError(msg) from None


def appended_as(
    name: str, columns: Sequence[str], *, begun: bool
) -> Callable[[dict[str, Any]], bytes] | None:
    """Return what makes bytes of a row that can be appended to a file.

    Args:
        name: Of the file.
        columns: Of a table.
        begun: Whether a table has its header already.

    Returns:
        ``None`` for a format that is written as a whole: Parquet, or packed.
    """
    kind, packs = format_of_output(name)
    if kind == "parquet" or packs:
        return None
    encode = encoder_for(kind, columns)
    if isinstance(encode, CsvLines):
        encode.begun = begun
    return encode


def header_of(name: str, columns: Sequence[str]) -> bytes:
    """Return the first line of a table; nothing of JSON lines."""
    encode = appended_as(name, columns, begun=False)
    return encode.header() if isinstance(encode, CsvLines) else b""


def encoder_for(kind: OutputFormat, columns: Sequence[str]) -> Callable[[dict[str, Any]], bytes]:
    """Return what makes bytes of a row; that of a table puts its header before the first one."""
    if kind == "jsonl":
        return json_line
    return CsvLines(columns, "," if kind == "csv" else "\t")


def _open_new(name: str, *, overwrite: bool) -> BinaryIO:
    is_device = os.path.exists(name) and not os.path.isfile(name)
    try:
        return open(name, "wb" if overwrite or is_device else "xb", buffering=0)
    except FileExistsError:
        msg = f"the output {name} exists already; give another name, or --overwrite to lose it"
        raise UsageError(msg) from None
    except OSError as error:
        msg = f"the output {name} cannot be written: {error.strerror or error}"
        raise UsageError(msg) from None


def _waits(file: BinaryIO) -> bool:
    return not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
