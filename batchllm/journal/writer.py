"""The asynchronous side of a journal: groups gather while the thread commits the one before.

A task that has a result waits until its group is on the disk. There is no timer: one result alone
waits for one commit, and what comes during a commit goes into the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
from anyio.lowlevel import checkpoint
from attrs import define, field

from batchllm.core import JournalError, TokenUsage, WorkItemResult
from batchllm.journal.entries import Entry, Registrar, committed, usage_as_json
from batchllm.journal.groups import CallBegun, CallFailed, Group, Quota, Refused, Sample
from batchllm.journal.identity import ItemKey
from batchllm.journal.ledger import Choice, Ledger, State, Verdict
from batchllm.journal.owner import BEAT_EVERY
from batchllm.journal.payload import replay_result
from batchllm.journal.settings import Journal
from batchllm.journal.store import Opened, Store
from batchllm.journal.tables import Finished
from batchllm.journal.worker import Worker

__all__ = ["CLOSE_SECONDS", "NOT_READ", "JournalWriter", "Taken"]

_MOST: Final = 256
"""Results in one group: at 2 µs a row its transaction takes less than the flush that follows."""
CLOSE_SECONDS: Final = 60.0
"""Seconds for the last groups and the end of the run."""


Ending: TypeAlias = tuple[str, str, str]


@define(eq=False)
class _Gathering:
    """A group that gathers, and what became of it."""

    group: Group = field(factory=Group)
    done: anyio.Event = field(factory=anyio.Event)
    written: bool = False


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
        failed: Why it can no longer be written.
        ending: How the run ended: cause, reason and, as JSON, its sums.
    """

    settings: Journal
    opened: Opened
    ledger: Ledger
    registrar: Registrar
    store: Store
    worker: Worker
    wall_clock: Callable[[], float]
    has_output: bool = False
    failed: JournalError | None = field(default=None, init=False)
    ending: Ending = field(default=("unknown", "", ""), init=False)
    _groups: deque[_Gathering] = field(factory=lambda: deque([_Gathering()]), init=False)
    _wake: anyio.Event = field(factory=anyio.Event, init=False)
    _broken: anyio.Event = field(factory=anyio.Event, init=False)
    _closing: bool = field(default=False, init=False)
    _without_row: dict[int, ItemKey] = field(factory=dict, init=False)
    _scope: anyio.CancelScope = field(init=False)
    _next_call: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Shielded, since results wait for it while everything round them is being cancelled;
        # finish() sets the deadline.
        self._scope = anyio.CancelScope(shield=True)
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
        self._groups[-1].group.begun[call] = CallBegun(call, entry.key, attempt, now)
        self._wake.set()
        return call

    def fail_call(
        self, entry: Entry, call: int, category: str, error: str, usage: TokenUsage | None
    ) -> None:
        """Note that a call ended without an answer; it goes with the next group."""
        if call not in entry.calls:
            return  # its item has a result already, from another copy of the call
        entry.calls.remove(call)
        self._groups[-1].group.failed.append(
            CallFailed(call, self.wall_clock(), category, error, usage_as_json(usage))
        )

    def cut_off(self, entry: Entry, call: int) -> None:
        """Note that a call was cancelled in flight: it stays as maybe billed."""
        if call in entry.calls:
            entry.calls.remove(call)

    async def commit(
        self, entry: Entry, result: WorkItemResult[Any, Any], *, pending: bool = False
    ) -> None:
        """Write a result, and wait until it is on the disk.

        Args:
            entry: Its item.
            result: What became of it.
            pending: Whether a post-processor is still to be called.

        Raises:
            JournalError: It is not on the disk.
        """
        row = committed(
            entry,
            result,
            now=self.wall_clock(),
            pending=pending,
            keep_inputs=self.settings.journal_prompts,
            row_end=0 if self.has_output else None,
        )
        gathering = self._room()
        gathering.group.commit(row, entry.identity.text, entry.calls)
        entry.calls = []
        if self.has_output:
            self._without_row[entry.position] = entry.key
        await self._written(gathering)

    async def processed(self, entry: Entry) -> None:
        """Note that an item's post-processor is done, and wait until that is on the disk.

        Raises:
            JournalError: It is not.
        """
        gathering = self._room()
        gathering.group.processed.append(entry.key)
        await self._written(gathering)

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
        self._groups[-1].group.rows.extend(rows)
        self._wake.set()

    def note_refused(self, place: str, row: bytes, end: int) -> None:
        """Note the row of a line that was never sent, by its input and number."""
        self._groups[-1].group.refused.append(Refused(place, row, end))
        self._wake.set()

    def note_sample(self, data: str) -> None:
        """Note how far the run has got."""
        self._groups[-1].group.samples.append(Sample(self.wall_clock(), data))

    def note_quota(self, scope: str, rate: float, age: float) -> None:
        """Note what was learned about a quota."""
        self._groups[-1].group.quotas[scope] = Quota(scope, rate, age)

    # What a run asks.

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

    async def take_over(self, entries: Sequence[Entry]) -> list[Taken]:
        """Read the results of items that were taken over.

        Raises:
            JournalError: One cannot be read.
        """
        found = await self.worker.call(
            partial(self.store.finished, [entry.key for entry in entries])
        )
        kind = self.settings.output_type
        return [_taken(found[entry.key], entry, kind) for entry in entries]

    # The task that writes.

    async def run(self) -> None:
        """Write group after group, until :meth:`finish` and the last is written."""
        with self._scope:
            while True:
                if not self._due and not self._closing:
                    await self._wait()
                if self._closing and len(self._groups) == 1 and not self._groups[0].group:
                    return
                await self._write_one()

    @property
    def _due(self) -> bool:
        first = self._groups[0].group
        return len(self._groups) > 1 or bool(first)

    async def _wait(self) -> None:
        self._wake = anyio.Event()
        with anyio.move_on_after(BEAT_EVERY):
            await self._wake.wait()

    async def _write_one(self) -> None:
        gathering = self._groups.popleft()
        if not self._groups:
            self._groups.append(_Gathering())
        try:
            if self.failed is None:
                await self.worker.call(partial(self.store.write, gathering.group))
                gathering.written = True
        except JournalError as error:
            self._fail(error)
        finally:
            gathering.done.set()
        if self.failed is not None:
            await checkpoint()  # no call has let other tasks run

    def _fail(self, error: JournalError) -> None:
        """Write nothing from here on: after a failed flush no later one is to be trusted."""
        if self.failed is None:
            self.failed = error
            self._broken.set()

    async def failure(self) -> JournalError:
        """Wait until it can no longer be written, and return why."""
        await self._broken.wait()
        assert self.failed is not None
        return self.failed

    async def flush(self) -> None:
        """Wait until all that was noted is on the disk.

        Raises:
            JournalError: It is not.
        """
        gathering = self._room()
        gathering.group.flushes += 1
        await self._written(gathering)

    def finish(self) -> None:
        """Write what is there, then end."""
        self._closing = True
        self._scope.deadline = anyio.current_time() + CLOSE_SECONDS
        self._wake.set()

    def _room(self) -> _Gathering:
        """Return the group that gathers, a new one if it is full.

        Raises:
            JournalError: An earlier one could not be written.
        """
        if self.failed is not None:
            raise self.failed
        last = self._groups[-1]
        if last.group.awaited >= _MOST:
            last = _Gathering()
            self._groups.append(last)
        self._wake.set()
        return last

    async def _written(self, gathering: _Gathering) -> None:
        await gathering.done.wait()
        if not gathering.written:
            raise self.failed or _never_written(self.settings)

    def leftover(self) -> list[Group]:
        """Return the groups that no task will write any more."""
        if self.failed is not None:
            return []
        return [gathering.group for gathering in self._groups if gathering.group]


def _taken(found: Finished, entry: Entry, output_type: Any) -> Taken:
    result, _ = replay_result(
        found.payload,
        success=found.state is State.DONE,
        cost=found.cost,
        position=entry.position,  # in the input as it is now, which may have other lines before it
        output_type=output_type,
    )
    return Taken(result, found.pending, found.row_end)


def _never_written(settings: Journal) -> JournalError:
    msg = f"the journal {settings.path} was closed before this result was written"
    return JournalError(msg, problem="io", path=str(settings.path))


def _changed_item(entry: Entry, path: str) -> JournalError:
    msg = (
        f"item {entry.position} was answered under another strategy of its own in the journal "
        f'{path}; give Journal(…, on_changed="rerun") to ask again, or on_changed="keep" to take '
        "the answer as it is"
    )
    return JournalError(msg, problem="changed", path=path)
