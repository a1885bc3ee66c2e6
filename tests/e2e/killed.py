"""The command line in processes that end themselves by SIGKILL at a named point.

    python -m tests.e2e.killed

It reads lines of JSON, and forks a process for each command, so that none has to import everything
anew: that takes longer than the run that is killed. The points lie where state changes hands: round
each statement of a transaction, in the middle of a row, and round the replacement of the output.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import anyio._backends._asyncio
import anyio._backends._trio  # noqa: F401

import batchllm.api.batch_mode
import batchllm.cli.app
import batchllm.cli.commands
import batchllm.cli.job
import batchllm.cli.start
import batchllm.cli.view
import batchllm.providers.openai
import batchllm.simulator.batches
import batchllm.simulator.server
from batchllm.cli import main
from batchllm.provider_batch import polling

for _name in ("genai_prices.data_snapshot", "httpx2"):  # which runs of batch mode import
    with suppress(ImportError):
        import_module(_name)

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


def keep_to_the_calendar() -> None:
    """Poll batches a hundred times as often, since their simulator's calendar is as much faster.

    What is not where it is looked for is an error here, and no wait of ten seconds a run.
    """
    polling._FIRST /= 100
    polling._QUICK /= 100
    within = polling.within
    polling.within = lambda hint: within(hint) / 100


def run(words: list[str], point: str | None, number: int, notes: str) -> None:
    """Be the program, in a process of its own that does not return."""
    code = 70
    try:
        for descriptor, name in ((0, os.devnull), (1, os.devnull), (2, notes)):
            opened = os.open(name, os.O_RDWR | os.O_CREAT)
            os.dup2(opened, descriptor)
        sys.argv = ["batchllm", *words]
        keep_to_the_calendar()
        if point is not None:
            lay(Fuse(point, number))
        code = main(words)
        sys.stderr.flush()
    finally:
        os._exit(code)  # and run nothing of the process it was forked from


def serve() -> None:
    """Fork for each command; answer with the process's number, or with how it ended."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            answer = os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])
        elif (answer := os.fork()) == 0:
            run(**asked)
        print(answer, flush=True)


if __name__ == "__main__":
    serve()
