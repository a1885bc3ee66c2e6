"""The row of a run, and what a journal has when one begins."""

from __future__ import annotations

import sqlite3
from typing import Any

from attrs import frozen

from batchllm.journal.identity import ItemKey
from batchllm.journal.owner import Driver
from batchllm.journal.strategies import volatile_fields

__all__ = ["Opened", "begin_run", "earlier_inputs"]


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


def begin_run(
    db: sqlite3.Connection,
    driver: Driver,
    now: float,
    description: tuple[str, str | None, str | None],
    *,
    network: bool,
) -> Opened:
    """Enter a run, within the transaction that is open, and read what there is.

    Args:
        db: The journal's connection.
        driver: This process.
        now: Seconds since 1970.
        description: The version of batchllm, and as JSON the settings of the run and what its
            items come from.
        network: Whether the file lies on a disk in the network.
    """
    run = db.execute(
        "INSERT INTO runs (started, host, pid, version, config, inputs) VALUES (?, ?, ?, ?, ?, ?)",
        (now, driver.host, driver.pid, *description),
    ).lastrowid
    open_calls = db.execute("SELECT DISTINCT source, key FROM calls WHERE ended IS NULL")
    quotas = db.execute("SELECT scope, rate, age, at FROM quotas")
    return Opened(
        run=int(run or 0),
        salt=_only(db, "SELECT value FROM facts WHERE name = 'salt'"),
        finished=_only(db, "SELECT count(*) FROM items"),
        maybe_billed=frozenset((source, key) for source, key in open_calls),
        volatile=frozenset(volatile_fields(db)),
        # A clock that was set back makes nothing younger than it was when it was written.
        quotas={scope: (rate, age + max(0.0, now - at)) for scope, rate, age, at in quotas},
        next_call=_only(db, "SELECT coalesce(max(call), 0) FROM calls") + 1,
        network=network,
    )


def _only(db: sqlite3.Connection, query: str) -> Any:
    (value,) = db.execute(query).fetchone()
    return value


def earlier_inputs(db: sqlite3.Connection) -> str | None:
    """Return the inputs, as JSON, of the run that was the last to add an item; ``None`` if none."""
    # By the newest item and not by the newest run: that may have been refused, and have none.
    query = """
        SELECT inputs FROM runs
        WHERE run = (SELECT run FROM items ORDER BY item DESC LIMIT 1)
    """
    row = db.execute(query).fetchone()
    return None if row is None else row[0]
