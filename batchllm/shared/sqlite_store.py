"""The book of a shared quota in an SQLite file, for any processes of one machine.

A lease is one transaction: read the book, book the slots, write it back. SQLite's lock puts the
processes in a row, and a process that dies in between has booked nothing.

It takes less time than handing it to a thread would, so that it is done on the event loop, unless
another process or thread holds a lock, or the disk is to be waited for.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import anyio
from anyio.lowlevel import checkpoint
from attrs import define, field

from batchllm.core import ConfigError
from batchllm.journal import create_private, is_network_disk
from batchllm.policy import Lease, LeaseBook, LeaseRequest
from batchllm.shared.stores import GateUnreachableError, boot_clock
from batchllm.transport import SharedLock, ThreadLimits, run_in_thread

__all__ = ["SqliteLeases"]

_FORMAT: Final = 3
_BUSY: Final = 2.0
"""Seconds to wait for the lock; a lease holds it for about 0.2 ms."""
_FLUSHED_EVERY: Final = 200
"""Leases after which the log is written into the file, by a thread: only that, and the first lease
that begins the log anew, wait for the disk. The log of four processes has some 10 MB by then."""
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_WAIT: Final = f"PRAGMA busy_timeout = {round(1_000 * _BUSY)}"
_NO_WAIT: Final = "PRAGMA busy_timeout = 0"
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS gates (
    scope TEXT PRIMARY KEY, format INTEGER NOT NULL, boot TEXT NOT NULL,
    clock REAL NOT NULL, wall REAL NOT NULL, book BLOB NOT NULL
) STRICT
"""
_WRITE: Final = "INSERT OR REPLACE INTO gates VALUES (?, ?, ?, ?, ?, ?)"
_READ: Final = "SELECT format, boot, clock, wall, book FROM gates WHERE scope = ?"


@define(eq=False)
class SqliteLeases:
    """Keeps the books of shared quotas in a file that only its owner can read.

    Args:
        path: Of the file; it is made if it is not there. Its disk must be the machine's own.

    Raises:
        ConfigError: *path* lies on a disk in the network.
    """

    path: Path = field(converter=Path)
    _clock: Callable[[], float] = field(default=boot_clock, kw_only=True, alias="clock")
    _boot: str = field(default="", kw_only=True, alias="boot")
    _connection: sqlite3.Connection | None = field(default=None, init=False)
    _lock: SharedLock = field(factory=SharedLock, init=False)
    """For one transaction at a time on one connection, whichever loops and threads use it."""
    _threads: ThreadLimits = field(factory=lambda: ThreadLimits(1), init=False)
    _since_flush: int = field(default=0, init=False)
    _waits: bool = field(default=True, init=False)
    """If the connection waits for the lock."""

    def __attrs_post_init__(self) -> None:
        self._boot = self._boot or _boot_id()
        if is_network_disk(self.path.absolute().parent):
            msg = (
                f"the shared gate {self.path} lies on a disk in the network, where locks between "
                "machines do not hold; give a path on a disk of this machine, or share by "
                "batchllm serve-gate"
            )
            raise ConfigError(msg)

    async def lease(self, request: LeaseRequest) -> Lease:
        """Book slots for the calls of one worker; see ``LeaseStore``."""
        await checkpoint()
        if self._lock.claim():  # else another loop is at it, or a thread, which may wait
            try:
                lease = self._lease_now(request)
            finally:
                self._lock.release()
            if lease is not None:
                return lease
        async with self._threads.of_this_loop():
            return cast("Lease", await _in_thread(partial(self._lease_in_thread, request)))

    async def aclose(self) -> None:
        """Close the file; the next lease opens it again."""
        if self._connection is not None:
            await _in_thread(self._close)

    def _close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _lease_now(self, request: LeaseRequest) -> Lease | None:
        """Book slots; ``None`` if that would have to wait."""
        if self._connection is None or self._since_flush >= _FLUSHED_EVERY:
            return None
        return self._lease(request, wait=False)

    def _lease_in_thread(self, request: LeaseRequest) -> Lease:
        with self._lock:
            if self._since_flush >= _FLUSHED_EVERY and self._connection is not None:
                self._since_flush = 0
                with suppress(sqlite3.Error):  # what another process does is done next time
                    self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            lease = self._lease(request, wait=True)
        assert lease is not None
        return lease

    def _lease(self, request: LeaseRequest, *, wait: bool) -> Lease | None:
        """Book slots; ``None`` if the lock is held, and is not to be waited for."""
        try:
            connection = self._connection or self._open()
            if wait != self._waits:
                connection.execute(_WAIT if wait else _NO_WAIT)
                self._waits = wait
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                # The last byte, since another process may also be putting the log right.
                if wait or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                return None
            try:
                # Only now: the clock of a book never goes back.
                lease = self._book(connection, request)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
        except (sqlite3.Error, OSError) as error:
            msg = f"the shared gate {self.path} cannot be used: {error}"
            raise GateUnreachableError(msg) from error
        self._since_flush += 1
        return lease

    def _book(self, connection: sqlite3.Connection, request: LeaseRequest) -> Lease:
        now, wall = self._clock(), time.time()
        row = connection.execute(_READ, (request.scope,)).fetchone()
        book = LeaseBook() if row is None else self._load(row, now, wall)
        lease = book.lease(now, request)
        plain = book.pack()
        connection.execute(_WRITE, (request.scope, _FORMAT, self._boot, now, wall, plain))
        return lease

    def _load(self, row: Any, now: float, wall: float) -> LeaseBook:
        form, boot, clock, written, plain = row
        if form != _FORMAT:
            msg = (
                f"the shared gate {self.path} was written by another version of batchllm; end the "
                "runs that use it, and remove the file"
            )
            raise ConfigError(msg)
        # After a restart of the machine its clock begins anew; what was sent stays counted.
        shift = None if boot == self._boot else (now - wall) - (clock - written)
        return LeaseBook.unpack(plain, shift=shift)

    def _open(self) -> sqlite3.Connection:
        create_private(self.path)
        connection = sqlite3.connect(
            self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False
        )
        # After a loss of power the last leases are of no use to anyone, so nothing is flushed
        # for each of them; the log keeps the file whole.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(_TABLE)
        self._connection, self._waits = connection, True
        return connection


async def _in_thread(function: Callable[[], Any]) -> Any:
    # Not abandoned if the caller is cancelled: a transaction takes a moment, two seconds at most,
    # and its connection may be closed next.
    with anyio.CancelScope(shield=True):
        return await run_in_thread(function, limiter=anyio.CapacityLimiter(1))


def _boot_id() -> str:
    """Return what names the time since the machine was started."""
    with suppress(OSError):
        return _BOOT_ID.read_text("ascii").strip()
    # To the minute: a clock that is put right makes a row look like one of an earlier start, which
    # changes nothing but that workers are counted anew.
    return f"started at minute {round((time.time() - boot_clock()) / 60)}"
