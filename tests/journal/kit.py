"""Parts that tests of the journal share: entries, results, and connections that fail on purpose."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from attrs import define, field

from batchllm.core import LLMCallStrategy, WorkItemResult
from batchllm.journal import (
    Entry,
    Journal,
    JournalWriter,
    Store,
    open_inline_worker,
    open_journal,
)
from batchllm.journal.connections import connect


class Named(LLMCallStrategy[str]):
    """A strategy that is told apart by one field."""

    def __init__(self, temperature: float = 0.0) -> None:
        self.temperature = temperature

    async def execute(self, prompt: Any, attempt: int, timeout: float, *args: Any) -> Any:
        return prompt, None


def ok(item_id: str, output: Any = "an answer", **more: Any) -> WorkItemResult[Any, Any]:
    """A result with an answer."""
    more.setdefault("token_usage", {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8})
    return WorkItemResult(item_id, True, output, attempts=1, **more)


def failure(item_id: str) -> WorkItemResult[Any, Any]:
    """A result without one."""
    return WorkItemResult(
        item_id, False, error="no", exception=ValueError("no"), error_category="unknown", attempts=3
    )


@define(eq=False)
class Faults:
    """Counts the statements of a connection and fails the n-th that counts.

    Attributes:
        at: Which one fails, from 1; 0 fails none.
        name: The error that SQLite would report.
        counts: Which statements count.
        seen: How many have.
    """

    at: int = 0
    name: str = "SQLITE_FULL"
    counts: Callable[[str], bool] = lambda statement: True
    seen: int = field(default=0, init=False)

    def look(self, statement: str) -> None:
        if self.counts(statement):
            self.seen += 1
            if self.seen == self.at:
                error = sqlite3.OperationalError(f"made up: {self.name}")
                error.sqlite_errorname = self.name
                raise error

    def connect(self, path: Path) -> sqlite3.Connection:
        """Open *path* through a connection that fails on purpose."""
        faults = self

        class Failing(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                faults.look(sql)
                return super().execute(sql, *args)

            def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
                faults.look(sql)
                return super().executemany(sql, *args)

        return sqlite3.connect(
            f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None, factory=Failing
        )


@asynccontextmanager
async def opened(
    path: Path, strategy: LLMCallStrategy[Any] | None = None, **more: Any
) -> AsyncGenerator[JournalWriter]:
    """A journal in virtual time; arguments of ``Journal`` and ``open_journal`` alike."""
    mine = {name: more.pop(name) for name in list(more) if hasattr(Journal("x"), name)}
    open_it = more.pop("connect", connect)
    more.setdefault("on_wait", lambda text: None)
    mine.setdefault("worker", open_inline_worker)
    chosen = Named() if strategy is None else strategy
    async with open_journal(
        Journal(path, **mine),
        chosen,
        store=lambda settings: Store(
            settings.path, settings.durability, open_it, wipes=not settings.journal_prompts
        ),
        **more,
    ) as journal:
        yield journal


def enter(journal: JournalWriter, name: str, prompt: Any = None) -> Entry:
    """Enter an item with an id; its prompt follows from it."""
    return journal.registrar.enter(name, prompt or f"prompt of {name}", 0)


def saved(path: Path) -> set[str]:
    """The prompts that have a result on the disk, as another process sees it."""
    with closing(sqlite3.connect(path)) as db:
        if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return set()
        rows = db.execute("SELECT payload FROM items").fetchall()
    return {json.loads(row[0])["prompt"] for row in rows}
