"""The cold start against an unknown quota: few calls in flight, then ever more."""

from __future__ import annotations

from math import inf, log2
from typing import Final

__all__ = ["FIRST_CALLS", "ColdStart"]

FIRST_CALLS: Final = 8
"""Calls in flight at the start. A server that stores no burst refuses all but one of them, and may
refuse ten in the first minute; more than a run has by default."""
_DOUBLE: Final = 0.25
"""Seconds in which the window doubles up to 100 calls. A refusal is known after one round trip,
so the overshoot is n x (2 ** (round trip / 0.25) - 1): 28 % at 90 ms."""
_PER_CONNECT: Final = 4.0
"""Times to connect that a doubling takes at least: the refusal of a call on a new connection is
known that much later, and the overshoot is 2 ** (1 / 4) - 1 = 19 % of n for it."""
_SLOWER_FROM: Final = 100
_DOUBLE_LATER: Final = 1.0
"""Seconds in which it doubles from 100 calls on: the overshoot at 600 calls is 6 % then."""
_ANSWERS: Final = 50
"""Answers one after the other that may stand for a doubling: what answers within microseconds is
a local function or a cache, and no provider that could refuse."""
_ENOUGH: Final = 100_000


class ColdStart:
    """A window of calls in flight that opens by time, place by place.

    It opens whether or not calls have been answered, since answers may take minutes, and only
    while it is what holds calls back. A refusal ends it: what is known then decides how the scope
    goes on. How many handshakes are under way at once is bounded by the connections, not here.

    Args:
        window: Calls in flight at first.
        connect_seconds: The time that a connection takes to be made; 0 if that is not known.
    """

    __slots__ = ("_blocked_at", "_quickest", "_since", "connect_seconds", "window")

    def __init__(self, window: int = FIRST_CALLS, connect_seconds: float = 0.0) -> None:
        self.window = window
        self.connect_seconds = connect_seconds
        self._since: float | None = None
        self._blocked_at = -inf
        self._quickest = inf

    def next_time(self, now: float, in_flight: int) -> float:
        """Return the instant from which one more call may start beside *in_flight*."""
        if in_flight < self.window:
            return now
        step = self._step()
        # A stretch without callers opens nothing: the clock stands still meanwhile.
        if self._since is None or now - self._blocked_at > 2 * step + _DOUBLE:
            self._since = now
        self._blocked_at = now
        while now >= self._since + step:
            self._since += step
            self.window += 1
            if in_flight < self.window:
                return now
            step = self._step()
        return self._since + step

    def on_answer(self, took: float, cap: float) -> bool:
        """Note an answer after *took* seconds; returns whether the start goes on below *cap*."""
        if took < self._quickest:
            self._quickest = took
        return self.window < min(cap, _ENOUGH)

    def _step(self) -> float:
        """Return the seconds from one place to the next: a doubling is n of them."""
        window = self.window
        double = _DOUBLE if window < _SLOWER_FROM else _DOUBLE_LATER
        double = max(double, _PER_CONNECT * self.connect_seconds)
        return min(double, _ANSWERS * self._quickest) * log2((window + 1) / window)
