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

_REPLIES: Final = 3
"""Replies from which on a line means something: it leads through any two."""
_EXACT: Final = 1.1
"""Ratio of the most to the least rate that the replies allow from which on it is known to 5 %."""
_SHALLOW: Final = 0.9
"""Share of the limit below which a bucket counts as smaller: *remaining* is cut to whole units."""


class Burst:
    """The line through the replies of a bucket. Live state; an odd reply begins it anew."""

    __slots__ = ("_first", "_high", "_low", "_replies")

    def __init__(self) -> None:
        self._first: Reading | None = None
        self._low, self._high = 0.0, inf  # units a second that come back, by what replies allow
        self._replies = 0

    @property
    def possible(self) -> bool:
        """Return whether the last replies may be those of a bucket, whatever it holds."""
        return self._replies >= _REPLIES and self._low > 0

    @property
    def rate(self) -> float | None:
        """Units that come back in a second, ``None`` until replies have shown it."""
        if not self.possible or self._high > _EXACT * self._low:
            return None
        return (self._low + self._high) / 2

    def smaller_than(self, amount: int | None) -> float | None:
        """Return the units that the bucket holds, if that is clearly less than *amount*."""
        rate, first = self.rate, self._first
        if rate is None or first is None or not amount:
            return None
        held = first.remaining + rate * (first.reset or 0.0)
        return held if held < _SHALLOW * amount else None

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
        self._low, self._high = low, high
        self._replies += 1

    def _begin(self, reading: Reading) -> None:
        self._first, self._replies = reading, 1
        self._low, self._high = 0.0, inf
