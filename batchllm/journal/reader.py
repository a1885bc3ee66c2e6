"""A journal, open for reading only: also while another process writes it."""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from batchllm.core import JournalError
from batchllm.journal.faults import journal_error
from batchllm.journal.output import StoredRow, refused_rows, stored_rows
from batchllm.journal.owner import is_alive, this_process
from batchllm.journal.schema import check_format
from batchllm.journal.survey import Survey
from batchllm.journal.tables import find_driver

__all__ = ["JournalReader", "RunRecord", "StoredCall", "open_reader"]


@frozen(kw_only=True)
class RunRecord:
    """One run, as it was written down.

    Attributes:
        number: Its number in the journal, from 1.
        started: Seconds since 1970.
        ended: The same; ``None`` if it goes on, or did not end in order.
        cause: Why it ended.
        reason: The same in words.
        host: Where it ran.
        pid: Its process.
        counts: Its sums.
    """

    number: int
    started: float
    ended: float | None
    cause: str | None
    reason: str | None
    host: str
    pid: int
    counts: dict[str, Any]


@frozen(kw_only=True)
class StoredCall:
    """One call of an item that did not lead to its answer, or is under way.

    Attributes:
        attempt: Its number among the item's attempts.
        started: Seconds since 1970.
        ended: The same; ``None`` if it is under way, or was cut off and may be billed.
        category: The kind of its failure.
        error: The same in words.
    """

    attempt: int
    started: float
    ended: float | None
    category: str | None
    error: str | None


@frozen
class JournalReader:
    """Reads one journal; made by ``open_reader``."""

    path: Path
    _db: sqlite3.Connection

    def counts(self) -> dict[str, Any]:
        """Return how many items are in which state, with tokens and cost."""
        states = dict(self._db.execute("SELECT state, count(*) FROM items GROUP BY state"))
        tokens_in, tokens_out, cost = self._db.execute(
            "SELECT sum(input_tokens), sum(output_tokens), sum(cost) FROM items"
        ).fetchone()
        (open_calls,) = self._db.execute(
            "SELECT count(*) FROM calls WHERE ended IS NULL"
        ).fetchone()
        (refused,) = self._db.execute("SELECT count(*) FROM refused").fetchone()
        return {
            "succeeded": states.get(1, 0),
            "failed": states.get(2, 0) + states.get(3, 0),
            "refused": refused,
            "calls_without_end": open_calls,
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
            "cost": cost,
        }

    def runs(self) -> list[RunRecord]:
        """Return all runs, the first one first."""
        rows = self._db.execute(
            "SELECT run, started, ended, cause, reason, host, pid, counts FROM runs ORDER BY run"
        )
        return [
            RunRecord(
                number=number,
                started=started,
                ended=ended,
                cause=cause,
                reason=reason,
                host=host,
                pid=pid,
                counts=json.loads(counts) if counts else self._last_sample(number),
            )
            for number, started, ended, cause, reason, host, pid, counts in rows.fetchall()
        ]

    def _last_sample(self, run: int) -> dict[str, Any]:
        row = self._db.execute(
            "SELECT data FROM samples WHERE run = ? ORDER BY at DESC LIMIT 1", (run,)
        ).fetchone()
        return {} if row is None else json.loads(row[0])

    def survey(self) -> Survey:
        """Return what reads the journal as a whole, for a report."""
        return Survey(self._db)

    def driver(self) -> tuple[str, int] | None:
        """Return host and process id of the process that writes it now, if one does."""
        driver, now = find_driver(self._db), time.time()
        if driver is None or not is_alive(driver, this_process(now), now):
            return None
        return driver.host, driver.pid

    def rows(self) -> Iterator[StoredRow]:
        """Yield every finished item, in the order in which they were first finished."""
        last = 0
        while found := stored_rows(self._db, last):
            yield from found
            last = found[-1].item

    def refused(self) -> list[bytes]:
        """Return the rows of lines that were never sent, as JSON."""
        return refused_rows(self._db)

    def item(self, item_id: str) -> StoredRow | None:
        """Find a finished item by its own id, or by the number that stood in for it."""
        row = self._db.execute(
            "SELECT item FROM items WHERE key = ? LIMIT 1", (f"={item_id}",)
        ).fetchone()
        if row is not None:
            found = stored_rows(self._db, row[0] - 1)
            return found[0]
        return next((one for one in self.rows() if one.result.item_id == item_id), None)

    def calls(self, key: tuple[str, str]) -> list[StoredCall]:
        """Return the calls of an item that did not lead to its answer, or are under way."""
        rows = self._db.execute(
            "SELECT attempt, started, ended, category, error FROM calls "
            "WHERE source = ? AND key = ? ORDER BY call",
            key,
        )
        return [
            StoredCall(attempt=a, started=s, ended=e, category=c, error=x)
            for a, s, e, c, x in rows.fetchall()
        ]


@contextmanager
def open_reader(path: Path) -> Generator[JournalReader]:
    """Open a journal for reading.

    Raises:
        JournalError: It is not there, or no journal, or cannot be read.
    """
    if not path.is_file():
        msg = f"there is no journal {path}; give the output of a run, or its journal"
        raise JournalError(msg, problem="missing", path=str(path))
    address = path.resolve().as_uri()
    # Without its log nothing writes it, and a folder that is read-only has no room for one.
    alone = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    try:
        with closing(sqlite3.connect(f"{address}?mode=ro{alone}", uri=True)) as db:
            check_format(db, str(path))
            yield JournalReader(path, db)
    except (sqlite3.Error, UnicodeDecodeError, json.JSONDecodeError, zlib.error) as error:
        raise journal_error(error, str(path)) from error
