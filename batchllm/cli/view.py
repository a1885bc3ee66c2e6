"""The output file as a view of the journal: it only grows, and is written anew if it must.

Rows are appended as results come. The journal knows how long the file is and which rows are in it;
a run that goes on cuts the file there, appends what is finished and missing, and goes on. Rows of
results that were superseded stay until the run ends; then one pass writes the file anew. Formats
that cannot be appended to (Parquet, packed ones) are written by such a pass at each end of a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import anyio.to_thread
import cattrs
from attrs import define, field

from batchllm.cli.exits import UsageError
from batchllm.cli.journaling import SUFFIX
from batchllm.cli.prompts import Line
from batchllm.cli.rows import RowMaker, as_json
from batchllm.cli.source import Taken
from batchllm.cli.writing import RowWriter, appended_as, header_of, open_output, write_whole
from batchllm.core import Category, WorkItemResult
from batchllm.journal import (
    JournalWriter,
    OutputState,
    StoredRow,
    begin_rewrite,
    end_rewrite,
    missing_rows,
    output_state,
    refused_rows,
    reset_output,
    stored_rows,
)

__all__ = ["JournaledOutput", "make_beside", "row_of_stored"]

T = TypeVar("T")

BESIDE = "."
"""The name of an output for the journal that lies beside it."""
_RANDOM_BYTES = 4
"""Of the name of a file that is to take the output's place; ``gc`` knows it by their 8 digits."""


def row_of_stored(maker: RowMaker, stored: StoredRow) -> dict[str, Any]:
    """Return the row of a result that is read from a journal, as it was when it came."""
    result, context = stored.result, stored.result.context
    try:
        taken = cattrs.structure(context, Taken)
    except Exception:  # the context of a program, or none since prompts are left out
        number = result.submission_index + 1
        line = Line(number=number, item_id=result.item_id, own_id=result.item_id, fields={})
        taken = Taken(line, "", None, keeps_id=True)
    return maker.row(taken, result, stored.started)


@define(eq=False)
class JournaledOutput:
    """The output of a run with a journal; made by ``open``.

    Attributes:
        path: The file.
        restored: Rows that were finished before and missing in the file.
    """

    path: Path
    restored: int = field(default=0, init=False)
    _journal: JournalWriter
    _maker: RowMaker
    _columns: Sequence[str]
    _name: str
    _file: BinaryIO | None
    _encode: Callable[[dict[str, Any]], bytes] | None
    _length: int
    _refused: dict[str, bytes]
    _stale: bool = False

    @classmethod
    async def open(
        cls,
        journal: JournalWriter,
        path: Path,
        maker: RowMaker,
        columns: Sequence[str],
        *,
        ordered: bool = False,
    ) -> JournaledOutput:
        """Open the file, cut it where the journal knows it, and append what is missing.

        Args:
            journal: The journal, open.
            path: The file, which is made if it is not there.
            maker: Makes rows.
            columns: Of a table.
            ordered: Whether rows come in the order of the input, so that all are written again.

        Raises:
            UsageError: There is a file that the journal does not know.
            OSError: It cannot be written.
        """
        name = _name_beside(path, journal.settings.path)
        state = await _call(journal, output_state)
        if state.name != name and _is_there(path):
            msg = (
                f"the output {path} exists already, and its journal {journal.settings.path} does "
                "not know it; give another name, --fresh to keep it under another one, or "
                "--overwrite to lose it"
            )
            raise UsageError(msg)
        if ordered or not _is_as_known(path, state, columns):
            await _call(journal, partial(reset_output, name=name))
            state = await _call(journal, output_state)
        encode = appended_as(str(path), columns, begun=state.length > 0)
        file: BinaryIO | None = _open_at(path, state.length if encode else _size_of(path))
        if encode is None and file is not None:
            file.close()  # it is there now, with the mode of any new file
            file = None
        output = cls(path, journal, maker, columns, name, file, encode, state.length, state.lines)
        if not ordered:
            await output._append_missing()
        return output

    @property
    def name(self) -> str:
        """The output as messages name it."""
        return str(self.path)

    async def write(
        self, taken: Taken, result: WorkItemResult[Any, Any], row: dict[str, Any]
    ) -> None:
        """Append the row of a result.

        Raises:
            OSError: It cannot be written.
        """
        if result.error_category != Category.INVALID_ITEM:
            self._append(row)
            self._journal.note_row(result.submission_index, self._length)
            return
        # Not in the journal as an item, since it was never sent; its row is kept as it is.
        data, known = as_json(row).encode(), self._refused.get(taken.place)
        if known != data:
            self._append(row)
            self._stale = self._stale or known is not None
        self._refused[taken.place] = data
        self._journal.note_refused(taken.place, data, self._length)

    async def finish(self, *, complete: bool) -> None:
        """Append what is still missing, and write the file anew if rows in it are superseded.

        Args:
            complete: Whether the run has seen every line, so that lines that were refused before
                and did not come again were mended.

        Raises:
            OSError: The file cannot be written.
            JournalError: The journal cannot be read or written.
        """
        await self._journal.flush()
        run = self._journal.opened.run if complete else None
        refused = await _call(self._journal, partial(refused_rows, run=run))
        await self._append_missing()
        state = await _call(self._journal, output_state)
        stale = self._stale or state.superseded or len(refused) != len(self._refused)
        if stale or self._encode is None or self._is_gone():
            await self._rewrite(refused)

    def _is_gone(self) -> bool:
        """Return whether the file was deleted or replaced while rows were appended to it."""
        if self._file is None:
            return False
        try:
            return not os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return True

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    async def _append_missing(self) -> None:
        if self._encode is None:
            return  # written as a whole, at the end
        while rows := await _call(self._journal, missing_rows):
            noted = []
            for stored in rows:
                self._append(row_of_stored(self._maker, stored))
                noted.append((stored.key, self._length))
            self.restored += len(noted)
            self._journal.note_rows(noted)
            await self._journal.flush()

    def _append(self, row: dict[str, Any]) -> None:
        if self._encode is None or self._file is None:
            return
        data = self._encode(row)
        write_whole(self._file, data)
        self._length += len(data)

    async def _rewrite(self, refused: Sequence[bytes]) -> None:
        """Write the file anew beside it, and put it in its place."""
        target = self.path.resolve()
        temporary = make_beside(target)
        try:
            writer = open_output(temporary, overwrite=True, columns=self._columns)
            ends = await self._write_stored(writer, temporary)
            for row in refused:
                await writer.write(json.loads(row))
            await anyio.to_thread.run_sync(writer.close)
            await anyio.to_thread.run_sync(_flush, temporary)
            length = os.stat(temporary).st_size
            # In this order: a process that ends in between finds the note, and builds the file
            # anew from the journal, whichever of the two files is there.
            await _call(self._journal, begin_rewrite)
            os.replace(temporary, target)
            done = partial(end_rewrite, name=self._name, ends=ends, length=length)
            await _call(self._journal, done)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    async def _write_stored(self, writer: RowWriter, temporary: str) -> list[tuple[int, int]]:
        ends: list[tuple[int, int]] = []
        last = 0
        while rows := await _call(self._journal, partial(stored_rows, after=last)):
            for stored in rows:
                await writer.write(row_of_stored(self._maker, stored))
            # Where a row ends counts only for the last one, and that it is there for the others.
            length = max(1, os.stat(temporary).st_size)
            ends += [(stored.item, length) for stored in rows]
            last = rows[-1].item
        return ends


def _is_there(path: Path) -> bool:
    return path.exists()


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_as_known(path: Path, state: OutputState, columns: Sequence[str]) -> bool:
    """Return whether the file can be gone on with, as far as the journal knows it."""
    if state.name is None or state.rewriting or not path.exists():
        return False
    if path.stat().st_size < state.length:
        return False
    if not state.length or appended_as(str(path), columns, begun=True) is None:
        return True
    head = header_of(str(path), columns)
    with open(path, "rb") as file:
        if file.read(len(head)) != head:
            return False  # a table whose columns have changed
        # One that was edited by hand may end elsewhere: a cut would leave a part of a row.
        file.seek(state.length - 1)
        return file.read(1) == b"\n"


def _name_beside(path: Path, journal: Path) -> str:
    """Name the output as seen from its journal, so that both may be moved together.

    The one that lies beside its output is named after it, and both may be renamed together.
    """
    if journal.resolve() == Path(f"{path.resolve()}{SUFFIX}"):
        return BESIDE
    return os.path.relpath(path.resolve(), journal.resolve().parent)


def _open_at(path: Path, length: int) -> BinaryIO:
    """Open a file to be appended to, cut at *length*."""
    file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
    os.truncate(path, length)
    return file


def make_beside(target: Path) -> str:
    """Make an empty file beside *target*, of the same kind, and of its mode if it is there."""
    # Not by tempfile, whose files only their owner reads: a new output has the mode of any file.
    suffix = "".join(target.suffixes)
    name = target.with_name(f".{target.stem}.{secrets.token_hex(_RANDOM_BYTES)}{suffix}")
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
    with contextlib.suppress(FileNotFoundError):
        os.chmod(name, target.stat().st_mode & 0o7777)
    return str(name)


def _flush(name: str) -> None:
    descriptor = os.open(name, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _call(journal: JournalWriter, work: Callable[[sqlite3.Connection], T]) -> Awaitable[T]:
    return journal.worker.call(partial(journal.store.with_output, work))
