"""The calls that were booked and never left, without which the others' places are counted."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from batchllm.policy.units import NO_UNITS, Units, total

__all__ = ["Releases"]

_MOST: Final = 256
"""Releases that are kept: only those count that came while a call was under way, and a server that
takes no connections is paused after twenty."""


class _Release(NamedTuple):
    number: int
    last: int
    units: Units


class Releases:
    """Knows how far a call has moved up since it was booked. Live state.

    A reply says what is left after its own call, so what was sent later is counted from the place
    of that one. Calls before it that were given back meanwhile are a part of the place that it had
    when it was booked, and no part of what is counted as sent now.
    """

    __slots__ = ("_all",)

    def __bool__(self) -> bool:
        return bool(self._all)

    def __init__(self) -> None:
        self._all: deque[_Release] = deque(maxlen=_MOST)

    def add(self, number: int, last: int, units: Units) -> None:
        """Note that the call with *number* was given back when *last* was the newest one."""
        self._all.append(_Release(number, last, units))

    def before(self, number: int) -> Units:
        """Return the units by which the call with *number* has moved up."""
        freed = NO_UNITS
        for one in reversed(self._all):
            if one.last < number:
                break
            if one.number < number:
                freed = total(freed, one.units)
        return freed
