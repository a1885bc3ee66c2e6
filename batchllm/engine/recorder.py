"""The journal of a run, as the engine uses it: results are written down and taken over.

Without a journal each method is a test of one attribute, so that the rest of the engine calls it
without asking.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from attrs import define, field

from batchllm.core import (
    Category,
    EndCause,
    JournalError,
    LLMCallStrategy,
    LLMWorkItem,
    NumberedItem,
    ProcessorConfig,
    Tally,
    Termination,
    TokenUsage,
    WorkItemResult,
    config_to_json,
)
from batchllm.engine.ending import Ending, cause_of
from batchllm.engine.failures import Failure
from batchllm.engine.gates import Gates
from batchllm.engine.guard import in_words
from batchllm.engine.item import ItemRun
from batchllm.engine.samples import Samples
from batchllm.engine.stats import Stats
from batchllm.journal import (
    NOT_READ,
    WRITE_SECONDS,
    Choice,
    Commit,
    Entry,
    ItemKey,
    Journal,
    JournalWriter,
    Taken,
    open_journal,
)

__all__ = ["COMMIT_SECONDS", "Recorder"]

Result = WorkItemResult[Any, Any]

_NOT_FINAL: Final = frozenset(
    {
        Category.CANCELLED,
        Category.INVALID_ITEM,
        Category.PARKED,
        Category.SKIPPED,
        Category.STOPPED,
    }
)
"""Results that say that an item was not tried to its end; none of them is written down."""
_NAMED: Final = (LLMWorkItem, tuple)
"""Shapes of an item that have an id. A tuple of types: a union made for each item takes 1 µs."""
COMMIT_SECONDS: Final = 2 * WRITE_SECONDS + 1.0
"""Seconds that a result waits for the disk: for the group before its own, and for its own."""


@define(eq=False)
class Recorder:
    """The journal of one run, if it has one.

    Args:
        given: As the user said it, or open already; ``None`` for no journal.
        config: The settings of the run.
        strategy: The run's own.
        ending: The run ends if its journal cannot be written.
        gates: Start from what earlier runs learned, and teach later ones.
        tally: The run's sums.
        stats: Its numbers, for the samples over time.
        warnings: Gets a sentence if something is to be known.
    """

    given: Journal | JournalWriter | None
    config: ProcessorConfig
    strategy: LLMCallStrategy[Any] | None
    ending: Ending
    gates: Gates
    tally: Tally
    stats: Stats
    warnings: list[str]
    _journal: JournalWriter | None = field(default=None, init=False)
    _unsaved: list[Result] = field(factory=list, init=False)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Keep the journal open for the length of the block.

        Raises:
            JournalError: It cannot be used.
        """
        if self.given is None:
            yield
        elif isinstance(self.given, JournalWriter):
            async with self._using(self.given):
                yield
        else:
            async with (
                open_journal(
                    self.given,
                    self.strategy,
                    on_wait=self.warnings.append,
                    config=config_to_json(self.config),
                ) as journal,
                self._using(journal),
            ):
                yield

    @asynccontextmanager
    async def _using(self, journal: JournalWriter) -> AsyncGenerator[None]:
        self._journal = journal
        self.gates.remember(journal.opened.quotas)
        samples = Samples(journal, self.tally, self.stats, self.gates)
        cut_short: BaseException | None = None
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(samples.run)
                group.start_soon(self._fail_with, journal)
                yield
                group.cancel_scope.cancel("every item has ended")
        except BaseException as error:
            cut_short = error
            raise
        finally:
            samples.take()
            termination = self.ending.termination or (
                cause_of(cut_short) if cut_short else Termination()
            )
            journal.ending = (termination.cause.value, termination.reason, samples.counts())

    async def _fail_with(self, journal: JournalWriter) -> None:
        """End the run when the journal fails, also if no result waits for it."""
        self.fail(await journal.failure())

    @property
    def journal(self) -> JournalWriter | None:
        """The open journal."""
        return self._journal

    @property
    def resumes(self) -> bool:
        """Return whether items have to be looked up before they are started."""
        return self._journal is not None and self._journal.opened.finished > 0

    @property
    def replays(self) -> bool:
        """Return whether results of earlier runs are delivered again."""
        return self._journal is not None and self._journal.settings.on_resume == "replay"

    # -- before an item is started ---------------------------------------------------------------

    def enter(self, value: object, work: LLMWorkItem[Any, Any, Any], index: int) -> Entry | None:
        """Make the entry of the next item; ``None`` without a journal.

        Args:
            value: The item as the source gave it, which shows if its id is its own or a number.
            work: The same, read.
            index: Its position in the input.

        Raises:
            InvalidItemError: Nothing would find it again.
        """
        if self._journal is None:
            return None
        named = isinstance(value, _NAMED) and not isinstance(value, NumberedItem)
        name = work.item_id if named else None
        return self._journal.registrar.enter(name, work.prompt, index, work.strategy)

    def glance(self, value: object) -> tuple[ItemKey, bytes | None] | None:
        """Return key and digest of an item that comes in the plainest form: an id and a text.

        ``None`` for all others, which have to be read before they can be looked up.
        """
        if type(value) is not tuple or len(value) not in (2, 3):
            return None
        parts: tuple[Any, ...] = value
        if type(parts[0]) is not str or type(parts[1]) is not str:
            return None
        assert self._journal is not None
        return self._journal.registrar.glance(parts[0], parts[1])

    async def answered(self, items: Sequence[tuple[ItemKey, bytes | None]]) -> set[ItemKey]:
        """Return which of several items are to be passed over; others may be, too.

        Raises:
            JournalError: The file cannot be read.
        """
        assert self._journal is not None
        return await self._journal.answered(items)

    def count_passed(self, count: int) -> None:
        """Count items that were passed over without being read."""
        assert self._journal is not None
        self._journal.ledger.pass_over(count)
        self.tally.before += count

    async def look_up(self, entries: Sequence[Entry]) -> list[Taken | None]:
        """Return what earlier runs finished: a result, or ``None`` for an item that is to run.

        With ``on_resume="skip"`` the result is there only if its post-processor is still to be
        called; ``Taken.result`` is ``None`` for the others.

        Raises:
            JournalError: An answer was given under another strategy, or the file cannot be read.
        """
        journal = self._journal
        assert journal is not None
        verdicts = await journal.decide(entries)
        taken_over = [
            entry
            for entry, verdict in zip(entries, verdicts, strict=True)
            if verdict.choice is Choice.TAKE_OVER
        ]
        wanted = taken_over if self.replays else [e for e in taken_over if _is_pending(e)]
        found = await journal.take_over(wanted) if wanted else []
        if journal.has_output and self.replays:
            journal.take_over_rows((entry.position, entry.key) for entry in wanted)
        taken: dict[ItemKey, Taken] = {entry.key: NOT_READ for entry in taken_over}
        taken |= {entry.key: one for entry, one in zip(wanted, found, strict=True)}
        return [taken.get(entry.key) for entry in entries]

    # -- while it runs ---------------------------------------------------------------------------

    def begin_call(self, item: ItemRun, attempt: int) -> int:
        """Note that a call begins; 0 without a journal."""
        if self._journal is None or item.entry is None:
            return 0
        return self._journal.begin_call(item.entry, attempt)

    def cut_off(self, item: ItemRun, call: int) -> None:
        """Note that a call was cancelled in flight."""
        if call and self._journal is not None and item.entry is not None:
            self._journal.cut_off(item.entry, call)

    def fail_call(
        self, item: ItemRun, call: int, failure: Failure, usage: TokenUsage | None
    ) -> None:
        """Note that a call ended without an answer."""
        if call and self._journal is not None and item.entry is not None:
            category, error = failure.info.error_category, in_words(failure.error)
            self._journal.fail_call(item.entry, call, category, error, usage)

    # -- when its result is there ----------------------------------------------------------------

    def writes(self, item: ItemRun, result: Result) -> bool:
        """Return whether a result is to be on the disk before anyone sees it."""
        return self._journal is not None and item.entry is not None and _is_final(result)

    def hand_over(self, item: ItemRun, result: Result) -> Commit | None:
        """Put a result into the next group, without waiting for it.

        Returns:
            The group, which says when the result may be delivered; ``None`` if it cannot be
            written: the run ends, and its error has the result.
        """
        assert self._journal is not None
        assert item.entry is not None
        try:
            return self._journal.hand_over(item.entry, result)
        except JournalError as error:
            self.lose([result], error)
            return None

    async def commit(self, item: ItemRun, result: Result, *, pending: bool) -> bool:
        """Write a result, shielded with a deadline.

        Returns:
            Whether it may be delivered. If not, the run ends and its error has the result.
        """
        if self._journal is None or item.entry is None or not _is_final(result):
            return True
        return await self._write(self._journal.commit(item.entry, result, pending=pending), result)

    async def processed(self, item: ItemRun, result: Result) -> bool:
        """Note that a result's post-processor was called; as :meth:`commit`."""
        if self._journal is None or item.entry is None or not _is_final(result):
            return True
        return await self._write(self._journal.processed(item.entry), result)

    async def _write(self, write: Awaitable[None], result: Result) -> bool:
        with anyio.move_on_after(COMMIT_SECONDS, shield=True):
            try:
                await write
            except JournalError as error:
                self.lose([result], error)
                return False
            return True
        self.lose([result])
        return False

    def lose(self, results: Iterable[Result], error: JournalError | None = None) -> None:
        """End the run, since finished results cannot be written: its error has them.

        Args:
            results: They are not delivered.
            error: Why; ``None`` if the disk has given no answer.
        """
        self._unsaved.extend(results)
        assert self._journal is not None
        path = str(self._journal.settings.path)
        self.fail(
            error
            or self._journal.commits.failed
            or JournalError(
                f"the journal {path}: its disk gave no answer for {COMMIT_SECONDS:g} s",
                problem="io",
                path=path,
            )
        )

    def fail(self, error: JournalError) -> None:
        """End the run: it goes on to call nothing, and what is in flight may finish."""
        error.unsaved = self._unsaved
        self.ending.fail(error, Termination(EndCause.JOURNAL_FAILED, str(error)))

    def numbers(self) -> dict[str, Any] | None:
        """Return what the journal did, for ``stats``; ``None`` without one."""
        if self._journal is None:
            return None
        journal = self._journal
        return {
            "path": str(journal.settings.path),
            "finished_before": self.tally.before,
            "skips": not self.replays,
            "maybe_billed": len(journal.opened.maybe_billed),
            "decisions": {r.name.lower(): n for r, n in journal.ledger.counts.items()},
        }


def _is_final(result: Result) -> bool:
    """Return whether a result is the last word about its item, and cost something to get."""
    return result.success or result.error_category not in _NOT_FINAL


def _is_pending(entry: Entry) -> bool:
    return entry.known is not None and entry.known.pending
