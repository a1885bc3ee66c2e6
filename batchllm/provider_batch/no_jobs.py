"""The check that a run online makes: its journal has no batches that are still under way."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batchllm.core import ConfigError, counted
from batchllm.journal import Journal, JournalWriter

if TYPE_CHECKING:
    from batchllm.provider_batch.states import Chunk

__all__ = ["check_no_jobs", "open_to_read"]


async def check_no_jobs(journal: Journal | JournalWriter) -> None:
    """Pass if a journal has no batches whose answers are still to come, or to be published.

    Raises:
        ConfigError: It has some: online their requests would be paid for twice.
    """
    if isinstance(journal, JournalWriter):
        # By its own connection, since on a network disk it is the only one that may read.
        path = journal.settings.path
        left = await journal.worker.call(partial(journal.store.with_output, _left))
    else:
        path = journal.path
        if not path.is_file():
            return
        try:
            with closing(open_to_read(path)) as db:
                left = _left(db)
        except (sqlite3.Error, ValueError):
            return  # what is wrong with it is said by the journal itself
    if left:
        requests = counted(sum(one.lines for one in left), "request")
        msg = (
            f"the journal {path} has {requests} in batches of {left[0].provider} whose answers "
            "have not been taken: give mode='batch' to go on with them, or let them go by "
            "`batchllm jobs RUN cancel` and one more run in that mode"
        )
        raise ConfigError(msg)


def open_to_read(journal: Path) -> sqlite3.Connection:
    """Open a journal beside the run that may be writing it."""
    return sqlite3.connect(f"{journal.resolve().as_uri()}?mode=ro", uri=True)


def _left(db: sqlite3.Connection) -> list[Chunk]:
    query = "SELECT count(*) FROM sqlite_schema WHERE name = 'pb_chunk'"
    if not db.execute(query).fetchone()[0]:
        return []
    # Imported here: few journals have a ledger, and what reads it is a tenth of what a run loads.
    from batchllm.provider_batch.ledger import read_chunks
    from batchllm.provider_batch.states import State

    chunks = read_chunks(db)
    return [one for one in chunks if one.state not in (State.CLEANED, State.DROPPED)]
