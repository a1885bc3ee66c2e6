"""The calls that were booked and never left, without which the others' places are counted."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from batchllm.core import CallCost

__all__ = ["Releases"]

_MOST: Final = 256
"""Releases that are kept: only those count that came while a call was under way, and a server that
takes no connections is paused after twenty."""


class _Release(NamedTuple):
    number: int
    last: int
    cost: CallCost


class Releases:
    """Knows how far a call has moved up since it was booked. Live state.

    A reply says what is left after its own call, so what was sent later is counted from the place
    of that one. Calls before it that were given back meanwhile are a part of the place that it had
    when it was booked, and no part of what is counted as sent now.
    """

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: deque[_Release] = deque(maxlen=_MOST)

    def add(self, number: int, last: int, cost: CallCost) -> None:
        """Note that the call with *number* was given back when *last* was the newest one."""
        self._all.append(_Release(number, last, cost))

    def before(self, number: int) -> tuple[int, int, int]:
        """Return requests and tokens, in and out, by which the call with *number* has moved up."""
        requests = given = produced = 0
        for one in reversed(self._all):
            if one.last < number:
                break
            if one.number < number:
                requests += one.cost.requests
                given += one.cost.input_tokens
                produced += one.cost.output_tokens
        return requests, given, produced
