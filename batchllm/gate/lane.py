"""One lane of a line: those who wait by priority, and within a priority as they came.

Joining and leaving cost the same in a line of ten and of a hundred thousand: each priority has an
ordered map of its own, and the priorities are found by halving.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

import anyio
from attrs import define, field

from batchllm.core import CallCost
from batchllm.gate.callers import CallerLimits
from batchllm.policy import Limit

__all__ = ["Lane", "Waiter"]

P = TypeVar("P")


@define(eq=False)
class Waiter(Generic[P]):
    """One call that waits.

    Attributes:
        permit: What it waits for.
        too_large: The limit that it can never pass; it waits no longer then.
        overtaken: Calls that passed it because they fitted and it did not.
        cooled: Seconds of its wait during which the scope was cooling.
    """

    cost: CallCost
    callers: CallerLimits | None
    priority: int
    since: float
    woken: anyio.Event = field(factory=anyio.Event)
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)
    permit: P | None = None
    too_large: Limit | None = None
    overtaken: int = 0
    cooled: float = 0.0

    @property
    def waiting(self) -> bool:
        """Whether nothing has been decided yet."""
        return self.permit is None and self.too_large is None

    def renew(self) -> None:
        """Get ready to wait once more."""
        self.woken = anyio.Event()
        self.scope = anyio.CancelScope()


@define(eq=False)
class Lane(Generic[P]):
    """Who waits of one run or pool."""

    _by_priority: dict[int, OrderedDict[Waiter[P], None]] = field(factory=dict, init=False)
    _priorities: list[int] = field(factory=list, init=False)
    _count: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Waiter[P]]:
        for priority in reversed(self._priorities):
            yield from self._by_priority[priority]

    @property
    def head(self) -> Waiter[P]:
        """The first; there is one."""
        return next(iter(self._by_priority[self._priorities[-1]]))

    def join(self, waiter: Waiter[P]) -> None:
        """Take a place behind those of the same priority."""
        peers = self._by_priority.get(waiter.priority)
        if peers is None:
            peers = self._by_priority[waiter.priority] = OrderedDict()
            insort(self._priorities, waiter.priority)
        peers[waiter] = None
        self._count += 1

    def leave(self, waiter: Waiter[P]) -> None:
        """Give the place up, where it still is there."""
        peers = self._by_priority.get(waiter.priority)
        if peers is None or waiter not in peers:
            return
        del peers[waiter]
        self._count -= 1
        if not peers:
            del self._by_priority[waiter.priority]
            del self._priorities[bisect_left(self._priorities, waiter.priority)]
