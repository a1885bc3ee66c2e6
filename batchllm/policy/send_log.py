"""The record of what one scope sent and what was refused: how much was accepted between when.

Accepted calls are not counted one by one. A call is accepted unless it was refused, so what a
server accepted between two points is what was sent there less what was refused of it; calls on
their way count as accepted until they are refused.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from typing import Final

from attrs import define, field, frozen

__all__ = ["SHORTEST", "Point", "SendLog"]

KEPT: Final = 1800.0
"""Seconds that are remembered: two of the longest windows, which are as long as `park_after`, since
a window shows its length by two recoveries."""
_TICK: Final = 0.25
"""Seconds between two remembered instants: 0.4 % of the minute that is looked back on most."""
SHORTEST: Final = 0.05
"""Seconds that a rate is measured over at least: the shortest round trip."""


@frozen
class Point:
    """An instant, and the number of calls that had been sent before it."""

    at: float
    mark: int


@define(eq=False)
class SendLog:
    """The calls sent and refused in the last half hour. Live state, for one clock.

    Args:
        tick: Seconds between two remembered instants.
    """

    tick: float = field(default=_TICK, kw_only=True)
    count: int = field(default=0, init=False)
    first: Point | None = field(default=None, init=False)
    last_at: float = field(default=0.0, init=False)
    _times: array[float] = field(factory=lambda: array("d"), init=False)
    _marks: array[int] = field(factory=lambda: array("q"), init=False)
    """Of each remembered instant the number of calls before it: columns, since the state of a quota
    that is shared is copied at every lease."""
    _lost: array[int] = field(factory=lambda: array("q"), init=False)

    def on_send(self, now: float) -> int:
        """Note a call that starts at *now*; returns its number."""
        mark = self.count
        self.count = mark + 1
        self.last_at = now
        times = self._times
        if not times or now >= times[-1] + self.tick:
            if self.first is None:
                self.first = Point(now, mark)
            times.append(now)
            self._marks.append(mark)
            if times[0] < now - KEPT - 1:
                self._forget(bisect_left(times, now - KEPT - 1))
        return mark

    def on_lost(self, mark: int) -> None:
        """Note that call *mark* was not accepted: it was refused, or never left."""
        insort(self._lost, mark)

    def accepted(self, begin: Point, end: Point) -> int:
        """Return how many of the calls sent from *begin* to *end* were accepted."""
        if end.mark <= begin.mark:
            return 0
        lost = bisect_left(self._lost, end.mark) - bisect_left(self._lost, begin.mark)
        return end.mark - begin.mark - lost

    def measure(self, begin: Point, end: Point) -> tuple[int, float]:
        """Return how many calls were accepted from *begin* to *end*, and their rate."""
        accepted = self.accepted(begin, end)
        return accepted, accepted / max(end.at - begin.at, SHORTEST)

    def point(self, when: float) -> Point:
        """Return the point at instant *when*, to a tick."""
        at = bisect_left(self._times, when)
        return Point(when, self._marks[at] if at < len(self._marks) else self.count)

    def now(self, at: float) -> Point:
        """Return the point at *at*, which is now."""
        return Point(at, self.count)

    def restart(self) -> None:
        """Forget the first send, so that the next measurement begins anew."""
        self.first = None
        del self._times[:], self._marks[:]

    def _forget(self, count: int) -> None:
        """Forget the first *count* instants, and what was lost before them."""
        del self._lost[: bisect_left(self._lost, self._marks[count - 1])]
        del self._times[:count], self._marks[:count]
