"""The book of blocks: which worker has which, at which attempt, and what runs again. Pure.

A worker is given a block whenever it has read all but one of those that it has. The blocks of one
that is dead run again, with the next attempt number; what a dead one still says is not taken.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from attrs import define, field, frozen

__all__ = ["MOST_ATTEMPTS", "Assignment", "AttemptBook"]

_UNREAD: Final = 2
"""Blocks that a worker has and has not read: the one that it reads, and the next, so that it never
waits for the way there."""
MOST_ATTEMPTS: Final = 5
"""Workers that may die over one block before it is the block that is at fault."""


@frozen
class Assignment:
    """A block that a worker is to work on.

    Attributes:
        block: Its number.
        attempt: From 1.
        worker: The name of the worker.
        data: What the block holds, as it was added.
    """

    block: int
    attempt: int
    worker: str
    data: Any


@define(eq=False)
class _Block:
    data: Any
    attempt: int = 0
    worker: str | None = None
    read: bool = False


@define(eq=False)
class AttemptBook:
    """Keeps the blocks of one run."""

    _blocks: dict[int, _Block] = field(factory=dict, init=False)
    """Those that are not finished."""
    _ready: deque[int] = field(factory=deque, init=False)
    _unread: dict[str, int] = field(factory=dict, init=False)
    _count: int = field(default=0, init=False)
    again: int = field(default=0, init=False)
    """Attempts beside the first of each block."""

    @property
    def waiting(self) -> int:
        """Return how many blocks wait for a worker."""
        return len(self._ready)

    @property
    def open(self) -> int:
        """Return how many blocks are not finished."""
        return len(self._blocks)

    def join(self, worker: str) -> None:
        """Count on a worker from now on."""
        self._unread[worker] = 0

    def add(self, data: Any) -> int:
        """Add a block and return its number."""
        number = self._count
        self._count += 1
        self._blocks[number] = _Block(data)
        self._ready.append(number)
        return number

    def assign(self) -> Assignment | None:
        """Give the next block to the worker that has read most; ``None`` if none wants one."""
        if not self._ready or not self._unread:
            return None
        worker = min(self._unread, key=self._unread.__getitem__)
        if self._unread[worker] >= _UNREAD:
            return None
        number = self._ready.popleft()
        block = self._blocks[number]
        block.attempt += 1
        block.worker, block.read = worker, False
        self._unread[worker] += 1
        self.again += block.attempt > 1
        return Assignment(number, block.attempt, worker, block.data)

    def on_read(self, number: int, attempt: int) -> None:
        """Note that a worker has read all rows of a block, so that it wants another."""
        block = self._current(number, attempt)
        if block is not None and not block.read and block.worker is not None:
            block.read = True
            self._unread[block.worker] -= 1

    def on_done(self, number: int, attempt: int) -> bool:
        """Note that a block is finished.

        Returns:
            Whether that counts: not if another attempt was begun meanwhile.
        """
        if self._current(number, attempt) is None:
            return False
        self.on_read(number, attempt)
        del self._blocks[number]
        return True

    def on_lost(self, worker: str) -> int | None:
        """Take back the blocks of a worker that is dead; they are next.

        Returns:
            The number of a block that has ended as many workers as one may; ``None`` if none has.
        """
        self._unread.pop(worker, None)
        lost = sorted(n for n, block in self._blocks.items() if block.worker == worker)
        for number in reversed(lost):
            self._blocks[number].worker = None
            self._ready.appendleft(number)
        return next((n for n in lost if self._blocks[n].attempt >= MOST_ATTEMPTS), None)

    def data_of(self, number: int) -> Any:
        """Return what a block that is not finished holds."""
        return self._blocks[number].data

    def _current(self, number: int, attempt: int) -> _Block | None:
        block = self._blocks.get(number)
        if block is None or block.worker is None or block.attempt != attempt:
            return None
        return block
