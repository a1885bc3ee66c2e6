"""The cold start against a quota that nobody told: few calls in flight, then ever more."""

from __future__ import annotations

from typing import Final

__all__ = ["Ramp"]

_ROUND: Final = 0.25
"""Seconds that a round lasts: what a burst too many costs is what is in flight then."""
_ROUNDS: Final = 50
"""Answers one after the other that fill a round: what takes no time at all is no provider."""
_QUIET: Final = 16.0
"""Seconds in which the window doubles while calls are neither answered nor refused."""
_ENOUGH: Final = 100_000


class Ramp:
    """A window of calls in flight that doubles with every clean round trip.

    Every answer makes room for one more, so that the window opens at the pace of the answers and
    not by a burst; within one round it no more than doubles. A round lasts a quarter of a second,
    and less only where an answer takes no time to speak of: a local function, a cache. Where
    answers take long the window opens on time alone, place by place.

    Args:
        window: How many calls may be in flight at first.
    """

    __slots__ = ("_answers", "_base", "_since", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self._base = window
        self._answers = 0
        self._since: float | None = None

    def next_time(self, now: float, in_flight: int) -> float:
        """When one more call may start beside *in_flight*, if no answer comes before that."""
        if in_flight < self.window:
            return now
        if self._since is None:
            self._since = now
        share = (in_flight + 1 - self._base) / self._base
        at = self._since + share * _QUIET
        if now < at:
            return at
        self.window = in_flight + 1
        if self.window >= 2 * self._base:
            self._begin_round(now)
        return now

    def on_ok(self, now: float, cap: float, took: float) -> bool:
        """Note a success after *took* seconds.

        Returns:
            Whether the ramp still goes on below *cap* calls in flight.
        """
        if self._since is None:
            self._since = now
        self._answers += 1
        if self.window < 2 * self._base:
            self.window += 1
        if self._answers >= self._base and now >= self._since + min(_ROUND, _ROUNDS * took):
            self._begin_round(now)
        return self.window < min(cap, _ENOUGH)

    def _begin_round(self, now: float) -> None:
        self._base, self._answers, self._since = self.window, 0, now
