"""The output file as a view of the journal: it only grows, and is written anew if it must.

Rows are appended as results come. The journal knows how long the file is and which rows are in it;
a run that goes on cuts the file there, appends what is finished and missing, and goes on. Rows of
results that were superseded stay until the run ends; then one pass writes the file anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from attrs import define, evolve, field

from batchllm.cli.exits import UsageError
from batchllm.cli.lines import Line
from batchllm.cli.writing import encode_row, output_row
from batchllm.core import Category, WorkItemResult
from batchllm.journal import (
    JournalWriter,
    StoredRow,
    begin_rewrite,
    end_rewrite,
    missing_rows,
    output_state,
    refused_rows,
    reset_output,
    stored_rows,
)

__all__ = ["JournaledOutput", "row_of_stored"]

Result = WorkItemResult[Any, Any]
T = TypeVar("T")


def row_of_stored(stored: StoredRow) -> dict[str, Any]:
    """Make the row of a result that is read from a journal, as it was made when it came."""
    result, context = stored.result, stored.result.context
    if isinstance(context, dict) and {"number", "item_id", "fields"} <= context.keys():
        line = Line(**context)
    else:  # a journal of a program, or one without prompts
        number = result.submission_index + 1
        line = Line(number=number, item_id=result.item_id, fields={})
    return output_row(line, evolve(result, context=None))


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
    _file: BinaryIO
    _name: str
    _length: int
    _lines: dict[int, bytes]
    _superseded_lines: bool = field(default=False, init=False)

    @classmethod
    async def open(
        cls, journal: JournalWriter, path: Path, *, ordered: bool = False
    ) -> JournaledOutput:
        """Open the file, cut it where the journal knows it, and append what is missing.

        Args:
            journal: The journal, open.
            path: The file, which is made if it is not there.
            ordered: If rows come in the order of the input, so that all are written again.

        Raises:
            UsageError: There is a file that the journal does not know.
            OSError: It cannot be written.
        """
        name = _name_beside(path, journal.settings.path)
        state = await _call(journal, output_state)
        size = _size_of(path)
        if size is not None and state.name != name:
            msg = (
                f"the output {path} exists already, and its journal {journal.settings.path} does "
                "not know it; give another name, --fresh to keep it under another one, or "
                "--overwrite to lose it"
            )
            raise UsageError(msg)
        anew = size is None or size < state.length or state.rewriting or ordered
        if anew or state.name is None:
            await _call(journal, partial(reset_output, name=name))
            state = await _call(journal, output_state)
        file = _open_at(path, state.length)
        output = cls(path, journal, file, name, state.length, state.lines)
        if not ordered:
            await output._append_missing()
        return output

    async def write(self, line: Line, result: Result, row: dict[str, Any]) -> None:
        """Append the row of a result.

        Raises:
            OSError: It cannot be written.
        """
        data = encode_row(row)
        if result.error_category == Category.INVALID_ITEM:
            known = self._lines.get(line.number)
            if known != data:
                self._append(data)
                if known is not None:
                    self._superseded_lines = True
            self._lines[line.number] = data
            self._journal.note_refused(line.number, data, self._length)
            return
        self._append(data)
        self._journal.note_row(result.submission_index, self._length)

    async def finish(self, *, complete: bool) -> None:
        """Append what is still missing, and write the file anew if rows in it are superseded.

        Args:
            complete: If the run has seen every line, so that lines that were refused before and
                did not come again were mended.

        Raises:
            OSError: The file cannot be written.
        """
        await self._journal.flush()
        await self._append_missing()
        run = self._journal.opened.run if complete else None
        lines = await _call(self._journal, partial(refused_rows, run=run))
        state = await _call(self._journal, output_state)
        if state.superseded or len(lines) != len(self._lines) or self._superseded_lines:
            await self._journal.worker.call(partial(self._rewrite, lines))

    @property
    def name(self) -> str:
        """The output as messages name it."""
        return str(self.path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def _append_missing(self) -> None:
        kind = self._journal.settings.output_type
        while rows := await _call(self._journal, partial(missing_rows, output_type=kind)):
            noted = []
            for stored in rows:
                self._append(encode_row(row_of_stored(stored)))
                noted.append((stored.key, self._length))
            self.restored += len(noted)
            self._journal.note_rows(noted)
            await self._journal.flush()

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._length += len(data)

    # In the journal's thread: it may take seconds, and nothing else is written meanwhile.

    def _rewrite(self, lines: list[tuple[int, bytes]]) -> None:
        mode = os.stat(self.path).st_mode & 0o7777
        target = self.path.resolve()
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(descriptor, "wb") as file:
                os.chmod(temporary, mode)
                self._journal.store.with_output(partial(self._replace, file, temporary, lines))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self._file.close()
        self._file = _open_at(self.path, self._length)

    def _replace(
        self, file: BinaryIO, temporary: str, lines: list[tuple[int, bytes]], db: sqlite3.Connection
    ) -> None:
        length, ends, line_ends = 0, list[tuple[int, int]](), list[tuple[int, int]]()
        for stored in stored_rows(db, self._journal.settings.output_type):
            length += file.write(encode_row(row_of_stored(stored)))
            ends.append((stored.item, length))
        for line, data in lines:
            length += file.write(data)
            line_ends.append((length, line))
        file.flush()
        os.fsync(file.fileno())
        # In this order: a process that ends in between finds the note, and builds the file anew
        # from the journal, whichever of the two files is there.
        begin_rewrite(db)
        os.replace(temporary, self.path.resolve())
        end_rewrite(db, self._name, ends, line_ends)
        self._length = length


def _name_beside(path: Path, journal: Path) -> str:
    """Name the output as seen from its journal, so that both may be moved together."""
    return os.path.relpath(path.resolve(), journal.resolve().parent)


def _size_of(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def _open_at(path: Path, length: int) -> BinaryIO:
    """Open a file to be appended to, cut at *length*."""
    file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
    os.truncate(path, length)
    return file


def _call(journal: JournalWriter, work: Callable[[sqlite3.Connection], T]) -> Awaitable[T]:
    return journal.worker.call(partial(journal.store.with_output, work))
