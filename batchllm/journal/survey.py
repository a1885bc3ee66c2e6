"""A journal read as a whole, for a report: every item in brief, some in full, and the samples.

Unlike a replay it never makes an instance of a class: what an answer was is shown as JSON has it,
so that a report does not need the program that wrote the journal.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from attrs import frozen

from batchllm.journal.ledger import State
from batchllm.journal.payload import unpack
from batchllm.journal.values import as_plain

__all__ = ["Brief", "RunSettings", "Sampled", "StoredItem", "Survey"]

_CHUNK: Final = 2_000
"""Items per query: no transaction stays open for longer, so that a run can shorten its log."""


class _Metadata(msgspec.Struct):
    model: Any = None


class _Fields(msgspec.Struct):
    """The fields of a payload that a survey counts; the rest is passed over unread."""

    id: str
    error: str | None = None
    category: str | None = None
    usage: dict[str, Any] | None = None
    attempts: int = 0
    spans: tuple[float, ...] = ()
    metadata: _Metadata | None = None


_DECODER: Final = msgspec.json.Decoder(_Fields)


class Brief(NamedTuple):
    """A finished item, as far as it is counted.

    Attributes:
        number: Of its row.
        source: Its input; ``""`` if there is only one.
        run: The run that finished it.
        success: Whether it has an answer.
        cost: In US dollars, ``None`` if no price was known.
        started: Seconds since 1970.
        finished: The same.
        item_id: Its id.
        error: Why it has no answer.
        category: The kind of that failure.
        usage: Tokens by kind.
        attempts: Attempts that were made.
        spans: Seconds, four per call as in ``WorkItemResult``.
        model: The model that answered, if the provider said so.
    """

    number: int
    source: str
    run: int
    success: bool
    cost: float | None
    started: float
    finished: float
    item_id: str
    error: str | None
    category: str | None
    usage: Mapping[str, Any]
    attempts: int
    spans: tuple[float, ...]
    model: Any


class StoredItem(NamedTuple):
    """One item in full; ``fields`` are those of its result as JSON has them, and its prompt."""

    key: tuple[str, str]
    run: int
    success: bool
    cost: float | None
    finished: float
    fields: dict[str, Any]


class Sampled(NamedTuple):
    """The progress of a run at one moment; ``at`` in seconds since 1970."""

    at: float
    data: dict[str, Any]


class RunSettings(NamedTuple):
    """The settings of one run, as they were written down; ``inputs`` are names of files."""

    version: str
    config: dict[str, Any]
    inputs: list[str]


@frozen
class Survey:
    """Reads a whole journal; made by ``JournalReader.survey``."""

    _db: sqlite3.Connection

    def items(self) -> Iterator[Brief]:
        """Yield every finished item in brief, in the order in which they were first finished.

        Those that a run adds meanwhile are left out: what was read of the runs does not have them.
        """
        query = (
            "SELECT item, source, run, state, cost, started, finished, payload FROM items "
            f"WHERE item > ? AND item <= ? ORDER BY item LIMIT {_CHUNK}"
        )
        (end,) = self._db.execute("SELECT coalesce(max(item), 0) FROM items").fetchone()
        last = 0
        while rows := self._db.execute(query, (last, end)).fetchall():
            for row in rows:
                yield _brief(*row)
            last = rows[-1][0]

    def item(self, number: int) -> StoredItem | None:
        """Return the item with this number; ``None`` if the journal has no such item."""
        row = self._db.execute(
            "SELECT source, key, run, state, cost, finished, payload FROM items WHERE item = ?",
            (number,),
        ).fetchone()
        if row is None:
            return None
        source, key, run, state, cost, finished, payload = row
        fields = as_plain(json.loads(unpack(payload)))
        return StoredItem((source, key), run, state == State.DONE, cost, finished, fields)

    def samples(self, run: int) -> list[Sampled]:
        """Return the progress of a run over time, the first moment first."""
        rows = self._db.execute("SELECT at, data FROM samples WHERE run = ? ORDER BY at", (run,))
        return [Sampled(at, json.loads(data)) for at, data in rows.fetchall()]

    def last_finish(self, run: int) -> float | None:
        """Return when the last item of a run was finished, in seconds since 1970."""
        row = self._db.execute("SELECT max(finished) FROM items WHERE run = ?", (run,)).fetchone()
        return None if row is None else row[0]

    def failed_calls(self) -> dict[str, int]:
        """Return how many calls led to no answer, by the kind of failure.

        Those without an end are left out: they are under way, or were cut off.
        """
        rows = self._db.execute(
            "SELECT category, count(*) FROM calls WHERE ended IS NOT NULL GROUP BY category"
        )
        return {category or "unknown": count for category, count in rows.fetchall()}

    def settings(self, run: int) -> RunSettings:
        """Return the settings of a run."""
        version, config, inputs = self._db.execute(
            "SELECT version, config, inputs FROM runs WHERE run = ?", (run,)
        ).fetchone()
        return RunSettings(
            version, json.loads(config) if config else {}, json.loads(inputs) if inputs else []
        )

    def strategies(self) -> list[dict[str, Any]]:
        """Return what names the strategies that gave the results, the oldest first."""
        rows = self._db.execute("SELECT identity FROM strategies ORDER BY strategy LIMIT 20")
        return [json.loads(identity) for (identity,) in rows.fetchall()]


def _brief(
    number: int,
    source: str,
    run: int,
    state: int,
    cost: float | None,
    started: float,
    finished: float,
    payload: bytes,
) -> Brief:
    fields = _fields(unpack(payload))
    return Brief(
        number,
        source,
        run,
        state == State.DONE,
        cost,
        started,
        finished,
        fields.id,
        fields.error,
        fields.category,
        fields.usage or {},
        fields.attempts,
        fields.spans,
        None if fields.metadata is None else fields.metadata.model,
    )


def _fields(data: bytes) -> _Fields:
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # NaN, or half a surrogate pair, which only Python's own reader takes.
        return msgspec.convert(json.loads(data), _Fields)
