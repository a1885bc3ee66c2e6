"""The items that a report shows one by one: the slowest, failures of each kind, others. Pure."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Final

from attrs import define, field

from batchllm.reports.counting import Seen

__all__ = ["Picker"]

_MOST: Final = 1_000
"""Items that a browser filters between two keystrokes."""
_PER_KIND: Final = 25
_MOST_FAILURES: Final = 250
_SEED: Final = 0
"""Two reports of one run show the same items."""


@define(eq=False)
class Picker:
    """Picks items: all if there are few, else some failures of each kind and others by chance.

    Only their numbers are kept, so a million items cost no more than a thousand.

    Args:
        most: Items that are picked.
    """

    most: int = _MOST
    _seen: int = field(default=0, init=False)
    _drawn: list[int] = field(factory=list, init=False)
    _failed: dict[str, list[int]] = field(factory=lambda: defaultdict(list), init=False)
    _failures: int = field(default=0, init=False)
    _rng: random.Random = field(factory=lambda: random.Random(_SEED), init=False)

    def add(self, seen: Seen) -> None:
        """Consider one more item."""
        if not seen.success and self._failures < _MOST_FAILURES:
            same = self._failed[seen.kind]
            if len(same) < _PER_KIND:
                same.append(seen.number)
                self._failures += 1
        self._seen += 1
        if len(self._drawn) < self.most:
            self._drawn.append(seen.number)
            return
        place = self._rng.randrange(self._seen)  # so that each item has the same chance
        if place < self.most:
            self._drawn[place] = seen.number

    def picked(self, first: list[int]) -> list[int]:
        """Return the numbers of the items, in their order.

        Args:
            first: Numbers that are among them in any case.
        """
        wanted = dict.fromkeys([*first, *(n for same in self._failed.values() for n in same)])
        for number in self._drawn:
            if len(wanted) >= self.most:
                break
            wanted[number] = None
        return sorted(wanted)
