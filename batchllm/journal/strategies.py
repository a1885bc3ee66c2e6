"""The strategies of a journal's answers: which are another's, and which fields are state."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from attrs import frozen

from batchllm.journal.entries import Identity
from batchllm.journal.tables import set_fact

__all__ = ["Changed", "find_changed", "forget_fields", "number_strategies", "volatile_fields"]


@frozen
class Changed:
    """Answers of another strategy.

    Attributes:
        count: How many there are.
        cost: What they cost in US dollars, ``None`` if no price was known.
        identity: The canonical identity that most of them have.
    """

    count: int
    cost: float | None
    identity: str


def find_changed(db: sqlite3.Connection, strategy: int) -> Changed | None:
    """Find answers that were given under another strategy of a run than the one of this number."""
    # By the index alone; the cost, which reads every row, is summed up only if there are any.
    of_others = "FROM items WHERE state = 1 AND own = 0 AND strategy <> ?"
    row = db.execute(
        f"SELECT strategy, count(*) {of_others} GROUP BY strategy ORDER BY count(*) DESC LIMIT 1",
        (strategy,),
    ).fetchone()
    if row is None:
        return None
    count, cost = db.execute(f"SELECT count(*), sum(cost) {of_others}", (strategy,)).fetchone()
    identity = db.execute("SELECT identity FROM strategies WHERE strategy = ?", row[:1]).fetchone()
    return Changed(int(count), cost, identity[0])


def number_strategies(
    db: sqlite3.Connection, identities: Mapping[bytes, str], numbers: dict[bytes, int]
) -> None:
    """Enter the strategies that are new, within the transaction that is open.

    Args:
        db: The journal's connection.
        identities: Those of a group, by their digests.
        numbers: The number of each that is in the file, by its digest; gets those of new ones.
    """
    for digest, identity in identities.items():
        if digest not in numbers:
            number = db.execute(
                "INSERT INTO strategies (digest, identity) VALUES (?, ?)", (digest, identity)
            ).lastrowid
            numbers[digest] = int(number or 0)


def volatile_fields(db: sqlite3.Connection) -> list[str]:
    """Return the fields of strategies that runs have changed."""
    row = db.execute("SELECT value FROM facts WHERE name = 'volatile'").fetchone()
    return [] if row is None else json.loads(row[0])


def forget_fields(db: sqlite3.Connection, fields: frozenset[str]) -> None:
    """Write the identities anew without *fields*; those that become the same become one."""
    set_fact(db, "volatile", json.dumps(sorted(fields)))
    numbers: dict[bytes, int] = {}
    for number, text in db.execute("SELECT strategy, identity FROM strategies").fetchall():
        identity = Identity.read(text, fields)
        kept = numbers.setdefault(identity.digest, number)
        if kept == number:
            db.execute(
                "UPDATE strategies SET digest = ?, identity = ? WHERE strategy = ?",
                (identity.digest, identity.text, number),
            )
        else:
            db.execute("UPDATE items SET strategy = ? WHERE strategy = ?", (kept, number))
            db.execute("DELETE FROM strategies WHERE strategy = ?", (number,))
