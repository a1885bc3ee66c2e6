"""The end of a run in words: how it went, where the answers are, how to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from batchllm.cli.exits import ExitCode
from batchllm.cli.tallies import Tallies
from batchllm.core import BatchResult, Category, Tally, facts_of

__all__ = ["Ending", "exit_code", "hints"]


@frozen(kw_only=True)
class Ending:
    """The end of a run.

    Attributes:
        result: Its sums.
        tallies: What was counted of its rows.
        output: Where the rows went.
        limited_by: What held it back for most of its time.
        keys: The environment variables from which keys were read.
        problem: What broke the run itself.
        lost: Results that have no row, since the output broke.
    """

    result: BatchResult[Any, Any]
    tallies: Tallies
    output: str
    limited_by: str | None = None
    keys: Sequence[str] = ()
    problem: str | None = None
    lost: Tally = field(factory=Tally)

    def describe(self) -> str:
        """Return it as a block of text."""
        # Waits of hundreds of lines at once add up to hours that no one call waited.
        stats: Mapping[str, Any] = {**self.result.stats, "limited_by": self.limited_by, "waits": {}}
        facts = []
        for name, text in facts_of(evolve(self.result, stats=stats)):
            if text == "unknown":
                continue  # of a simulator's cost, or without any call, it would look like a fault
            facts.append((name, text))
            if name == "Items":
                facts.append(("Rows", f"{self.tallies.done:,} written to {self.output}"))
        width = max(len(name) for name, _ in facts)
        parts = ["\n".join(f"{name:<{width}}  {text}" for name, text in facts)]
        failures = [*self.tallies.failures(), *hints(self.tallies, self.keys)]
        if failures:
            parts.append("\n".join(["Failures", *(f"  {line}" for line in failures)]))
        if self.lost.total:
            parts.append(self._what_is_lost())
        elif not self.result.termination.complete:
            parts.append(self._how_to_go_on())
        return "\n\n".join(parts)

    def _what_is_lost(self) -> str:
        """Say what an output that broke lacks: the items above are results, and not rows."""
        lost = self.lost
        return (
            f"{lost.total:,} results have no row, {lost.succeeded:,} answers among them, nor have "
            f"the lines that were not read; every row of {self.output} is whole. Run these lines "
            "again once it can be written."
        )

    def _how_to_go_on(self) -> str:
        """Say where the lines are that got no answer because the run ended before."""
        count = self.tallies.not_run
        if not count:
            return "Run the rest again: lines that were not read have no row."
        lines = "1 line was" if count == 1 else f"{count:,} lines were"
        return (
            f"Run the rest again: {lines} read and not run; these have no row, nor have those that "
            "were not read."
        )


def hints(tallies: Tallies, keys: Sequence[str]) -> list[str]:
    """Return what may be the reason of failures.

    Args:
        tallies: The failures.
        keys: The environment variables from which keys were read.
    """
    if Category.AUTHENTICATION not in tallies.categories or not keys:
        return []
    return [f"the key was read from {' and '.join(keys)}; look whether it is the right one"]


def exit_code(ended: BatchResult[Any, Any], *, interrupted: bool, broken: bool) -> ExitCode:
    """Return the exit code for the end of a run."""
    if broken:
        return ExitCode.STOPPED
    if not ended.termination.complete:
        return ExitCode.INTERRUPTED if interrupted else ExitCode.STOPPED
    return ExitCode.OK if ended.succeeded == ended.total_items else ExitCode.SOME_FAILED
