"""The burst of a reported limit: what its bucket holds, which may be less than the limit itself.

A bucket that refills all the time is full again in proportion to what is missing. So between any
two replies *remaining* falls by the same number of units for each second by which *reset* rises,
and where the reset is nothing it is all that the bucket holds. In the replies of a window both
fall together, so that no such line leads through them.
"""

from __future__ import annotations

from math import inf
from typing import Final

from batchllm.policy.reported.reading import COARSE, Reading

__all__ = ["Burst"]

_POINTS: Final = 3
"""Different rests from which on a line may mean something: it leads through any two."""
_SURE: Final = 16
"""Different rests from which on it does: eight of a small sliding log lie on one by chance."""
_WHOLE: Final = 0.8
"""Share of a bucket too small for so many whose rests do: some fall between two replies."""
_LONG: Final = 48
"""Replies on the line of such a bucket: those of a log that is seldom used up fit for a while."""
_FEWEST: Final = 8
"""Rests that such a bucket has at least: a busy log shows four or five again and again."""
_FULL: Final = 2.0
"""Units that a bucket lacks at most where it counts as seen full: the call, and a cut one."""
_EXACT: Final = 1.1
"""Ratio of the most to the least rate that the replies allow from which on the rate is known."""
_USUAL: Final = (1.0, 60.0, 3600.0, 86_400.0)
"""Seconds in which servers count: one of them is meant where the replies allow it."""
_SHALLOW: Final = 0.9
"""Share of the limit below which a bucket counts as smaller: *remaining* is cut to whole units."""


class Burst:
    """The line through the replies of a bucket. Live state; an odd reply begins it anew."""

    __slots__ = ("_first", "_high", "_least", "_low", "_replies", "_rests")

    def __init__(self) -> None:
        self._first: Reading | None = None
        self._low, self._high = 0.0, inf  # units a second that come back, by what replies allow
        self._rests: set[float] = set()
        self._least = inf  # seconds until it was full, at the least
        self._replies = 0

    @property
    def possible(self) -> bool:
        """Return whether the last replies may be those of a bucket, whatever it holds."""
        return len(self._rests) >= _POINTS and self._low > 0

    @property
    def sure(self) -> bool:
        """Return whether so many points lie on the line that it is no chance."""
        return self._low > 0 and (len(self._rests) >= _SURE or self._is_whole)

    @property
    def _is_whole(self) -> bool:
        """Return whether a small bucket was seen full, and on nearly each step down from there.

        A saturated log lies on a line by chance only where it is nearly used up.
        """
        if self._replies < _LONG or self._least * self._high > _FULL:
            return False
        return len(self._rests) >= max(_FEWEST, _WHOLE * self._held(self._high))

    def is_smaller_than(self, amount: int | None) -> bool:
        """Return whether the line is one of a bucket that holds clearly less than *amount*."""
        return bool(self.possible and amount and self._held(self._high) < _SHALLOW * amount)

    def period(self, amount: int) -> float | None:
        """Return the seconds in which *amount* comes back, ``None`` until replies show it."""
        if not self.sure or self._high > _EXACT * self._low:
            return None
        for usual in _USUAL:
            if self._low <= amount / usual <= self._high:
                return usual
        return 2 * amount / (self._low + self._high)

    def holds(self, amount: int) -> float:
        """Return the units that are there at once at most."""
        period = self.period(amount)
        return self._held(self._high if period is None else amount / period)

    def _held(self, rate: float) -> float:
        first = self._first
        return inf if first is None else first.remaining + 1 + rate * (first.reset or 0.0)

    def add(self, reading: Reading) -> None:
        """Take in a reply; one in whole seconds, or with a rounded rest, shows no line."""
        reset, first = reading.reset, self._first
        if reset is None or reading.resolution >= COARSE or reading.margin:
            return
        if first is None or first.amount != reading.amount:
            self._begin(reading)
            return
        more, fewer = reset - (first.reset or 0.0), first.remaining - reading.remaining
        if more < 0:
            more, fewer = -more, -fewer
        off = max(first.resolution, reading.resolution)
        low = max(self._low, (fewer - 1) / (more + off))
        high = min(self._high, (fewer + 1) / (more - off)) if more > off else self._high
        if low > high or high <= 0:
            self._begin(reading)
            return
        self._low, self._high, self._least = low, high, min(self._least, reset)
        self._replies += 1
        if len(self._rests) < _SURE:
            self._rests.add(reading.remaining)

    def _begin(self, reading: Reading) -> None:
        self._first, self._rests = reading, {reading.remaining}
        self._low, self._high = 0.0, inf
        self._least, self._replies = inf if reading.reset is None else reading.reset, 1
