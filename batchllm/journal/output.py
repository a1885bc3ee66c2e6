"""The output file as a view of the journal: which rows are in it, and which are missing.

Every function works on the connection of a journal that this process drives; those that write begin
and end a transaction of their own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from attrs import frozen

from batchllm.core import WorkItemResult
from batchllm.journal.identity import ItemKey
from batchllm.journal.ledger import State
from batchllm.journal.payload import replay_result
from batchllm.journal.tables import set_fact

__all__ = [
    "OutputState",
    "StoredRow",
    "begin_rewrite",
    "end_rewrite",
    "missing_rows",
    "output_state",
    "refused_rows",
    "reset_output",
    "stored_rows",
]

_CHUNK: Final = 500
_COLUMNS: Final = "item, source, key, state, cost, position, started, payload"


@frozen
class OutputState:
    """The output as the journal knows it.

    Attributes:
        name: Its path from the journal's folder; ``None`` if there was no output yet.
        length: Bytes of it that are known.
        superseded: Whether rows are in it that others have taken the place of.
        rewriting: Whether a process ended while it put a new file in its place.
        lines: Rows of lines that were never sent, as JSON, by input and number.
    """

    name: str | None
    length: int
    superseded: bool
    rewriting: bool
    lines: dict[str, bytes]


class StoredRow(NamedTuple):
    """A finished item, read to be written as a row."""

    item: int
    key: ItemKey
    result: WorkItemResult[Any, Any]
    started: float
    prompt: Any


def output_state(db: sqlite3.Connection) -> OutputState:
    """Read what is known of the output."""
    facts = dict(db.execute("SELECT name, value FROM facts").fetchall())
    return OutputState(
        facts.get("output"),
        facts.get("output_length", 0),
        bool(facts.get("superseded")),
        bool(facts.get("rewriting")),
        dict(db.execute("SELECT place, row FROM refused").fetchall()),
    )


def reset_output(db: sqlite3.Connection, name: str) -> None:
    """Begin an output anew: no row is in it."""
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE items SET row_end = 0")
    db.execute("DELETE FROM refused")
    _set_facts(db, name, 0)
    db.execute("COMMIT")


def _set_facts(db: sqlite3.Connection, name: str, length: int) -> None:
    db.execute("DELETE FROM facts WHERE name IN ('superseded', 'rewriting')")
    set_fact(db, "output", name)
    set_fact(db, "output_length", length)


def begin_rewrite(db: sqlite3.Connection) -> None:
    """Note that a new file is about to take the output's place.

    A process that ends between the two finds by it that what is known of the file may be of the
    other one.
    """
    db.execute("BEGIN IMMEDIATE")
    set_fact(db, "rewriting", 1)
    db.execute("COMMIT")


def end_rewrite(
    db: sqlite3.Connection, name: str, ends: Sequence[tuple[int, int]], length: int
) -> None:
    """Note the rows of a new output.

    Args:
        db: The journal's connection.
        name: Of the output.
        ends: Numbers of items, with the length of the file behind their rows.
        length: Of the file as a whole.
    """
    db.execute("BEGIN IMMEDIATE")
    db.executemany("UPDATE items SET row_end = ? WHERE item = ?", [(e, i) for i, e in ends])
    _set_facts(db, name, length)
    db.execute("COMMIT")


def missing_rows(db: sqlite3.Connection) -> list[StoredRow]:
    """Return some of the finished items that have no row yet."""
    query = f"SELECT {_COLUMNS} FROM items WHERE row_end = 0 ORDER BY item LIMIT {_CHUNK}"
    return [_read(row) for row in db.execute(query).fetchall()]


def stored_rows(db: sqlite3.Connection, after: int = 0) -> list[StoredRow]:
    """Return some of the finished items, in the order in which they were first finished.

    Args:
        db: The journal's connection.
        after: The number of the last one that was returned before.
    """
    query = f"SELECT {_COLUMNS} FROM items WHERE item > ? ORDER BY item LIMIT {_CHUNK}"
    return [_read(row) for row in db.execute(query, (after,)).fetchall()]


def refused_rows(db: sqlite3.Connection, run: int | None = None) -> list[bytes]:
    """Return the rows of lines that were never sent, as JSON.

    Args:
        db: The journal's connection.
        run: Forgets those that this run has not seen, if it is given; those lines were mended.
    """
    if run is not None:
        db.execute("DELETE FROM refused WHERE run < ?", (run,))
    return [row for (row,) in db.execute("SELECT row FROM refused ORDER BY row_end")]


def _read(row: Any) -> StoredRow:
    item, source, key, state, cost, position, started, payload = row
    result, prompt = replay_result(
        payload,
        success=state == State.DONE,
        cost=cost,
        position=position,
        plain=True,
    )
    return StoredRow(item, (source, key), result, started, prompt)
