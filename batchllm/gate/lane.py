"""One lane of the wait queue: by priority, refused calls first, then in the order of arrival.

Joining and leaving cost the same in a queue of ten and of a hundred thousand: each priority has an
ordered map of its own, and the priorities are found by halving. Calls that were refused before
stand in front of it in a sorted list, which is short: they were in flight a moment ago.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum
from itertools import chain

import anyio
from attrs import define, field, frozen

from batchllm.core import CallCost
from batchllm.gate.callers import CallerLimits
from batchllm.gate.permit import Permit
from batchllm.policy import Limit

__all__ = ["Lane", "Place", "Refusal", "Waiter"]


@frozen
class Refusal:
    """The refusal of an item's last call by its quota scope.

    Attributes:
        at: When it came.
        not_before: Until when the server asked the item to wait.
    """

    at: float
    not_before: float


class Place(Enum):
    """The place of a waiter."""

    NOWHERE = "nowhere"
    LANE = "lane"
    ASIDE = "aside"


@define(eq=False)
class Waiter:
    """One call that waits.

    Attributes:
        permit: What it waits for.
        too_large: The limit that it can never pass; it waits no longer then.
        overtaken: Calls that passed it because they fitted and it did not.
        cooled: Seconds of its wait during which the scope was paused.
        item: Whose call it is; ``None`` if each call stands for itself.
        untried: Whether no call of the item was made before.
        refusal: Of the item's last call at this gate; such a waiter goes first.
        place: Where it stands.
    """

    cost: CallCost
    callers: CallerLimits | None
    priority: int
    since: float
    woken: anyio.Event = field(factory=anyio.Event)
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)
    permit: Permit | None = None
    too_large: Limit | None = None
    overtaken: int = 0
    cooled: float = 0.0
    item: object = None
    untried: bool = True
    refusal: Refusal | None = None
    place: Place = Place.NOWHERE

    @property
    def waiting(self) -> bool:
        """Return whether nothing has been decided yet."""
        return self.permit is None and self.too_large is None

    @property
    def not_before(self) -> float:
        """The instant before which it must not start, whatever the scope allows."""
        return 0.0 if self.refusal is None else self.refusal.not_before

    def renew(self) -> None:
        """Get ready to wait once more."""
        self.woken = anyio.Event()
        self.scope = anyio.CancelScope()


@define(eq=False)
class _Peers:
    """The waiters of one priority; the refused ones in the order of their refusals."""

    refused: list[Waiter] = field(factory=list)
    others: OrderedDict[Waiter, None] = field(factory=OrderedDict)

    def __iter__(self) -> Iterator[Waiter]:
        return chain(self.refused, self.others)

    def __bool__(self) -> bool:
        return bool(self.refused or self.others)

    def add(self, waiter: Waiter) -> None:
        if waiter.refusal is None:
            self.others[waiter] = None
        else:
            insort(self.refused, waiter, key=_refused_at)

    def discard(self, waiter: Waiter) -> bool:
        """Take *waiter* out; return whether it was there."""
        if waiter.refusal is None:
            if waiter not in self.others:
                return False
            del self.others[waiter]
            return True
        # Those that were refused at the same instant stand beside it.
        place = bisect_left(self.refused, _refused_at(waiter), key=_refused_at)
        while place < len(self.refused):
            if self.refused[place] is waiter:
                del self.refused[place]
                return True
            place += 1
        return False


def _refused_at(waiter: Waiter) -> float:
    return 0.0 if waiter.refusal is None else waiter.refusal.at


@define(eq=False)
class Lane:
    """The waiters of one run or pool."""

    _by_priority: dict[int, _Peers] = field(factory=dict, init=False)
    _priorities: list[int] = field(factory=list, init=False)
    _count: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Waiter]:
        # Without a generator, which is entered for each: a shared gate reads on with each demand.
        return chain.from_iterable(map(self._by_priority.__getitem__, reversed(self._priorities)))

    @property
    def head(self) -> Waiter:
        """The first; there is one."""
        return next(iter(self._by_priority[self._priorities[-1]]))

    def join(self, waiter: Waiter) -> None:
        """Take a place among those of the same priority: in front if refused before."""
        peers = self._by_priority.get(waiter.priority)
        if peers is None:
            peers = self._by_priority[waiter.priority] = _Peers()
            insort(self._priorities, waiter.priority)
        peers.add(waiter)
        self._count += 1

    def leave(self, waiter: Waiter) -> None:
        """Give the place up, if it still is there."""
        peers = self._by_priority.get(waiter.priority)
        if peers is None or not peers.discard(waiter):
            return
        self._count -= 1
        if not peers:
            del self._by_priority[waiter.priority]
            del self._priorities[bisect_left(self._priorities, waiter.priority)]
