"""The calls that wait at one gate, in lanes: one for each run or pool that shares it.

Lanes take turns, so that a run with a thousand waiters does not hold up another with one; within
a lane those with the higher priority go first, then those that were refused before, then those
who came first. A call that does not fit may be passed by smaller ones, so that the room is used,
but by 200 at most. A call whose server asked it to wait stands aside until that time is over, and
none waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Final

from attrs import define, field

from batchllm.core import CallCost
from batchllm.gate.callers import Advances, CallerLimits
from batchllm.gate.lane import Lane, Place, Waiter
from batchllm.policy import Limit, RateLimiter

__all__ = ["WaitQueue", "oversize"]

_LOOK_AHEAD: Final = 64
"""Waiters of a lane that are looked at if the first does not fit; bounds the cost of a permit."""
_MOST_OVERTAKES: Final = 200
"""Smaller calls that may pass a large one; then room is kept for it, or it might never start."""
_LEAST: Final = CallCost(1, 1, 0)


@define(eq=False)
class WaitQueue:
    """The queue of one gate: who waits, and who is next.

    Args:
        limiter: Decides what may start.
        gate: Asked by callers to plan anew when they have room again.

    Attributes:
        untried: Those who wait whose items were never called.
        empty: Whether no call waits; kept, since every call asks for it twice.
    """

    limiter: RateLimiter
    gate: Advances
    untried: int = field(default=0, init=False)
    empty: bool = field(default=True, init=False)
    _lanes: dict[CallerLimits | None, Lane] = field(factory=dict, init=False)
    _aside: list[tuple[float, int, Waiter]] = field(factory=list, init=False)
    _gone: int = field(default=0, init=False)
    """Entries of ``_aside`` whose waiters have left; the first is never one of them."""
    _serial: int = field(default=0, init=False)

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values())) + len(self._aside) - self._gone

    def __bool__(self) -> bool:
        return not self.empty

    def __iter__(self) -> Iterator[Waiter]:
        for lane in self._lanes.values():
            yield from lane
        for _, _, waiter in self._aside:
            if waiter.place is Place.ASIDE:
                yield waiter

    def wanted(self, most: int) -> list[CallCost]:
        """Return the costs of the first *most* calls that only the scope holds back."""
        costs = list[CallCost]()
        for callers, lane in self._in_turn():
            room = most if callers is None else callers.calls - callers.in_flight
            room = max(0, min(room, most - len(costs)))
            costs += [waiter.cost for waiter in islice(lane, room)]
        return costs

    def has_ready(self, now: float) -> bool:
        """Return whether a waiter is held back by its scope, and not by a hint of its own."""
        return bool(self._lanes) or (bool(self._aside) and self._aside[0][0] <= now)

    def first_untried(self) -> Waiter | None:
        """Return the first whose item was never called, else the first of all."""
        first: Waiter | None = None
        for _, lane in self._in_turn():
            for waiter in lane:
                if waiter.untried:
                    return waiter
                first = first or waiter
                if not self.untried:
                    return first
        return first

    def join(self, waiter: Waiter, now: float) -> None:
        """Take a place."""
        self.untried += waiter.untried
        self.empty = False
        if waiter.not_before > now:
            self._serial += 1  # waiters cannot be compared
            waiter.place = Place.ASIDE
            heappush(self._aside, (waiter.not_before, self._serial, waiter))
        else:
            self._join_lane(waiter)

    def _join_lane(self, waiter: Waiter) -> None:
        waiter.place = Place.LANE
        lane = self._lanes.get(waiter.callers)
        if lane is None:
            lane = self._lanes[waiter.callers] = Lane()
        lane.join(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Give the place up, if it still is there."""
        place, waiter.place = waiter.place, Place.NOWHERE
        if place is Place.NOWHERE:
            return
        self.untried -= waiter.untried
        if place is Place.ASIDE:
            self._gone += 1
            self._clear_aside()
        else:
            lane = self._lanes[waiter.callers]
            lane.leave(waiter)
            if not lane:
                del self._lanes[waiter.callers]
        self.empty = not (self._lanes or self._aside)

    def call_up(self, now: float) -> float:
        """Let those go to their lanes whose own time has come; return when the next one's does."""
        while self._aside and self._aside[0][0] <= now:
            self._join_lane(heappop(self._aside)[2])
            self._clear_aside()
        return self._aside[0][0] if self._aside else math.inf

    def _clear_aside(self) -> None:
        """Forget those who left: in front at once, the others as soon as they are the most.

        To look for each as it leaves would take time with the number of those that stand there.
        """
        aside = self._aside
        if self._gone * 2 > len(aside):
            self._aside = [entry for entry in aside if entry[2].place is Place.ASIDE]
            heapify(self._aside)
            self._gone = 0
        while self._gone and self._aside[0][2].place is not Place.ASIDE:
            heappop(self._aside)
            self._gone -= 1

    def choose(self, now: float) -> tuple[Waiter | None, float]:
        """Return the waiter to be decided on now; else ``None``, and when one may start."""
        earliest = self.call_up(now)
        stuck: list[Waiter] = []
        for callers, lane in self._in_turn():
            if callers is not None and callers.full:
                callers.waits_at(self.gate)
                continue
            chosen, at, closed = self._choose_in(lane, callers, now)
            if chosen is not None:
                for waiter in stuck:
                    waiter.overtaken += 1
                self._lanes[callers] = self._lanes.pop(callers)  # its turn comes last again
                return chosen, now
            earliest = min(earliest, at)
            if closed:
                break
            if self.limiter.next_time(now, lane.head.cost) > now:
                stuck.append(lane.head)
        return None, earliest

    def _choose_in(
        self, lane: Lane, callers: CallerLimits | None, now: float
    ) -> tuple[Waiter | None, float, bool]:
        """Choose in one lane; the last part of the answer is whether no other may pass either."""
        head = lane.head
        at = self._next_time(now, head.cost, callers)
        if at <= now or self._is_oversized(head, at):
            return head, now, False
        if self.limiter.cooling:
            return None, at, True
        if head.overtaken >= _MOST_OVERTAKES:
            return None, at, self.limiter.next_time(now, head.cost) > now
        least = self._next_time(now, _LEAST, callers)
        if least > now:  # so none fits, whatever the cost
            return None, min(at, least), False
        return self._look_ahead(lane, callers, now, at)

    def _look_ahead(
        self, lane: Lane, callers: CallerLimits | None, now: float, earliest: float
    ) -> tuple[Waiter | None, float, bool]:
        tried = {lane.head.cost}
        for place, waiter in enumerate(islice(lane, 1, _LOOK_AHEAD), 1):
            if waiter.cost not in tried:
                at = self._next_time(now, waiter.cost, callers)
                if at <= now or self._is_oversized(waiter, at):
                    for passed in islice(lane, place):
                        passed.overtaken += 1
                    return waiter, now, False
                tried.add(waiter.cost)
                earliest = min(earliest, at)
            if waiter.overtaken >= _MOST_OVERTAKES:
                break
        return None, earliest, False

    def _in_turn(self) -> list[tuple[CallerLimits | None, Lane]]:
        lanes = list(self._lanes.items())
        if len(lanes) > 1:
            lanes.sort(key=lambda lane: -lane[1].head.priority)
        return lanes

    def _next_time(self, now: float, cost: CallCost, callers: CallerLimits | None) -> float:
        ours = self.limiter.next_time(now, cost)
        if callers is None or ours == math.inf:
            return ours
        theirs = callers.next_time(now, cost)
        if theirs > now:
            callers.waits_at(self.gate)
        return max(ours, theirs)

    def _is_oversized(self, waiter: Waiter, at: float) -> bool:
        if at == math.inf:
            waiter.too_large = oversize(self.limiter, waiter.callers, waiter.cost)
        return waiter.too_large is not None


def oversize(limiter: RateLimiter, callers: CallerLimits | None, cost: CallCost) -> Limit | None:
    """Return the limit that *cost* can never pass, at the gate or among the caller's own."""
    limit = limiter.oversize(cost)
    if limit is None and callers is not None and callers.limiter is not None:
        return callers.limiter.oversize(cost)
    return limit
