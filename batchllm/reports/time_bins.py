"""Counts over time, in bins that grow wider as the time grows longer. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from attrs import define, field

__all__ = ["TimeBins"]

_FIRST_WIDTH: Final = 0.1
"""Seconds; no finer course is seen on a plot of a run that is worth one."""
_MOST: Final = 240
"""Bins that are kept; twice as many as are drawn, so that widening loses no detail."""
_DRAWN: Final = 120
_FEWEST: Final = 24
_ENOUGH: Final = 8.0
"""Events per bin below which a course is mostly noise."""


@define(eq=False)
class TimeBins:
    """Adds up several numbers over time, in memory that does not grow with it.

    Args:
        size: How many numbers there are.

    Attributes:
        width: Seconds per bin.
    """

    size: int
    width: float = field(default=_FIRST_WIDTH, init=False)
    _sums: list[list[float]] = field(factory=list, init=False)

    def add(self, at: float, numbers: Sequence[float]) -> None:
        """Add *numbers* at a time in seconds; one before 0 counts as 0."""
        place = int(max(0.0, at) / self.width)
        while place >= _MOST:
            self._widen()
            place = int(max(0.0, at) / self.width)
        while len(self._sums) <= place:
            self._sums.append([0.0] * self.size)
        sums = self._sums[place]
        for n, number in enumerate(numbers):
            sums[n] += number

    def _widen(self) -> None:
        """Put each two neighbours together."""
        pairs = [self._sums[n : n + 2] for n in range(0, len(self._sums), 2)]
        self._sums = [[sum(both) for both in zip(*pair, strict=True)] for pair in pairs]
        self.width *= 2

    def rates(self, length: float = inf) -> tuple[list[float], list[list[float]]]:
        """Return the middle of each bin, and of each number its amount per second there.

        The bins are so wide that they can be drawn, and that the first number is no mere noise.

        Args:
            length: Seconds after which nothing could happen; the last bin reaches no further.
        """
        events = sum(sums[0] for sums in self._sums)
        while len(self._sums) > _DRAWN or (
            len(self._sums) > _FEWEST and events / len(self._sums) < _ENOUGH
        ):
            self._widen()
        sums = self._sums
        count, width = len(sums), self.width
        last = min(width, length - (count - 1) * width)  # seconds that the last bin covers
        if count > 1 and last < width / 4:
            # Of so short a time any rate is chance, so it belongs to the bin before.
            sums = [*sums[:-2], [sum(both) for both in zip(*sums[-2:], strict=True)]]
            count, last = count - 1, width + max(0.0, last)
        widths = [width] * (count - 1) + [max(last, width / 4)] * bool(count)
        middles = [n * width + own / 2 for n, own in enumerate(widths)]
        columns = [
            [one[n] / own for one, own in zip(sums, widths, strict=True)] for n in range(self.size)
        ]
        return middles, columns
