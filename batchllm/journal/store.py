"""One journal file, open for writing: one connection, used by one thread at a time.

Everything here is synchronous; ``writer.py`` calls it from a thread of its own.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from attrs import define, field, frozen

from batchllm.core import JournalError
from batchllm.journal.disks import create_private, is_network_disk
from batchllm.journal.entries import Identity
from batchllm.journal.faults import is_busy, journal_error
from batchllm.journal.groups import Group
from batchllm.journal.identity import ItemKey
from batchllm.journal.ledger import Known
from batchllm.journal.owner import Driver, holder_in_words, is_alive, this_process
from batchllm.journal.schema import check_format, create_tables, is_empty
from batchllm.journal.settings import Durability
from batchllm.journal.tables import (
    Finished,
    find_driver,
    find_finished,
    find_known,
    set_fact,
    write_group,
)

__all__ = ["Changed", "Connect", "Opened", "Store", "connect"]

T = TypeVar("T")

_BUSY_SECONDS: Final = 5.0
"""Seconds that SQLite itself waits for a lock; after the first of these waits a warning is due."""
_LOCK_PATIENCE: Final = 60.0
"""Seconds for which another program's lock is waited for: a backup of a large file takes some."""
_SALT_BYTES: Final = 16
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


@frozen(kw_only=True)
class Opened:
    """The contents of a journal when it was opened.

    Attributes:
        run: The number of this run in it.
        salt: The key of its digests.
        finished: How many items have a result.
        maybe_billed: Items with calls that began and never ended.
        volatile: Fields of strategies that runs have changed.
        quotas: Scope, calls per second and age in seconds of what was learned.
        next_call: The next number of a call.
        network: Whether it lies on a disk in the network.
    """

    run: int
    salt: bytes
    finished: int
    maybe_billed: frozenset[ItemKey]
    volatile: frozenset[str]
    quotas: dict[str, tuple[float, float]]
    next_call: int
    network: bool


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
        lock_patience: Seconds for which a lock of another program is waited for.
    """

    path: Path
    durability: Durability = "full"
    connect: Connect = connect
    wall_clock: Callable[[], float] = time.time
    on_wait: Callable[[str], None] = lambda text: None
    is_network: Callable[[Path], bool] = is_network_disk
    lock_patience: float = _LOCK_PATIENCE
    _connection: sqlite3.Connection | None = field(default=None, init=False)
    _driver: Driver | None = field(default=None, init=False)
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
        except (sqlite3.Error, OSError) as error:
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
        self._become_driver()
        opened = self._register(version, config, inputs, network=network)
        db.execute("COMMIT")
        self._configure(network=network)
        return opened

    def _configure(self, *, network: bool) -> None:
        db = self._db
        if not network:
            db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if self.durability == 'full' else 'NORMAL'}")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
        if sys.platform == "darwin" and self.durability == "full":
            # There fsync leaves the data in the disk's own memory.
            db.execute("PRAGMA fullfsync = ON")
            db.execute("PRAGMA checkpoint_fullfsync = ON")

    def _become_driver(self) -> None:
        now = self.wall_clock()
        here = this_process(now)
        other = find_driver(self._db)
        if other is not None and is_alive(other, here, now):
            msg = f"the journal {self.path} is in use: {holder_in_words(other, here, now)}"
            raise JournalError(msg, problem="in_use", path=str(self.path))
        self._db.execute(
            "INSERT OR REPLACE INTO driver (one, token, host, boot, pid, born, beat) "
            "VALUES (1, ?, ?, ?, ?, ?, ?)",
            (here.token, here.host, here.boot, here.pid, here.born, here.beat),
        )
        self._driver = here

    def _register(
        self, version: str, config: str | None, inputs: str | None, *, network: bool
    ) -> Opened:
        db, now = self._db, self.wall_clock()
        assert self._driver is not None
        self._run = int(
            db.execute(
                "INSERT INTO runs (started, host, pid, version, config, inputs) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (now, self._driver.host, self._driver.pid, version, config, inputs),
            ).lastrowid
            or 0
        )
        self._numbers.update(db.execute("SELECT digest, strategy FROM strategies").fetchall())
        open_calls = db.execute("SELECT DISTINCT source, key FROM calls WHERE ended IS NULL")
        quotas = db.execute("SELECT scope, rate, age, at FROM quotas")
        return Opened(
            run=self._run,
            salt=_only(db, "SELECT value FROM facts WHERE name = 'salt'"),
            finished=_only(db, "SELECT count(*) FROM items"),
            maybe_billed=frozenset((source, key) for source, key in open_calls),
            volatile=frozenset(_volatile(db)),
            # A clock that was set back makes nothing younger than it was when it was written.
            quotas={scope: (rate, age + max(0.0, now - at)) for scope, rate, age, at in quotas},
            next_call=_only(db, "SELECT coalesce(max(call), 0) FROM calls") + 1,
            network=network,
        )

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
            self._check_driver()
            self._db.execute(
                "UPDATE runs SET ended = ?, cause = ?, reason = ?, counts = ? WHERE run = ?",
                (self.wall_clock(), cause, reason, counts, self._run),
            )
            self._db.execute("DELETE FROM driver")
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
            known = frozenset(_volatile(self._db)) | fields
            _forget_fields(self._db, known)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise journal_error(error, str(self.path)) from error

    def abandon(self) -> None:
        """Let go of the file after a write has failed: no further result is written to it.

        One row is still taken back, by a connection of its own: the one that says that this process
        drives it, since the same process may free some space and go on.
        """
        self._drop()
        if self._driver is None:
            return
        with suppress(sqlite3.Error, OSError):
            db = self.connect(self.path)
            try:
                db.execute("DELETE FROM driver WHERE token = ?", (self._driver.token,))
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
            self._number(group.identities)
            write_group(self._db, group, self._run, self._numbers)
            now = self.wall_clock()
            for quota in group.quotas.values():
                self._db.execute(
                    "INSERT OR REPLACE INTO quotas (scope, rate, age, at) VALUES (?, ?, ?, ?)",
                    (*quota, now),
                )
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise journal_error(error, str(self.path)) from error

    def _number(self, identities: dict[bytes, str]) -> None:
        """Enter the strategies that are new, within the transaction that is open."""
        for digest, identity in identities.items():
            if digest not in self._numbers:
                number = self._db.execute(
                    "INSERT INTO strategies (digest, identity) VALUES (?, ?)", (digest, identity)
                ).lastrowid
                self._numbers[digest] = int(number or 0)

    # Reading, by the same connection: what it has written it sees.

    def known(self, keys: Sequence[ItemKey]) -> dict[ItemKey, Known]:
        """Find what is known of several items.

        Raises:
            JournalError: It cannot be read.
        """
        digests = {number: digest for digest, number in self._numbers.items()}
        return self._read(partial(find_known, self._db, keys, digests))

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
        return self._read(partial(_find_changed, self._db, self._numbers.get(strategy, 0)))

    def with_output(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something about the output file, as the functions of ``output.py`` do.

        Raises:
            JournalError: The journal cannot be read or written.
        """
        return self._read(lambda: work(self._db))

    def _read(self, find: Callable[[], T]) -> T:
        try:
            return find()
        except sqlite3.Error as error:
            raise journal_error(error, str(self.path)) from error

    # What all of them need.

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            msg = f"the journal {self.path} is closed"
            raise JournalError(msg, problem="io", path=str(self.path))
        return self._connection

    def _begin(self) -> None:
        """Begin a transaction that writes, and wait for a lock of another program."""
        deadline = time.monotonic() + self.lock_patience
        waited = False
        while True:
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
                if not waited:
                    waited = True
                    self.on_wait(
                        f"the journal {self.path} is locked by another program; waiting for up to "
                        f"{self.lock_patience:.0f} s"
                    )
            else:
                return

    def _check_driver(self) -> None:
        """Give a sign of life, unless another process has taken this one for dead.

        Raises:
            JournalError: It has.
        """
        assert self._driver is not None
        beaten = self._db.execute(
            "UPDATE driver SET beat = ? WHERE token = ?", (self.wall_clock(), self._driver.token)
        )
        if beaten.rowcount != 1:
            self._db.execute("ROLLBACK")
            msg = (
                f"the journal {self.path} is driven by another process now, since this one gave no "
                "sign of life for a minute; let that one go on"
            )
            raise JournalError(msg, problem="in_use", path=str(self.path))

    def _drop(self) -> None:
        db, self._connection = self._connection, None
        if db is not None:
            with suppress(sqlite3.Error):
                if db.in_transaction:
                    db.execute("ROLLBACK")
            with suppress(sqlite3.Error):
                db.close()


def _find_changed(db: sqlite3.Connection, strategy: int) -> Changed | None:
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


def _volatile(db: sqlite3.Connection) -> list[str]:
    row = db.execute("SELECT value FROM facts WHERE name = 'volatile'").fetchone()
    return [] if row is None else json.loads(row[0])


def _forget_fields(db: sqlite3.Connection, fields: frozenset[str]) -> None:
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


def _only(db: sqlite3.Connection, query: str) -> Any:
    (value,) = db.execute(query).fetchone()
    return value
