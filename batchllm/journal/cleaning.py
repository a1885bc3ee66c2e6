"""Giving back the disk that a journal takes and does not need."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from attrs import frozen

from batchllm.core import JournalError
from batchllm.journal.connections import Connect, begin, configure, connect, size_of_pages
from batchllm.journal.disks import is_network_disk, size_on_disk
from batchllm.journal.driving import Driving, check_undriven
from batchllm.journal.faults import journal_error
from batchllm.journal.owner import this_process
from batchllm.journal.schema import check_format, is_empty, migrate

__all__ = ["Cleaned", "check_idle", "clean"]

_LOCK_PATIENCE: Final = 5.0
"""Seconds for another program's lock: who cleans up by hand would rather be asked to try again."""

# The call of an earlier run for a result that a later run has replaced. What never ended stays,
# since it may be billed, and so do the calls of the run that gave the present result.
_SUPERSEDED: Final = """
FROM calls WHERE ended IS NOT NULL AND EXISTS (
    SELECT 1 FROM items WHERE items.source = calls.source AND items.key = calls.key
    AND items.run > calls.run
)
"""
_UNUSED: Final = "FROM strategies WHERE strategy NOT IN (SELECT strategy FROM items)"


@frozen(kw_only=True)
class Cleaned:
    """The disk that was set free, or would be.

    Attributes:
        before: Bytes on the disk before, the log included.
        after: The same afterwards; an estimate if nothing was done.
        calls: Calls whose results were replaced by those of later runs.
        strategies: Strategies of which no result is left.
    """

    before: int
    after: int
    calls: int
    strategies: int

    @property
    def freed(self) -> int:
        """Return the bytes that were given back."""
        return max(0, self.before - self.after)


def check_idle(path: Path) -> None:
    """Pass if a file is a journal that no process writes; it is only read.

    Raises:
        JournalError: A process drives it; or it is no journal, or cannot be read.
    """
    try:
        with closing(connect(path)) as db:
            if is_empty(db):
                return
            check_format(db, str(path))
            now = time.time()
            check_undriven(db, path, this_process(now), now)
    except sqlite3.Error as error:
        raise journal_error(error, str(path)) from error


def clean(
    path: Path,
    *,
    dry_run: bool = False,
    connect: Connect = connect,
    wall_clock: Callable[[], float] = time.time,
) -> Cleaned:
    """Drop what later results have replaced, and give the disk back what the file does not use.

    Every result stays, and every call that may be billed. The file is written anew by SQLite, which
    takes as much room again while it lasts; if that is not there, the file stays as it was.

    Args:
        path: The journal.
        dry_run: Whether to say only what would be freed.
        connect: Opens the database.
        wall_clock: Seconds since 1970.

    Raises:
        JournalError: It is not there, or no journal; a process drives it; or it cannot be written.
    """
    if not path.is_file():
        msg = f"there is no journal {path}; give the output of a run, or its journal"
        raise JournalError(msg, problem="missing", path=str(path))
    before = size_on_disk(path)
    try:
        with closing(connect(path)) as db:
            network = is_network_disk(path)
            if network:
                db.execute("PRAGMA locking_mode = EXCLUSIVE")
            check_format(db, str(path))
            counts = _count(db)
            if dry_run:
                now = wall_clock()
                check_undriven(db, path, this_process(now), now)
                return Cleaned(before=before, after=size_of_pages(db, free=False), **counts)
            _rewrite(db, path, wall_clock(), network=network)
    except sqlite3.Error as error:
        raise journal_error(error, str(path)) from error
    return Cleaned(before=before, after=size_on_disk(path), **counts)


def _count(db: sqlite3.Connection) -> dict[str, int]:
    return {
        "calls": db.execute(f"SELECT count(*) {_SUPERSEDED}").fetchone()[0],
        "strategies": db.execute(f"SELECT count(*) {_UNUSED}").fetchone()[0],
    }


def _rewrite(db: sqlite3.Connection, path: Path, now: float, *, network: bool) -> None:
    # As its driver throughout, so that no run begins between the steps.
    begin(db, patience=_LOCK_PATIENCE, on_wait=lambda: None)
    driving = Driving.take(db, path, now)
    migrate(db)
    db.execute(f"DELETE {_SUPERSEDED}")
    db.execute(f"DELETE {_UNUSED}")
    db.execute("COMMIT")
    try:
        # Whatever ends it, the file is the old one or the new one: its pages go through the log.
        configure(db, flushes=True, network=network, wipes=False)
        db.execute("VACUUM")
    finally:
        driving.release(db)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
