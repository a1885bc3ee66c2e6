"""Points at which a process of the command line ends itself by SIGKILL.

They lie where state changes hands: round each statement of a transaction, in the middle of a row,
and round the replacement of the output.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from typing import Any

import batchllm.cli.view
from batchllm.provider_batch import polling

POINTS = (
    "opened",
    "begin",
    "insert",
    "commit",
    "committed",
    "row",
    "half a row",
    "whole row",
    "replace",
    "replaced",
)


class Fuse:
    """Counts the passings of one point, and ends the process at one of them, from 1."""

    def __init__(self, point: str, number: int) -> None:
        self.point = point
        self.left = number

    def is_due(self, point: str) -> bool:
        if point != self.point:
            return False
        self.left -= 1
        return self.left == 0

    def passes(self, point: str) -> None:
        if self.is_due(point):
            os.kill(os.getpid(), signal.SIGKILL)


def lay(point: str, number: int) -> None:
    """Put a fuse at every point, to end the process at passing *number* of *point*."""
    fuse = Fuse(point, number)

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            word = sql.split()[0].lower()
            fuse.passes(word)
            cursor = super().execute(sql, *args)
            if word == "commit":
                fuse.passes("committed")
            return cursor

        def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
            fuse.passes(sql.split()[0].lower())
            return super().executemany(sql, *args)

    connect, replace = sqlite3.connect, os.replace
    output = batchllm.cli.view.JournaledOutput
    append = output._append

    def append_with_fuse(self: Any, row: dict[str, Any]) -> None:
        fuse.passes("row")
        if fuse.is_due("half a row"):
            data = self._encode(row)
            self._file.write(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        append(self, row)
        fuse.passes("whole row")

    def connect_with_fuse(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, factory=Connection, **options)
        fuse.passes("opened")
        return connection

    def replace_with_fuse(*args: Any) -> None:
        fuse.passes("replace")
        replace(*args)
        fuse.passes("replaced")

    output._append = append_with_fuse  # type: ignore[method-assign]
    sqlite3.connect = connect_with_fuse  # type: ignore[assignment]
    os.replace = replace_with_fuse  # type: ignore[assignment]


def keep_to_the_calendar() -> None:
    """Poll batches a hundred times as often, since their simulator's calendar is as much faster.

    What is not where it is looked for is an error here, and no wait of ten seconds a run.
    """
    polling._FIRST /= 100
    polling._QUICK /= 100
    within = polling.within
    polling.within = lambda hint: within(hint) / 100
