"""The sums of one run over a dataset."""

from __future__ import annotations

import json
from os import PathLike
from typing import Any

import msgspec
from attrs import field, frozen

from batchllm.core import Tally, TokenUsage, as_clock, dollars
from batchllm.ray.folder import read_folder

__all__ = ["RunSummary", "last_summary"]


@frozen(kw_only=True)
class RunSummary:
    """The sums of one run over a dataset, so far or at its end.

    Attributes:
        run: The number of the run in its journal, from 1.
        complete: Whether every row has its result.
        rows: Rows with a result.
        succeeded: Those with an answer.
        failed: Those without.
        replayed: Those that the journal had, so that nothing was called for them.
        usage: Tokens of the others.
        cost: Their cost in US dollars, ``None`` if no price is known.
        seconds: Since the first worker was ready.
        workers_lost: Workers that died.
        blocks: Blocks that are finished.
        again: Attempts at blocks whose worker had died.
        leases: Leases that the workers asked for, once they have ended.
        calls: Calls that started by them.
        ended: Why the run ended before its time.
    """

    run: int
    complete: bool = False
    rows: int = 0
    succeeded: int = 0
    failed: int = 0
    replayed: int = 0
    usage: TokenUsage = field(factory=TokenUsage)
    cost: float | None = None
    seconds: float = 0.0
    workers_lost: int = 0
    blocks: int = 0
    again: int = 0
    leases: int = 0
    calls: int = 0
    ended: str | None = None

    @classmethod
    def of(cls, tally: Tally, **others: Any) -> RunSummary:
        """Return the summary of the results that *tally* has counted."""
        return cls(
            rows=tally.total,
            succeeded=tally.succeeded,
            failed=tally.total - tally.succeeded,
            replayed=tally.before,
            usage=tally.usage,
            cost=tally.cost,
            **others,
        )

    def __str__(self) -> str:
        parts = [f"{self.rows:,} rows: {self.succeeded:,} answered, {self.failed:,} failed"]
        if self.replayed:
            parts.append(f"{self.replayed:,} of them by earlier runs")
        if self.cost is not None:
            parts.append(dollars(self.cost))
        if self.workers_lost:
            parts.append(f"{self.workers_lost:,} workers lost")
        parts.append(as_clock(self.seconds))
        return ", ".join(parts)

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(msgspec.to_builtins(self), indent=1)


def last_summary(journal: str | PathLike[str]) -> RunSummary:
    """Return the sums of the last run that has ended.

    Args:
        journal: The folder that was given to ``run_dataset``.

    Raises:
        JournalError: There is no such journal.
        LookupError: No run has ended yet.
    """
    for fields in read_folder(journal, make=False).summaries():
        return msgspec.convert(fields, RunSummary)
    msg = f"no run of the journal {journal} has ended yet"
    raise LookupError(msg)
