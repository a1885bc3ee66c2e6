"""The cold start against a quota that nobody told: few calls in flight, then ever more."""

from __future__ import annotations

from typing import Final

__all__ = ["Ramp"]

_ROUND: Final = 0.25
"""Seconds that a round lasts at least: what a burst too many costs is what is in flight then."""
_ENOUGH: Final = 100_000


class Ramp:
    """A window of calls in flight that doubles with every clean round trip.

    Every answer makes room for one more, so that the window opens at the pace of the answers and
    not by a burst; within one round it no more than doubles.

    Args:
        window: How many calls may be in flight at first.
    """

    __slots__ = ("_answers", "_base", "_since", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self._base = window
        self._answers = 0
        self._since: float | None = None

    def on_ok(self, now: float, cap: float) -> bool:
        """Note a success; returns whether the ramp still goes on below *cap* calls in flight."""
        if self._since is None:
            self._since = now
        self._answers += 1
        if self.window < 2 * self._base:
            self.window += 1
        if self._answers >= self._base and now >= self._since + _ROUND:
            self._base, self._answers, self._since = self.window, 0, now
        return self.window < min(cap, _ENOUGH)
