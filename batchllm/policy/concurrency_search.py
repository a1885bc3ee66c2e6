"""The search for the right number of calls in flight, for servers that queue instead of refusing.

A server of one's own (vLLM, Ollama) answers ever later once it is full, and no quota says so.
While more calls in flight mean more answers a second, latency hardly rises; beyond, it rises in
proportion. The limit goes to where a round's mean latency is half as long again as the best one.
A server that refuses the call too many (a cap on concurrency) cuts the limit once per round.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Final

__all__ = ["ConcurrencySearch"]

_TOLERANCE: Final = 1.5
_SMOOTHING: Final = 0.3
_FORGETTING: Final = 1.01
_CUT: Final = 0.8
_SHORTEST_ROUND: Final = 10


class ConcurrencySearch:
    """Finds how many calls in flight a server serves well. Live state, for one scope.

    Args:
        start: The limit at first.
        longest: The limit that is never exceeded.
    """

    __slots__ = ("_best", "_limit", "_longest", "_peak", "_round_from", "_samples", "_total")

    def __init__(self, start: int = 8, longest: int = 1000) -> None:
        self._limit = float(start)
        self._longest = longest
        self._best = inf
        self._samples = 0
        self._total = 0.0
        self._peak = 0
        self._round_from = -inf

    @property
    def limit(self) -> int:
        """Return how many calls may be in flight."""
        return max(1, int(self._limit))

    def on_ok(self, now: float, sent_at: float, in_flight: int) -> None:
        """Note an answer to a call sent at *sent_at*, while *in_flight* calls were under way."""
        if sent_at < self._round_from:
            return  # it shared the server with another number of calls
        self._samples += 1
        self._total += now - sent_at
        self._peak = max(self._peak, in_flight)
        if self._samples >= max(_SHORTEST_ROUND, self._limit):
            self._end_round(now)

    def on_refused(self, now: float, sent_at: float) -> None:
        """Note that a call sent at *sent_at* was one too many."""
        if sent_at >= self._round_from:
            self._limit = max(1.0, self._limit * _CUT)
            self._start_round(now)

    def _end_round(self, now: float) -> None:
        mean = self._total / self._samples
        self._best = min(self._best * _FORGETTING, mean)
        gradient = min(1.0, max(0.5, _TOLERANCE * self._best / mean)) if mean > 0 else 1.0
        target = self._limit * gradient + sqrt(self._limit)
        used = self._peak >= 0.8 * self.limit
        if target < self._limit or used:
            moved = self._limit + _SMOOTHING * (target - self._limit)
            self._limit = min(float(self._longest), max(1.0, moved))
        self._start_round(now)

    def _start_round(self, now: float) -> None:
        self._round_from = now
        self._samples, self._total, self._peak = 0, 0.0, 0
