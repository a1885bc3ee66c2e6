"""Samples of a run over time, for its journal: its progress, and what it learned of quotas."""

from __future__ import annotations

import json
import math
from typing import Final

import anyio
from attrs import define

from batchllm.core import Tally
from batchllm.engine.gates import Gates
from batchllm.engine.stats import Stats
from batchllm.journal import JournalWriter

__all__ = ["Samples"]

_SECONDS: Final = 0.25
"""Seconds between the first samples, so that a run of some seconds has a course to be shown."""
_PER_PACE: Final = 128
"""After so many samples the time between two is doubled: a day's run takes some 1,500 of them."""


@define(eq=False)
class Samples:
    """Takes the samples of one run.

    Args:
        journal: Gets them.
        tally: The run's sums.
        stats: Its numbers.
        gates: What is known of its quotas.
    """

    journal: JournalWriter
    tally: Tally
    stats: Stats
    gates: Gates

    async def run(self) -> None:
        """Take samples, ever more rarely, until it is cancelled."""
        seconds, taken = _SECONDS, 0
        while True:
            await anyio.sleep(seconds)
            self.take()
            taken += 1
            if taken % _PER_PACE == 0:
                seconds *= 2

    def take(self) -> None:
        """Take one sample; it goes with the next group."""
        self.journal.note_sample(self.counts())
        for scope, learned in self.gates.learned().items():
            if math.isfinite(learned.rate):
                self.journal.note_quota(scope, learned.rate, learned.age)

    def counts(self) -> str:
        """Return the run's sums and numbers, as JSON."""
        tally = self.tally
        return json.dumps(
            {
                "total": tally.total,
                "succeeded": tally.succeeded,
                "failed": tally.failed,
                "not_run": tally.not_run,
                "before": tally.before,
                "tokens": dict(tally.usage),
                "cost": tally.cost,
                **self.stats.brief(),
            }
        )
