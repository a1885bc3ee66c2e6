"""Quantiles of a stream of durations, in memory that does not grow with it."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

__all__ = ["Quantiles"]

_GROWTH: Final = 1.04
_LEAST: Final = 1e-6
_BINS: Final = math.ceil(math.log(1e12, _GROWTH))


class Quantiles:
    """Counts values in bins whose width grows with the value, 4 % from one to the next.

    A quantile is therefore right to 2 %, whatever the distribution, between a microsecond and
    ten days; beyond, it is the nearest of these.

    Attributes:
        count: Values so far.
        total: Their sum.
        most: The largest.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.most = 0.0
        self._bins: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count one more *value*, in seconds; one below 0 counts as 0."""
        value = max(0.0, value)
        self.count += 1
        self.total += value
        self.most = max(self.most, value)
        above = math.log(value / _LEAST, _GROWTH) if value > _LEAST else 0.0
        self._bins[min(math.ceil(above), _BINS)] += 1

    @property
    def mean(self) -> float:
        """The mean; 0 while there is no value."""
        return self.total / self.count if self.count else 0.0

    def at(self, share: float) -> float:
        """Return the value below which *share* (0-1) of all values are; 0 without any value."""
        rank, seen = max(1, math.ceil(share * self.count)), 0
        for place in sorted(self._bins):
            seen += self._bins[place]
            if seen >= rank:
                middle = _LEAST * _GROWTH ** (place - 0.5) if place else 0.0
                return min(middle, self.most)
        return 0.0

    def grouped(self, most: int) -> list[tuple[float, float, int]]:
        """Return the values in at most *most* bins, each ``(low, high, count)``.

        Between the first and the last bin none is left out, so that they can be drawn; their
        widths grow with the values. Values of 0 have a bin of their own, from 0 to 0.
        """
        zeros = self._bins.get(0, 0)
        found = [(0.0, 0.0, zeros)] if zeros else []
        places = sorted(place for place in self._bins if place)
        if not places:
            return found
        first, last = places[0], places[-1]
        width = math.ceil((last - first + 1) / max(1, most - len(found)))
        for low in range(first, last + 1, width):
            count = sum(self._bins.get(place, 0) for place in range(low, low + width))
            edges = [_LEAST * _GROWTH ** (place - 1) for place in (low, low + width)]
            found.append((edges[0], edges[1], count))
        return found
