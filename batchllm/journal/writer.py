"""A journal that one run writes: what it notes, what it commits, and what it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from attrs import define, field

from batchllm.core import JournalError, TokenUsage, WorkItemResult
from batchllm.journal.commits import Commit, Commits
from batchllm.journal.connections import size_of_pages
from batchllm.journal.disks import size_on_disk
from batchllm.journal.entries import Entry, Registrar, committed, usage_as_json
from batchllm.journal.faults import DAMAGED, journal_error
from batchllm.journal.groups import CallBegun, CallFailed, Quota, Refused, Sample
from batchllm.journal.identity import ItemKey
from batchllm.journal.ledger import Choice, Ledger, State, Verdict
from batchllm.journal.payload import replay_result
from batchllm.journal.runs import Opened
from batchllm.journal.settings import Journal
from batchllm.journal.store import Store
from batchllm.journal.tables import Finished
from batchllm.journal.worker import Worker

__all__ = ["NOT_READ", "JournalWriter", "Taken"]

Ending: TypeAlias = tuple[str, str, str]


@define(eq=False)
class Taken:
    """A result of an earlier run.

    Attributes:
        result: As it was then, marked ``replayed``; ``None`` if it was not read.
        pending: Whether its post-processor is still to be called.
        row_end: The length of the output behind its row; 0 if it has none yet.
    """

    result: WorkItemResult[Any, Any] | None
    pending: bool
    row_end: int | None


NOT_READ: Final = Taken(None, pending=False, row_end=None)
"""Stands for a result that was not asked for."""


@define(eq=False)
class JournalWriter:
    """A journal that one run writes.

    Attributes:
        settings: As the user said it.
        opened: What it had at the beginning.
        ledger: Decides what to do with items that it knows, and counts.
        registrar: Makes the entries of items.
        commits: Groups on their way to the disk.
        ending: How the run ended: cause, reason and, as JSON, its sums.
        starts: When work on finished items began, in seconds since 1970, by their positions, for
            the caller who writes rows of them and takes it out again; ``None`` keeps none.
    """

    settings: Journal
    opened: Opened
    ledger: Ledger
    registrar: Registrar
    store: Store
    worker: Worker
    wall_clock: Callable[[], float]
    has_output: bool = False
    starts: dict[int, float] | None = None
    commits: Commits = field(init=False)
    ending: Ending = field(default=("unknown", "", ""), init=False)
    _without_row: dict[int, ItemKey] = field(factory=dict, init=False)
    _next_call: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.commits = Commits(self.store, self.worker)
        self._next_call = self.opened.next_call

    # What a run writes.

    def begin_call(self, entry: Entry, attempt: int) -> int:
        """Note that a call begins, without waiting for it.

        Returns:
            Its number, for :meth:`fail_call`.
        """
        call, now = self._next_call, self.wall_clock()
        self._next_call += 1
        entry.started = entry.started or now
        entry.calls.append(call)
        self.commits.next_group.begun[call] = CallBegun(call, entry.key, attempt, now)
        self.commits.wake()
        return call

    def fail_call(
        self, entry: Entry, call: int, category: str, error: str, usage: TokenUsage | None
    ) -> None:
        """Note that a call ended without an answer; it goes with the next group."""
        if call not in entry.calls:
            return  # its item has a result already, from another copy of the call
        entry.calls.remove(call)
        self.commits.next_group.failed.append(
            CallFailed(call, self.wall_clock(), category, error, usage_as_json(usage))
        )

    def cut_off(self, entry: Entry, call: int) -> None:
        """Note that a call was cancelled in flight: it stays as maybe billed."""
        if call in entry.calls:
            entry.calls.remove(call)

    def hand_over(
        self, entry: Entry, result: WorkItemResult[Any, Any], *, pending: bool = False
    ) -> Commit:
        """Put a result into the next group, without waiting for it.

        Args:
            entry: Its item.
            result: What became of it.
            pending: Whether a post-processor is still to be called.

        Returns:
            Its group, which says when it is on the disk.

        Raises:
            JournalError: It cannot be written.
        """
        row = committed(
            entry,
            result,
            now=self.wall_clock(),
            pending=pending,
            keep_inputs=self.settings.journal_prompts,
            row_end=0 if self.has_output else None,
        )
        commit = self.commits.join()
        commit.group.commit(row, entry.identity.text, entry.calls)
        entry.calls = []
        if self.has_output:
            self._without_row[entry.position] = entry.key
        if self.starts is not None:
            self.starts[entry.position] = row.started
        return commit

    async def commit(
        self, entry: Entry, result: WorkItemResult[Any, Any], *, pending: bool = False
    ) -> None:
        """Write a result, and wait until it is on the disk; as :meth:`hand_over`.

        Raises:
            JournalError: It is not on the disk.
        """
        await self.commits.settled(self.hand_over(entry, result, pending=pending))

    async def processed(self, entry: Entry) -> None:
        """Note that an item's post-processor is done, and wait until that is on the disk.

        Raises:
            JournalError: It is not.
        """
        commit = self.commits.join()
        commit.group.processed.append(entry.key)
        await self.commits.settled(commit)

    async def flush(self) -> None:
        """Wait until all that was noted is on the disk.

        Raises:
            JournalError: It is not.
        """
        await self.commits.flush()

    async def failure(self) -> JournalError:
        """Wait until nothing can be written any more, and return why."""
        return await self.commits.failure()

    def take_over_rows(self, taken: Iterable[tuple[int, ItemKey]]) -> None:
        """Expect rows of items that earlier runs finished: their positions and keys."""
        self._without_row.update(taken)

    def note_row(self, position: int, end: int) -> None:
        """Note that the row of the item at *position* is written, with the output's length."""
        key = self._without_row.pop(position, None)
        if key is not None:
            self.note_rows([(key, end)])

    def note_rows(self, rows: Sequence[tuple[ItemKey, int]]) -> None:
        """Note rows of the output file that are written, with its length behind each."""
        self.commits.next_group.rows.extend(rows)
        self.commits.wake()

    def note_refused(self, place: str, row: bytes, end: int) -> None:
        """Note the row of a line that was never sent, by its input and number."""
        self.commits.next_group.refused.append(Refused(place, row, end))
        self.commits.wake()

    def note_sample(self, data: str) -> None:
        """Note how far the run has got."""
        self.commits.next_group.samples.append(Sample(self.wall_clock(), data))

    def note_quota(self, scope: str, rate: float, age: float) -> None:
        """Note what was learned about a quota."""
        self.commits.next_group.quotas[scope] = Quota(scope, rate, age)

    def note_fact(self, name: str, value: str) -> None:
        """Note one of the few values that belong to no table; it goes with the next group."""
        self.commits.next_group.facts[name] = value

    # What a run asks.

    async def size(self) -> int:
        """Return its bytes on the disk, without those of its log, which goes when it is closed."""
        try:
            return await self.worker.call(partial(self.store.with_output, size_of_pages))
        except JournalError:  # it has failed, and so keeps its log
            return size_on_disk(self.settings.path)

    async def decide(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Decide what to do with items.

        Raises:
            JournalError: An answer was given under another strategy, and that is refused; or the
                file cannot be read.
        """
        known = await self.worker.call(partial(self.store.known, [entry.key for entry in entries]))
        for entry in entries:
            entry.known = known.get(entry.key)
        billed = self.opened.maybe_billed
        verdicts = [
            self.ledger.decide(
                entry.known,
                entry.prompt,
                entry.identity.digest,
                maybe_billed=entry.key in billed,
            )
            for entry in entries
        ]
        for entry, verdict in zip(entries, verdicts, strict=True):
            if verdict.choice is Choice.REFUSE:
                raise _changed_item(entry, str(self.settings.path))
        return verdicts

    async def answered(self, items: Sequence[tuple[ItemKey, bytes | None]]) -> set[ItemKey]:
        """Find items with the run's strategy that have their answer, and nothing left to do.

        Args:
            items: Keys and digests of prompts, of one source.

        Returns:
            Their keys. An item that is not among them may be finished all the same: ``decide``.

        Raises:
            JournalError: The file cannot be read.
        """
        keys = [key for key, _ in items]
        strategy = self.registrar.identity.digest
        found = await self.worker.call(partial(self.store.answered, keys, strategy))
        nothing = object()
        return {key for key, prompt in items if found.get(key[1], nothing) == prompt}

    async def take_over(self, entries: Sequence[Entry]) -> list[Taken]:
        """Read the results of items that were taken over.

        Raises:
            JournalError: One cannot be read.
        """
        found = await self.worker.call(
            partial(self.store.finished, [entry.key for entry in entries])
        )
        kind = self.settings.output_type
        if self.starts is not None:
            self.starts.update((entry.position, found[entry.key].started) for entry in entries)
        try:
            return [_taken(found[entry.key], entry, kind) for entry in entries]
        except (*DAMAGED, LookupError, TypeError) as error:
            raise journal_error(error, str(self.settings.path)) from error


def _taken(found: Finished, entry: Entry, output_type: Any) -> Taken:
    result, _ = replay_result(
        found.payload,
        success=found.state is State.DONE,
        cost=found.cost,
        position=entry.position,  # in the input as it is now, which may have other lines before it
        output_type=output_type,
    )
    return Taken(result, found.pending, found.row_end)


def _changed_item(entry: Entry, path: str) -> JournalError:
    msg = (
        f"item {entry.position} was answered under another strategy of its own in the journal "
        f'{path}; give Journal(…, on_changed="rerun") to ask again, or on_changed="keep" to take '
        "the answer as it is"
    )
    return JournalError(msg, problem="changed", path=path)
