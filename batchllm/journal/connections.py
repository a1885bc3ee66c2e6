"""Connections to a journal's file: how they are opened, set up, and wait for a lock."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from batchllm.journal.faults import is_busy

__all__ = ["Connect", "begin", "configure", "connect", "size_of_pages"]

_BUSY_SECONDS: Final = 5.0
"""Seconds that SQLite itself waits for a lock; after the first of these waits a warning is due."""
_LOG_LIMIT: Final = 64 * 1024 * 1024


class Connect(Protocol):
    """Opens a database; tests give one that fails on purpose."""

    def __call__(self, path: Path) -> sqlite3.Connection:
        """Open the file at *path*, which exists."""
        ...


def connect(path: Path) -> sqlite3.Connection:
    """Open a database in autocommit mode: transactions are begun by their owner."""
    # As a URI, since a file that has gone meanwhile must not be made anew with a mode of its own.
    address = f"{path.resolve().as_uri()}?mode=rw"
    return sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)


def configure(db: sqlite3.Connection, *, flushes: bool, network: bool, wipes: bool) -> None:
    """Set up a connection that writes.

    Args:
        db: The connection, outside of a transaction.
        flushes: Whether each commit is to be on the disk.
        network: Whether the file lies on a disk in the network.
        wipes: Whether what is replaced or deleted is overwritten.
    """
    if not network:  # whose machines share no memory, which the write-ahead log needs
        db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {'FULL' if flushes else 'NORMAL'}")
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
    if wipes:
        db.execute("PRAGMA secure_delete = ON")
    if sys.platform == "darwin" and flushes:
        # There fsync leaves the data in the disk's own memory.
        db.execute("PRAGMA fullfsync = ON")
        db.execute("PRAGMA checkpoint_fullfsync = ON")


def begin(db: sqlite3.Connection, *, patience: float, on_wait: Callable[[], None]) -> None:
    """Begin a transaction that writes, and wait for a lock of another program.

    Args:
        db: The connection.
        patience: Seconds for which it is waited for.
        on_wait: Called once, if it is waited for.

    Raises:
        sqlite3.Error: The lock did not end, or the file fails.
    """
    deadline = time.monotonic() + patience
    waited = False
    while True:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
            if not waited:
                waited = True
                on_wait()
        else:
            return


def size_of_pages(db: sqlite3.Connection, *, free: bool = True) -> int:
    """Return the bytes of a database once its log is in it.

    Args:
        db: The connection.
        free: Whether pages count that nothing is on.
    """
    pages, unused, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages if free else pages - unused) * size)
