"""The statements of the journal: what writes a group, and what finds an item again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from batchllm.journal.groups import Group
from batchllm.journal.identity import ItemKey
from batchllm.journal.ledger import Known, State
from batchllm.journal.owner import Driver
from batchllm.journal.payload import pack

__all__ = [
    "Finished",
    "find_answered",
    "find_driver",
    "find_finished",
    "find_known",
    "set_fact",
    "write_group",
]

_UPSERT: Final = """
INSERT INTO items (source, key, prompt, strategy, own, state, pending, position, started, finished,
    cost, input_tokens, output_tokens, row_end, payload, run)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (source, key) DO UPDATE SET prompt = excluded.prompt, strategy = excluded.strategy,
    own = excluded.own, state = excluded.state, pending = excluded.pending,
    position = excluded.position, started = excluded.started, finished = excluded.finished,
    cost = excluded.cost, input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens, row_end = excluded.row_end, payload = excluded.payload,
    run = excluded.run
"""
_BEGIN_CALL: Final = (
    "INSERT INTO calls (call, source, key, attempt, started, run) VALUES (?, ?, ?, ?, ?, ?)"
)
_FAIL_CALL: Final = "UPDATE calls SET ended = ?, category = ?, error = ?, usage = ? WHERE call = ?"
_STATES: Final = {int(state): state for state in State}
_SIZES: Final = (1, 16, 256)
"""Keys per query: few sizes, so that each statement is prepared once."""


class Finished(NamedTuple):
    """The row of a finished item, to be replayed or exported."""

    key: ItemKey
    state: State
    pending: bool
    position: int
    started: float
    cost: float | None
    row_end: int | None
    payload: bytes


def write_group(
    connection: sqlite3.Connection, group: Group, run: int, numbers: Mapping[bytes, int], now: float
) -> None:
    """Write a group, within the transaction that is open.

    Args:
        connection: Of the journal.
        group: What to write.
        run: The number of the run.
        numbers: The number of each strategy, by its digest.
        now: Seconds since 1970.
    """
    if group.begun:
        connection.executemany(
            _BEGIN_CALL, [(c.call, *c.key, c.attempt, c.started, run) for c in group.begun.values()]
        )
    if group.failed:
        connection.executemany(
            _FAIL_CALL, [(c.ended, c.category, c.error, c.usage, c.call) for c in group.failed]
        )
    if group.answered:
        connection.executemany(
            "DELETE FROM calls WHERE call = ?", [(call,) for call in group.answered]
        )
    if group.results:
        connection.executemany(
            _UPSERT,
            [
                (*r.key, r.prompt, numbers[r.strategy], *r[3:-1], pack(r.payload), run)
                for r in group.results
            ],
        )
    if group.processed:
        connection.executemany(
            "UPDATE items SET pending = 0 WHERE source = ? AND key = ?", group.processed
        )
    _write_output(connection, group, run)
    if group.samples:
        connection.executemany(
            "INSERT OR REPLACE INTO samples (run, at, data) VALUES (?, ?, ?)",
            [(run, sample.at, sample.data) for sample in group.samples],
        )
    if group.quotas:
        connection.executemany(
            "INSERT OR REPLACE INTO quotas (scope, rate, age, at) VALUES (?, ?, ?, ?)",
            [(*quota, now) for quota in group.quotas.values()],
        )
    for name, value in group.facts.items():
        set_fact(connection, name, value)


def _write_output(connection: sqlite3.Connection, group: Group, run: int) -> None:
    """Write which rows the output has, and so how long it is."""
    if group.refused:
        connection.executemany(
            "INSERT OR REPLACE INTO refused (place, row, row_end, run) VALUES (?, ?, ?, ?)",
            [(*row, run) for row in group.refused],
        )
    if group.rows:
        connection.executemany(
            "UPDATE items SET row_end = ? WHERE source = ? AND key = ?",
            [(end, *key) for key, end in group.rows],
        )
    ends = [end for _, end in group.rows[-1:]] + [row.row_end for row in group.refused[-1:]]
    if ends:
        # The output only grows, so the last row says how long it is.
        set_fact(connection, "output_length", max(ends))


def set_fact(connection: sqlite3.Connection, name: str, value: object) -> None:
    """Keep one of the few values that belong to no table, within the transaction that is open."""
    connection.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))


def find_driver(connection: sqlite3.Connection) -> Driver | None:
    """Find who writes the journal, or wrote it when it was cut short."""
    row = connection.execute("SELECT token, host, boot, pid, born, beat FROM driver").fetchone()
    if row is None:
        return None
    token, host, boot, pid, born, beat = row
    return Driver(token=token, host=host, boot=boot, pid=pid, born=born, beat=beat)


def find_known(
    connection: sqlite3.Connection, keys: Sequence[ItemKey], digests: Mapping[int, bytes]
) -> dict[ItemKey, Known]:
    """Find what is known of several items, as far as a decision needs it.

    Args:
        connection: Of the journal.
        keys: Of the items.
        digests: The digest of each strategy, by its number.
    """
    columns = "source, key, state, prompt, strategy, pending"
    return {
        (source, key): Known(_STATES[state], prompt, digests[strategy], pending > 0)
        for source, key, state, prompt, strategy, pending in _select(connection, columns, keys)
    }


def find_answered(
    connection: sqlite3.Connection, keys: Sequence[ItemKey], strategy: int
) -> dict[str, bytes | None]:
    """Find which of several items have an answer of a strategy, and nothing left to do.

    Args:
        connection: Of the journal.
        keys: Of items of one source.
        strategy: The number of the strategy.

    Returns:
        The digests of their prompts, by the second part of their keys.
    """
    # The plus keeps SQLite from taking the index by state, in which nearly every item is found.
    answered = f"AND +state = {int(State.DONE)} AND pending = 0 AND +strategy = {strategy:d}"
    return dict(_select(connection, "key, prompt", keys, answered))


def find_finished(
    connection: sqlite3.Connection, keys: Sequence[ItemKey]
) -> dict[ItemKey, Finished]:
    """Find the results of several items."""
    columns = "source, key, state, pending, position, started, cost, row_end, payload"
    return {
        (row[0], row[1]): Finished((row[0], row[1]), State(row[2]), bool(row[3]), *row[4:])
        for row in _select(connection, columns, keys)
    }


def _select(
    connection: sqlite3.Connection, columns: str, keys: Sequence[ItemKey], more: str = ""
) -> Iterator[Any]:
    by_source: dict[str, list[str]] = {}
    for source, key in keys:
        by_source.setdefault(source, []).append(key)
    for source, names in by_source.items():
        size = next((size for size in _SIZES if size >= len(names)), _SIZES[-1])
        marks = ", ".join("?" * size)
        query = f"SELECT {columns} FROM items WHERE source = ? AND key IN ({marks}) {more}"
        for begin in range(0, len(names), size):
            part = names[begin : begin + size]
            part += part[-1:] * (size - len(part))
            yield from connection.execute(query, (source, *part)).fetchall()
