"""The ledger of batches: tables of their own in the journal's file, written by its own thread.

A chunk and its lines come in one transaction, a state with its event in one, and the outcomes of
all lines of a chunk with the chunk's end in one: no process that dies leaves half of them.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import define, field

from batchllm.engine import SPENT_ONLINE
from batchllm.journal import ItemKey, JournalWriter
from batchllm.policy import Need
from batchllm.provider_batch.outcomes import give_outcomes
from batchllm.provider_batch.rows import (
    LineRow,
    LineState,
    Settled,
    Settling,
    chunk_of,
    fields_of,
)
from batchllm.provider_batch.states import Chunk, State

__all__ = ["BatchLedger", "read_chunks", "read_events"]

T = TypeVar("T")

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS pb_chunk (
    chunk INTEGER PRIMARY KEY, state TEXT NOT NULL, fields TEXT NOT NULL, changed REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS pb_line (
    line INTEGER PRIMARY KEY, custom_id TEXT NOT NULL UNIQUE, source TEXT, key TEXT,
    digest BLOB, strategy BLOB, chunk INTEGER, line_no INTEGER, round INTEGER NOT NULL,
    state INTEGER NOT NULL, part INTEGER, start INTEGER, size INTEGER, answer TEXT,
    UNIQUE (source, key)
);
CREATE INDEX IF NOT EXISTS pb_line_by_chunk ON pb_line (chunk, line_no);
CREATE INDEX IF NOT EXISTS pb_line_waiting ON pb_line (line) WHERE state = 0;
CREATE TABLE IF NOT EXISTS pb_event (
    event INTEGER PRIMARY KEY, chunk INTEGER NOT NULL, at REAL NOT NULL,
    before TEXT, after TEXT NOT NULL, detail TEXT NOT NULL
);
"""
_COLUMNS: Final = (
    "line, custom_id, source, key, digest, strategy, chunk, line_no, round, state, part, start, "
    "size, answer"
)
_PAGE: Final = 500
_QUOTAS: Final = "batch_quotas"
"""The fact that has what was learned about quotas."""
_NAME_BYTES: Final = 4
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


@define(eq=False)
class BatchLedger:
    """The ledger in an open journal, which this process drives.

    Args:
        journal: Its writer; all work is done by its thread.

    Attributes:
        run: Eight characters that stand for this journal in names at providers.
    """

    journal: JournalWriter
    run: str = field(default="", init=False)
    _next_line: int = field(default=1, init=False)
    _next_chunk: int = field(default=1, init=False)

    @property
    def path(self) -> Path:
        """Return the journal's file, for messages."""
        return self.journal.settings.path

    # -- opening ---------------------------------------------------------------------------------

    async def open(self) -> list[Chunk]:
        """Make the tables if they are not there.

        Returns:
            The chunks of earlier runs that are not cleaned up.

        Raises:
            JournalError: The journal cannot be written.
        """
        return await self._write(self._open)

    def _open(self, db: sqlite3.Connection) -> list[Chunk]:
        for statement in _TABLES.split(";"):
            if statement.strip():
                db.execute(statement)
        row = db.execute("SELECT value FROM facts WHERE name = 'batch_run'").fetchone()
        if row is None:
            # No more than letters and digits: it becomes part of names that providers restrict.
            self.run = "".join(secrets.choice(_LETTERS) for _ in range(2 * _NAME_BYTES))
            db.execute("INSERT INTO facts (name, value) VALUES ('batch_run', ?)", (self.run,))
        else:
            self.run = row[0]
        (self._next_line,) = db.execute("SELECT coalesce(max(line), 0) + 1 FROM pb_line").fetchone()
        (self._next_chunk,) = db.execute(
            "SELECT coalesce(max(chunk), 0) + 1 FROM pb_chunk"
        ).fetchone()
        return read_chunks(db, over=False)

    # -- chunks ----------------------------------------------------------------------------------

    def next_chunk(self) -> int:
        """Return the number of the next chunk."""
        number = self._next_chunk
        self._next_chunk += 1
        return number

    def next_line(self) -> int:
        """Return the number of the next line."""
        number = self._next_line
        self._next_line += 1
        return number

    async def add(self, chunk: Chunk, lines: Sequence[LineRow], waiting: Sequence[LineRow]) -> None:
        """Write a new chunk with its lines.

        Args:
            chunk: In its first state.
            lines: New ones.
            waiting: Those that are in the ledger already, with what is new of them.

        Raises:
            JournalError: It cannot be written.
        """
        await self._write(partial(self._add, chunk, lines, waiting))

    def _add(
        self,
        chunk: Chunk,
        lines: Sequence[LineRow],
        waiting: Sequence[LineRow],
        db: sqlite3.Connection,
    ) -> None:
        marks = ", ".join("?" * len(LineRow._fields))
        db.executemany(f"INSERT INTO pb_line ({_COLUMNS}) VALUES ({marks})", lines)
        db.executemany(
            "UPDATE pb_line SET custom_id = ?, digest = ?, strategy = ?, chunk = ?, line_no = ?, "
            "round = ?, state = ?, part = NULL, start = NULL, size = NULL, answer = NULL "
            "WHERE line = ?",
            [
                (r.custom_id, r.digest, r.strategy, r.chunk, r.line_no, r.round, r.state, r.line)
                for r in waiting
            ],
        )
        self._put(db, None, chunk, f"{chunk.lines} lines")

    async def save(self, before: Chunk, after: Chunk, detail: str = "") -> None:
        """Write a chunk's state; it is on the disk when this returns.

        Args:
            before: As it was.
            after: As it is from here on.
            detail: For the events: a status, a request id, a sentence.

        Raises:
            JournalError: It cannot be written.
        """
        await self._write(lambda db: self._put(db, before, after, detail))

    def _put(self, db: sqlite3.Connection, before: Chunk | None, after: Chunk, detail: str) -> None:
        now = self.journal.wall_clock()
        db.execute(
            "INSERT OR REPLACE INTO pb_chunk (chunk, state, fields, changed) VALUES (?, ?, ?, ?)",
            (after.number, after.state.value, fields_of(after), now),
        )
        if before is None or before.state is not after.state or detail:
            old = None if before is None else before.state.value
            db.execute(
                "INSERT INTO pb_event (chunk, at, before, after, detail) VALUES (?, ?, ?, ?, ?)",
                (after.number, now, old, after.state.value, detail),
            )

    async def settle(self, before: Chunk, settling: Settling, detail: str) -> Settled:
        """Write the end of a chunk and of each of its lines in one transaction.

        Raises:
            JournalError: It cannot be written.
            ProgramError: A line of it would have no outcome.
        """
        return await self._write(partial(self._settle, before, settling, detail))

    def _settle(
        self, before: Chunk, settling: Settling, detail: str, db: sqlite3.Connection
    ) -> Settled:
        settled = give_outcomes(db, before, settling)
        self._put(db, before, settling.chunk, detail)
        return settled

    # -- money -----------------------------------------------------------------------------------

    async def spent(self) -> tuple[list[Chunk], Need]:
        """Return all chunks of the journal, and what calls online of its runs have taken."""
        return await self._read(_spent)

    # -- quotas ----------------------------------------------------------------------------------

    async def quotas(self) -> str | None:
        """Return what was learned about quotas, as it was noted; ``None`` before that."""
        query = "SELECT value FROM facts WHERE name = ?"
        row = await self._read(lambda db: db.execute(query, (_QUOTAS,)).fetchone())
        return None if row is None else str(row[0])

    async def note_quotas(self, text: str) -> None:
        """Write down what was learned about quotas."""
        query = "INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)"
        await self._write(lambda db: db.execute(query, (_QUOTAS, text)))

    # -- lines -----------------------------------------------------------------------------------

    async def find(self, keys: Sequence[ItemKey]) -> dict[ItemKey, LineRow]:
        """Return the lines of items, as far as they have any."""
        return await self._read(partial(_find, keys))

    async def lines_of(self, chunk: int, after: int) -> list[LineRow]:
        """Return a page of the lines of a chunk, behind the line number *after*."""
        query = (
            f"SELECT {_COLUMNS} FROM pb_line WHERE chunk = ? AND line_no > ? "
            f"ORDER BY line_no LIMIT {_PAGE}"
        )
        return await self._read(
            lambda db: [LineRow(*row) for row in db.execute(query, (chunk, after)).fetchall()]
        )

    async def waiting(self, after: int) -> list[LineRow]:
        """Return a page of the lines that wait for a chunk, behind the line *after*."""
        query = (
            f"SELECT {_COLUMNS} FROM pb_line WHERE state = {int(LineState.WAITING)} "
            f"AND line > ? ORDER BY line LIMIT {_PAGE}"
        )
        return await self._read(
            lambda db: [LineRow(*row) for row in db.execute(query, (after,)).fetchall()]
        )

    async def note_copies(self, before: Chunk, after: Chunk, lines: Sequence[int]) -> None:
        """Write that the items of lines are called for online while their chunk goes on."""
        query = (
            f"UPDATE pb_line SET state = {int(LineState.COPIED)} "
            f"WHERE line = ? AND state = {int(LineState.SENT)}"
        )
        detail = f"{len(lines)} of its items are called for online, since it is late"

        def work(db: sqlite3.Connection) -> None:
            db.executemany(query, [(line,) for line in lines])
            self._put(db, before, after, detail)

        await self._write(work)

    async def copied(self, chunk: int) -> frozenset[str]:
        """Return the ids of the lines of a chunk whose items were called for online, too."""
        query = "SELECT custom_id FROM pb_line WHERE chunk = ? AND state = ?"
        given = (chunk, int(LineState.COPIED))
        return await self._read(
            lambda db: frozenset(row[0] for row in db.execute(query, given).fetchall())
        )

    async def supersede(self, rows: Sequence[LineRow]) -> None:
        """Let lines go: their items begin anew, and what still comes for them is not used."""
        await self._write(
            lambda db: db.executemany(
                "UPDATE pb_line SET source = NULL, key = NULL WHERE line = ?",
                [(row.line,) for row in rows],
            )
        )

    async def unfinished(self, chunk: int) -> int:
        """Return how many lines of a settled chunk have no result in the journal."""
        query = (
            "SELECT count(*) FROM pb_line LEFT JOIN items USING (source, key) "
            "WHERE pb_line.chunk = ? AND pb_line.source IS NOT NULL AND items.item IS NULL"
        )
        return await self._read(lambda db: int(db.execute(query, (chunk,)).fetchone()[0]))

    async def clean(self, before: Chunk, after: Chunk) -> None:
        """Write that each result of a chunk is in the journal, and forget its lines."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM pb_line WHERE chunk = ?", (before.number,))
            self._put(db, before, after, "")

        await self._write(work)

    # -- the journal's connection ----------------------------------------------------------------

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        journal = self.journal
        return await journal.worker.call(partial(journal.store.with_output, work))

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self.journal.worker.call(partial(self._transact, work))

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self.journal.store.transact(work)


def read_chunks(db: sqlite3.Connection, *, over: bool = True) -> list[Chunk]:
    """Read the chunks of a journal; none if it has no ledger.

    Args:
        db: A connection to it, for reading at least.
        over: Whether those are wanted, too, that need nothing any more.
    """
    query = "SELECT count(*) FROM sqlite_schema WHERE name = 'pb_chunk'"
    if not db.execute(query).fetchone()[0]:
        return []
    rows = db.execute("SELECT chunk, state, fields FROM pb_chunk ORDER BY chunk").fetchall()
    found = [chunk_of(*row) for row in rows]
    return found if over else [one for one in found if one.state is not State.CLEANED]


def read_events(db: sqlite3.Connection, chunk: int) -> list[Any]:
    """Read what happened to a chunk: time, state before, state after, and detail."""
    query = "SELECT at, before, after, detail FROM pb_event WHERE chunk = ? ORDER BY event"
    return db.execute(query, (chunk,)).fetchall()


def _spent(db: sqlite3.Connection) -> tuple[list[Chunk], Need]:
    row = db.execute("SELECT value FROM facts WHERE name = ?", (SPENT_ONLINE,)).fetchone()
    tokens, cost = (0, 0.0) if row is None else json.loads(row[0])
    return read_chunks(db), Need(tokens, cost)


def _find(keys: Sequence[ItemKey], db: sqlite3.Connection) -> dict[ItemKey, LineRow]:
    query = f"SELECT {_COLUMNS} FROM pb_line WHERE source = ? AND key = ?"
    rows = (db.execute(query, key).fetchone() for key in keys)
    return {row[2:4]: LineRow(*row) for row in rows if row is not None}
