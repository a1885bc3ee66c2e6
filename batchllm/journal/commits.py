"""The group commit: groups gather while the thread writes the one before.

There is no timer: one result alone waits for one commit, and what comes during a commit goes into
the next.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Final

import anyio
from anyio.lowlevel import checkpoint
from attrs import define, field

from batchllm.core import JournalError
from batchllm.journal.groups import Group
from batchllm.journal.owner import BEAT_EVERY
from batchllm.journal.store import Store
from batchllm.journal.worker import Worker

__all__ = ["CLOSE_SECONDS", "WRITE_SECONDS", "Commit", "Commits"]

_MOST: Final = 256
"""Results in one group: at 10 µs a row no longer than the flush that follows (2 to 5 ms)."""
WRITE_SECONDS: Final = 120.0
"""Seconds that one group may take: twice the minute for a lock of another program."""
CLOSE_SECONDS: Final = 60.0
"""Seconds for the last groups and the end of the run."""


@define(eq=False)
class Commit:
    """A group that gathers, and what became of it.

    Attributes:
        group: What is written.
        done: Set once it is known whether it is on the disk.
        written: Whether it is.
    """

    group: Group = field(factory=Group)
    done: anyio.Event = field(factory=anyio.Event)
    written: bool = False


@define(eq=False)
class Commits:
    """Writes group after group.

    Args:
        store: The file.
        worker: Its thread.

    Attributes:
        failed: Why nothing can be written any more.
    """

    store: Store
    worker: Worker
    failed: JournalError | None = field(default=None, init=False)
    _commits: deque[Commit] = field(factory=lambda: deque([Commit()]), init=False)
    _wake: anyio.Event = field(factory=anyio.Event, init=False)
    _broken: anyio.Event = field(factory=anyio.Event, init=False)
    _closing: bool = field(default=False, init=False)
    _scope: anyio.CancelScope = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Shielded, since results wait for it while everything round them is being cancelled;
        # finish() sets the deadline.
        self._scope = anyio.CancelScope(shield=True)

    # For what is noted.

    @property
    def next_group(self) -> Group:
        """Return the group that gathers; what is added to it wakes nothing."""
        return self._commits[-1].group

    def wake(self) -> None:
        """Have what was added written soon."""
        self._wake.set()

    def join(self) -> Commit:
        """Return the group that gathers, a new one if it is full, for a result to be added.

        Raises:
            JournalError: An earlier one could not be written.
        """
        if self.failed is not None:
            raise self.failed
        last = self._commits[-1]
        if last.group.awaited >= _MOST:
            last = Commit()
            self._commits.append(last)
        self._wake.set()
        return last

    async def settled(self, commit: Commit) -> None:
        """Wait until a group is on the disk.

        Raises:
            JournalError: It is not.
        """
        await commit.done.wait()
        if not commit.written:
            raise self.failed or self._never_written()

    async def flush(self) -> None:
        """Wait until all that was noted is on the disk.

        Raises:
            JournalError: It is not.
        """
        commit = self.join()
        commit.group.flushes += 1
        await self.settled(commit)

    # The task that writes.

    async def run(self) -> None:
        """Write group after group, until :meth:`finish` and the last is written."""
        with self._scope:
            while True:
                if not self._due and not self._closing:
                    await self._wait()
                if self._closing and len(self._commits) == 1 and not self._commits[0].group:
                    return
                await self._write_one()

    @property
    def _due(self) -> bool:
        return len(self._commits) > 1 or bool(self._commits[0].group)

    async def _wait(self) -> None:
        self._wake = anyio.Event()
        with anyio.move_on_after(BEAT_EVERY):
            await self._wake.wait()

    async def _write_one(self) -> None:
        commit = self._commits.popleft()
        if not self._commits:
            self._commits.append(Commit())
        try:
            if self.failed is None:
                await self._write(commit)
        except JournalError as error:
            self._fail(error)
        finally:
            commit.done.set()
        if self.failed is not None:
            await checkpoint()  # no call has let other tasks run

    async def _write(self, commit: Commit) -> None:
        # One deadline for all of a group: a scope for each result cost a tenth of its way.
        with anyio.move_on_after(WRITE_SECONDS):
            await self.worker.call(partial(self.store.write, commit.group))
            commit.written = True
            return
        path = str(self.store.path)
        msg = f"the journal {path}: its disk gave no answer for {WRITE_SECONDS:g} s"
        raise JournalError(msg, problem="io", path=path)

    def _fail(self, error: JournalError) -> None:
        """Write nothing from here on: after a failed flush no later one is to be trusted."""
        if self.failed is None:
            self.failed = error
            self._broken.set()

    async def failure(self) -> JournalError:
        """Wait until nothing can be written any more, and return why."""
        await self._broken.wait()
        assert self.failed is not None
        return self.failed

    def finish(self) -> None:
        """Write what is there, then end."""
        self._closing = True
        self._scope.deadline = anyio.current_time() + CLOSE_SECONDS
        self._wake.set()

    def leftover(self) -> list[Group]:
        """Return the groups that no task will write any more."""
        if self.failed is not None:
            return []
        return [commit.group for commit in self._commits if commit.group]

    def _never_written(self) -> JournalError:
        path = str(self.store.path)
        msg = f"the journal {path} was closed before this result was written"
        return JournalError(msg, problem="io", path=path)
