"""The end of a run in words: how it went, where the answers are, how to go on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve, field, frozen

from batchllm.cli.exits import ExitCode
from batchllm.cli.tallies import Tallies
from batchllm.core import BatchResult, Category, EndCause, Tally, counted, facts_of
from batchllm.journal import JournalWriter, Reason

__all__ = [
    "Ending",
    "JournalNotes",
    "exit_code",
    "hints",
    "reason_in_options",
    "with_lines_never_read",
]


_AGAIN: Final[Mapping[EndCause, str]] = MappingProxyType(
    {
        EndCause.BUDGET: ", and may spend as much again; another --max-cost or "
        "--max-tokens-total changes that",
        EndCause.BATCH_TIMEOUT: ", and has as much time again; another --deadline changes that",
    }
)
"""The words about the next run, by the cause that ended this one."""
_ONE_BUDGET: Final = (
    " with a larger --max-cost or --max-tokens-total, since all runs of batches on one journal "
    "have one budget together"
)


_MOST_WARNINGS: Final = 20
"""Lines of them at the end of a run: all that one screen has beside the sums."""


def reason_in_options(text: str) -> str:
    """Name settings in a reason as the options that they are."""
    for setting, option in _OPTIONS:
        text = re.sub(rf"\b{setting}\b", option, text)
    return text


_OPTIONS: Final = (
    ("max_cost", "--max-cost"),
    ("max_tokens_total", "--max-tokens-total"),
    ("max_tokens", "--max-tokens"),
    ("batch_timeout", "--deadline"),
)


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
        journal: What came from the journal, if there is one.
        command: The command that goes on; ``None`` if the journal is damaged or gone.
        remedy: What to do to have a journal, if there is none.
        lost: Results that have no row, since the output broke.
    """

    result: BatchResult[Any, Any]
    tallies: Tallies
    output: str
    limited_by: str | None = None
    keys: Sequence[str] = ()
    problem: str | None = None
    journal: JournalNotes | None = None
    command: str | None = ""
    remedy: str = "give -o FILE"
    lost: Tally = field(factory=Tally)

    def describe(self) -> str:
        """Return it as a block of text."""
        # Waits of hundreds of lines at once add up to hours that no one call waited.
        stats: Mapping[str, Any] = {**self.result.stats, "limited_by": self.limited_by, "waits": {}}
        facts = []
        for name, text in facts_of(evolve(self.result, stats=stats)):
            if text == "unknown":
                continue  # without any call it would look like a fault
            if name == "Ended":
                cause, colon, reason = text.partition(": ")
                text = f"{cause}{colon}{reason_in_options(reason)}"
            facts.append((name, text))
            if name == "Items":
                facts.append(("Rows", f"{self.tallies.done:,} written to {self.output}"))
        width = max(len(name) for name, _ in facts)
        parts = ["\n".join(f"{name:<{width}}  {text}" for name, text in facts)]
        failures = [*self.tallies.failures(), *hints(self.tallies, self.keys)]
        if failures:
            parts.append("\n".join(["Failures", *(f"  {line}" for line in failures)]))
        if self.result.warnings:
            said = dict.fromkeys(map(reason_in_options, self.result.warnings))
            lines = list(said)[:_MOST_WARNINGS]
            lines += [f"and {len(said) - len(lines):,} more"] if len(said) > len(lines) else []
            parts.append("\n".join(["Warnings", *(f"  {line}" for line in lines)]))
        if self.journal is not None:
            parts.append(self.journal.describe(self.result))
        if self.lost.total and self.journal is None:
            parts.append(self._what_is_lost())
        elif not self.result.termination.complete or self.problem is not None:
            parts.append(self._how_to_go_on())
        return "\n\n".join(parts)

    def _what_is_lost(self) -> str:
        """Say what an output that broke lacks: the items above are results, and not rows."""
        lost = self.lost
        count = counted(lost.total, "result has", "results have")
        return (
            f"{count} no row, {lost.succeeded:,} answers among them, nor have "
            f"the lines that were not read; every row of {self.output} is whole. Run these lines "
            "again once it can be written."
        )

    def _how_to_go_on(self) -> str:
        """Say what has no answer because the run ended before, and how to go on."""
        parts = []
        if self.tallies.not_run:
            parts.append(f"{counted(self.tallies.not_run, 'line')} had no turn")
        if self.tallies.cut_off:
            lines = counted(self.tallies.cut_off, "line was", "lines were")
            parts.append(f"{lines} cut off, and may be billed")
        parts.append("lines that have no row were not finished")
        text = "; ".join(parts)
        if self.command is None:
            return (
                f"{text}. From a journal that is damaged or gone no command goes on; with --fresh "
                "this one starts anew, and keeps what is there under other names."
            )
        if self.journal is not None:
            cause = self.result.termination.cause
            again = _AGAIN.get(cause, "")
            if cause is EndCause.BUDGET and "provider_batches" in self.result.stats:
                again = _ONE_BUDGET
            return f"{text}. The same command goes on{again}:\n  {self.command}"
        return f"{text}. There is no journal to go on from; {self.remedy} to have one."


def with_lines_never_read(
    result: BatchResult[Any, Any], total: int | None, notes: JournalNotes | None
) -> BatchResult[Any, Any]:
    """Count lines of the input that an early end left unread among those that were not run.

    Args:
        result: The sums of the run.
        total: Lines of the input, if they have been counted by now.
        notes: Lines that earlier runs finished are no part of the sums if they are passed over.
    """
    if total is None or result.termination.complete:
        return result
    passed = notes.taken_over if notes is not None and notes.skips else 0
    return evolve(result, never_read=max(0, total - passed - result.total_items))


@frozen(kw_only=True)
class JournalNotes:
    """The facts that a run took from its journal.

    Attributes:
        path: The journal.
        size: Its bytes on the disk.
        restored: Rows that were finished before and missing in the output.
        taken_over: Lines that earlier runs finished.
        failed_before: Those of them that failed.
        maybe_billed: Lines with a call in flight when an earlier run ended.
        skips: Whether finished lines are passed over, in place of giving their results again.
    """

    path: str
    size: int
    restored: int
    taken_over: int
    failed_before: int
    maybe_billed: int
    skips: bool

    @classmethod
    async def of(cls, journal: JournalWriter, restored: int) -> JournalNotes:
        """Read them at the end of a run."""
        return cls(
            path=str(journal.settings.path),
            size=await journal.size(),
            restored=restored,
            taken_over=journal.ledger.taken_over,
            failed_before=journal.ledger.counts[Reason.FAILED_BEFORE],
            maybe_billed=len(journal.opened.maybe_billed),
            skips=journal.settings.on_resume == "skip",
        )

    def describe(self, result: BatchResult[Any, Any]) -> str:
        """Say it, a sentence a line."""
        lines = []
        if self.restored:
            rows = counted(self.restored, "row was", "rows were")
            lines.append(f"{rows} restored from the journal.")
        # Lines that are passed over are no part of the total; those given again are.
        called_for_none = result.total_items == (0 if self.skips else result.tally.before)
        if result.termination.complete and called_for_none and self.taken_over:
            lines.append(
                f"Nothing is left: {counted(self.taken_over, 'line was', 'lines were')} finished "
                "before; --fresh asks again."
            )
        if self.failed_before:
            lines.append(
                f"{counted(self.failed_before, 'line')} failed before; --retry-failed tries again."
            )
        if self.maybe_billed:
            lines.append(
                f"{counted(self.maybe_billed, 'line')} had a call in flight when an earlier run "
                "ended; those calls may be billed."
            )
        lines.append(f"Journal: {self.path} ({self.size / 1e6:,.1f} MB)")
        return "\n".join(lines)


def hints(tallies: Tallies, keys: Sequence[str]) -> list[str]:
    """Return what may be the reason of failures.

    Args:
        tallies: The failures.
        keys: The environment variables from which keys were read.
    """
    if Category.AUTHENTICATION not in tallies.categories or not keys:
        return []
    return [f"the key was read from {' and '.join(keys)}; look whether it is the right one"]


def exit_code(
    ended: BatchResult[Any, Any], *, interrupted: bool, broken: bool, failed_before: int = 0
) -> ExitCode:
    """Return the exit code for the end of a run."""
    if broken:
        return ExitCode.STOPPED
    if not ended.termination.complete:
        return ExitCode.INTERRUPTED if interrupted else ExitCode.STOPPED
    all_well = ended.succeeded == ended.total_items and not failed_before
    return ExitCode.OK if all_well else ExitCode.SOME_FAILED
