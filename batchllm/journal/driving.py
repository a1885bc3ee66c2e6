"""The row of the driver in a journal: taken by one process, checked by each of its commits."""

from __future__ import annotations

import math
import os
import sqlite3
from pathlib import Path

from attrs import define, field

from batchllm.core import JournalError
from batchllm.journal.owner import (
    BEAT_AT_MOST,
    Driver,
    holder_in_words,
    is_alive,
    this_process,
)
from batchllm.journal.tables import find_driver

__all__ = ["Driving", "check_undriven"]


def check_undriven(db: sqlite3.Connection, path: Path, here: Driver, now: float) -> None:
    """Pass if no process that lives drives the journal.

    Args:
        db: The journal's connection.
        path: Its file.
        here: This process.
        now: Seconds since 1970.

    Raises:
        JournalError: One does.
    """
    driver = find_driver(db)
    if driver is not None and is_alive(driver, here, now):
        msg = f"the journal {path} is in use: {holder_in_words(driver, here, now)}"
        raise JournalError(msg, problem="in_use", path=str(path))


@define(eq=False)
class Driving:
    """This process as the driver of one journal; made by ``take``."""

    path: Path
    driver: Driver
    _file: os.stat_result | None
    _beat: float = field(default=-math.inf, init=False)

    @classmethod
    def take(
        cls, db: sqlite3.Connection, path: Path, now: float, *, network: bool = False
    ) -> Driving:
        """Become the driver, within the transaction that is open.

        Args:
            db: The journal's connection.
            path: Its file.
            now: Seconds since 1970.
            network: Whether its disk is in the network, where files may change their numbers.

        Raises:
            JournalError: Another process drives it.
        """
        here = this_process(now)
        check_undriven(db, path, here, now)
        db.execute(
            "INSERT OR REPLACE INTO driver (one, token, host, boot, pid, born, beat) "
            "VALUES (1, ?, ?, ?, ?, ?, ?)",
            (here.token, here.host, here.boot, here.pid, here.born, here.beat),
        )
        return cls(path, here, None if network else os.stat(path))

    def check(self, db: sqlite3.Connection, now: float) -> None:
        """Give a sign of life if one is due, within the transaction that is open.

        Args:
            db: The journal's connection; the transaction is rolled back if it fails.
            now: Seconds since 1970.

        Raises:
            JournalError: Another process has taken this one for dead, or the file was deleted.
        """
        token = self.driver.token
        if 0.0 <= now - self._beat < BEAT_AT_MOST:  # not if the clock was set back
            query = "SELECT 1 FROM driver WHERE token = ?"
            found = db.execute(query, (token,)).fetchone() is not None
        else:
            self._check_place(db)
            beaten = db.execute("UPDATE driver SET beat = ? WHERE token = ?", (now, token))
            found, self._beat = beaten.rowcount == 1, now
        if not found:
            db.execute("ROLLBACK")
            msg = (
                f"the journal {self.path} is driven by another process now, since this one gave no "
                "sign of life for a minute; let that one go on"
            )
            raise JournalError(msg, problem="in_use", path=str(self.path))

    def _check_place(self, db: sqlite3.Connection) -> None:
        """Pass if the file is still there, and no other one in its place.

        SQLite goes on in a file that was deleted, and what it wrote is gone with the process. The
        other one may be that of a run that was started anew since.
        """
        if self._is_gone():
            db.execute("ROLLBACK")
            msg = (
                f"the journal {self.path} was deleted or moved while this process wrote it, and "
                "answers that have no row in an output are lost with it: keep the output under "
                "another name, and start anew"
            )
            raise JournalError(msg, problem="missing", path=str(self.path))

    def _is_gone(self) -> bool:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return True
        except OSError:
            return False  # the disk is out of reach for now; a write says more
        return self._file is not None and not os.path.samestat(found, self._file)

    def release(self, db: sqlite3.Connection) -> None:
        """Be its driver no more."""
        db.execute("DELETE FROM driver WHERE token = ?", (self.driver.token,))
