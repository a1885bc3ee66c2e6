"""One journal file, open for writing: one connection, used by one thread at a time.

Everything here is synchronous; ``writer.py`` calls it from a thread of its own.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from attrs import define, field

from batchllm.core import JournalError
from batchllm.journal.connections import Connect, begin, configure, connect
from batchllm.journal.disks import create_private, is_network_disk
from batchllm.journal.driving import Driving
from batchllm.journal.faults import DAMAGED, journal_error
from batchllm.journal.groups import Group
from batchllm.journal.identity import ItemKey
from batchllm.journal.ledger import Known
from batchllm.journal.runs import Opened, begin_run
from batchllm.journal.schema import check_format, create_tables, is_empty, migrate
from batchllm.journal.settings import Durability
from batchllm.journal.strategies import (
    Changed,
    find_changed,
    forget_fields,
    number_strategies,
    volatile_fields,
)
from batchllm.journal.tables import (
    Finished,
    find_answered,
    find_finished,
    find_known,
    set_fact,
    write_group,
)

__all__ = ["Store"]

T = TypeVar("T")

_LOCK_PATIENCE: Final = 60.0
"""Seconds for which another program's lock is waited for: a backup of a large file takes some."""
_SALT_BYTES: Final = 16


@define(eq=False)
class Store:
    """A journal that this process drives.

    Args:
        path: The file; it is made if it is not there.
        durability: Whether each commit is flushed to the disk.
        connect: Opens the database.
        wall_clock: Seconds since 1970.
        on_wait: Called once if another program's lock makes it wait.
        is_network: Whether a path lies on a disk in the network.
        wipes: Whether what is replaced in the file is overwritten, and not only set free.
        lock_patience: Seconds for which a lock of another program is waited for.
    """

    path: Path
    durability: Durability = "full"
    connect: Connect = connect
    wall_clock: Callable[[], float] = time.time
    on_wait: Callable[[str], None] = lambda text: None
    is_network: Callable[[Path], bool] = is_network_disk
    wipes: bool = False
    lock_patience: float = _LOCK_PATIENCE
    _connection: sqlite3.Connection | None = field(default=None, init=False)
    _driving: Driving | None = field(default=None, init=False)
    _run: int = field(default=0, init=False)
    _numbers: dict[bytes, int] = field(factory=dict, init=False)

    # Opening and closing.

    def open(self, version: str, config: str | None, inputs: str | None) -> Opened:
        """Open the file, become its driver and begin a run.

        Args:
            version: Of batchllm.
            config: The settings of the run, as JSON.
            inputs: What the items come from, as JSON.

        Raises:
            JournalError: It cannot be used; the file is as it was.
        """
        try:
            self.path.parent.stat()
            create_private(self.path)
            self._connection = self.connect(self.path)
            return self._begin_run(version, config, inputs)
        except (sqlite3.Error, OSError, *DAMAGED) as error:
            self.abandon()
            raise journal_error(error, str(self.path)) from error
        except BaseException:
            self.abandon()
            raise

    def _begin_run(self, version: str, config: str | None, inputs: str | None) -> Opened:
        db, network = self._db, self.is_network(self.path)
        if network:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        empty = is_empty(db)
        if not empty:
            check_format(db, str(self.path))
        self._begin()
        if empty and is_empty(db):  # another process may have been quicker
            # In the rollback mode of a new file: so the header of the file itself says whose it is.
            create_tables(db)
            salt = secrets.token_bytes(_SALT_BYTES)
            set_fact(db, "salt", salt)
        migrate(db)
        self._driving = Driving.take(db, self.path, self.wall_clock(), network=network)
        self._numbers.update(db.execute("SELECT digest, strategy FROM strategies").fetchall())
        driver, now = self._driving.driver, self.wall_clock()
        opened = begin_run(db, driver, now, (version, config, inputs), network=network)
        self._run = opened.run
        db.execute("COMMIT")
        configure(db, flushes=self.durability == "full", network=network, wipes=self.wipes)
        return opened

    def close(self, cause: str | None = None, reason: str | None = None, counts: str = "") -> None:
        """End the run and let go of the file.

        Args:
            cause: How the run ended; ``None`` if it did not end in order.
            reason: The same in words.
            counts: Its sums, as JSON.

        Raises:
            JournalError: The end cannot be written; every result is there all the same.
        """
        if self._connection is None:
            return
        try:
            self._begin()
            driving = self._check_driver()
            self._db.execute(
                "UPDATE runs SET ended = ?, cause = ?, reason = ?, counts = ? WHERE run = ?",
                (self.wall_clock(), cause, reason, counts, self._run),
            )
            driving.release(self._db)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self.abandon()
            raise journal_error(error, str(self.path)) from error
        finally:
            self._drop()

    def note_volatile(self, fields: frozenset[str]) -> None:
        """Leave fields that the run has changed out of the identities that are kept.

        Raises:
            JournalError: That cannot be written.
        """
        try:
            self._begin()
            self._check_driver()
            known = frozenset(volatile_fields(self._db)) | fields
            forget_fields(self._db, known)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise journal_error(error, str(self.path)) from error

    def abandon(self) -> None:
        """Let go of the file after a write has failed: no further result is written to it.

        One row is still taken back, by a connection of its own: the one that says that this process
        drives it, since the same process may free some space and go on.
        """
        self._drop()
        if self._driving is None:
            return
        with suppress(sqlite3.Error, OSError):
            db = self.connect(self.path)
            try:
                self._driving.release(db)
            finally:
                db.close()

    # Writing.

    def write(self, group: Group) -> None:
        """Write a group in one transaction; it is on the disk when this returns.

        Raises:
            JournalError: It is not.
        """
        try:
            self._begin()
            self._check_driver()
            number_strategies(self._db, group.identities, self._numbers)
            write_group(self._db, group, self._run, self._numbers, self.wall_clock())
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise journal_error(error, str(self.path)) from error
        except (TypeError, ValueError, OverflowError) as error:
            # What no column can hold, such as a number of more than 64 bits. It is refused where it
            # comes in; what slips through must not leave the file locked.
            msg = f"the journal {self.path}: a value cannot be written ({error})"
            raise JournalError(msg, problem="unserialisable", path=str(self.path)) from error

    # Reading, by the same connection: what it has written it sees.

    def known(self, keys: Sequence[ItemKey]) -> dict[ItemKey, Known]:
        """Find what is known of several items.

        Raises:
            JournalError: It cannot be read.
        """
        digests = {number: digest for digest, number in self._numbers.items()}
        return self._read(partial(find_known, self._db, keys, digests))

    def answered(self, keys: Sequence[ItemKey], strategy: bytes) -> dict[str, bytes | None]:
        """Find which of several items of one source have an answer and nothing left to do.

        Args:
            keys: Of the items.
            strategy: The digest of the strategy that was to answer.

        Returns:
            The digests of their prompts, by the second part of their keys.

        Raises:
            JournalError: It cannot be read.
        """
        number = self._numbers.get(strategy, 0)
        return self._read(partial(find_answered, self._db, keys, number))

    def finished(self, keys: Sequence[ItemKey]) -> dict[ItemKey, Finished]:
        """Find the results of several items.

        Raises:
            JournalError: It cannot be read.
        """
        return self._read(partial(find_finished, self._db, keys))

    def changed(self, strategy: bytes) -> Changed | None:
        """Return what was answered under another strategy of a run; ``None`` if nothing was.

        Args:
            strategy: The digest of the run's strategy.

        Raises:
            JournalError: It cannot be read.
        """
        return self._read(partial(find_changed, self._db, self._numbers.get(strategy, 0)))

    def with_output(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something about the output file, as the functions of ``output.py`` do.

        Raises:
            JournalError: The journal cannot be read or written.
        """
        return self._read(lambda: work(self._db))

    def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something in one transaction, which is on the disk when this returns.

        It is flushed whatever the durability is, since it is for what has to be known after a loss
        of power, too: that something was bought, or that files which it replaces may go.

        Raises:
            JournalError: It is not on the disk, or another process drives the journal now.
        """
        db = self._db
        try:
            db.execute("PRAGMA synchronous = FULL")  # has no effect within a transaction
            try:
                self._begin()
                self._check_driver()
                value = work(db)
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                if self.durability != "full":
                    db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            raise journal_error(error, str(self.path)) from error
        return value

    def _read(self, find: Callable[[], T]) -> T:
        try:
            return find()
        except (sqlite3.Error, *DAMAGED) as error:
            raise journal_error(error, str(self.path)) from error

    # What all of them need.

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            msg = f"the journal {self.path} is closed"
            raise JournalError(msg, problem="io", path=str(self.path))
        return self._connection

    def _begin(self) -> None:
        begin(self._db, patience=self.lock_patience, on_wait=self._say_that_it_waits)

    def _say_that_it_waits(self) -> None:
        self.on_wait(
            f"the journal {self.path} is locked by another program; waiting for up to "
            f"{self.lock_patience:.0f} s"
        )

    def _check_driver(self) -> Driving:
        assert self._driving is not None
        self._driving.check(self._db, self.wall_clock())
        return self._driving

    def _drop(self) -> None:
        db, self._connection = self._connection, None
        if db is not None:
            with suppress(sqlite3.Error):
                if db.in_transaction:
                    db.execute("ROLLBACK")
            with suppress(sqlite3.Error):
                db.close()
