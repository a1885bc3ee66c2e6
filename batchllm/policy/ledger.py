"""The record of what was taken of one limit within its window, as columns of whole numbers.

A shared quota reads and writes its ledgers at every lease. As columns they are a few kilobytes that
are copied as they are; an object for each of a thousand entries took four fifths of a lease.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Final

__all__ = ["Ledger"]

_SPARE: Final = 512
"""Forgotten entries that stand in front at most: they are deleted in one go, since each deletion
moves all that stand behind."""


class Ledger:
    """The entries of one bucket, oldest first. Live state; instants are whole nanoseconds.

    What was taken within *granularity* of an entry's first instant is added to it; it counts until
    the entry's last instant is forgotten.

    Args:
        granularity: Nanoseconds that one entry spans.

    Attributes:
        total: The units of all entries.
    """

    __slots__ = ("_base", "_begun", "_cost", "_granularity", "_last", "_start", "total")

    def __init__(self, granularity: int) -> None:
        self._granularity = granularity
        self._begun, self._last, self._cost = array("q"), array("q"), array("q")
        self._start = 0
        self._base = 0
        """The number of the entry that stands first in the columns."""
        self.total = 0

    def book(self, clock: int, cost: int) -> int:
        """Add *cost* at *clock*; returns the number of its entry."""
        begun = self._begun
        if self._start == len(begun) or clock - begun[-1] > self._granularity:
            begun.append(clock)
            self._last.append(clock)
            self._cost.append(cost)
        else:
            self._last[-1] = clock
            self._cost[-1] += cost
        self.total += cost
        return self._base + len(begun) - 1

    def change(self, entry: int, difference: int) -> None:
        """Add *difference* to an entry, as far as it still counts."""
        place = entry - self._base
        if place >= self._start:
            self._cost[place] += difference
            self.total += difference

    def taken_at(self, clock: int, slack: int) -> tuple[int, int] | None:
        """Return the number and the units of the entry that *clock* lies in, if there is one."""
        place = bisect_right(self._begun, clock + slack, self._start) - 1
        if place < self._start or clock > self._last[place] + slack:
            return None
        return self._base + place, self._cost[place]

    def frees(self, excess: int) -> int | None:
        """Return the last instant of the entry without which *excess* units are free."""
        for place in range(self._start, len(self._cost)):
            excess -= self._cost[place]
            if excess <= 0:
                return self._last[place]
        return None

    def forget(self, until: int) -> None:
        """Count no entry any more whose last instant is *until* or earlier."""
        last, start, count = self._last, self._start, len(self._last)
        while start < count and last[start] <= until:
            self.total -= self._cost[start]
            start += 1
        self._start = start
        if start > _SPARE:
            self._drop(start)

    def dump(self) -> bytes:
        """Return the entries as bytes; ``load`` takes them in again, on any machine of its kind."""
        self._drop(self._start)
        return b"".join((self._begun, self._last, self._cost))

    def load(self, packed: bytes, total: int) -> None:
        """Go on from what ``dump`` returned, of *total* units."""
        third = len(packed) // 3
        for place, column in enumerate((self._begun, self._last, self._cost)):
            column.frombytes(packed[place * third : (place + 1) * third])
        self.total = total

    def _drop(self, count: int) -> None:
        for column in (self._begun, self._last, self._cost):
            del column[:count]
        self._base += count
        self._start = 0
