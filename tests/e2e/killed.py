"""The command line in a process that ends itself by SIGKILL at a named point.

    python -m tests.e2e.killed POINT NUMBER run prompts.jsonl …

NUMBER is which passing of the point kills, from 1. The points lie where state changes hands: round
each statement of a transaction, in the middle of a row, and round the replacement of the output.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from typing import Any

import batchllm.cli.view
from batchllm.cli import main

POINTS = (
    "begin",
    "insert",
    "commit",
    "committed",
    "row",
    "half a row",
    "whole row",
    "replace",
    "replaced",
    "opened",
)


class Fuse:
    """Counts the passings of one point."""

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


def lay(fuse: Fuse) -> None:
    """Put the fuse at every point."""

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


if __name__ == "__main__":
    lay(Fuse(sys.argv[1], int(sys.argv[2])))
    sys.exit(main(sys.argv[3:]))
