"""The search for the right number of calls in flight, for servers that queue instead of refusing.

A server of one's own (vLLM, Ollama) answers ever later once it is full, and no quota says so.
The search begins by doubling the number for as long as that brings a good part more answers a
second: a server that works on a batch at once gains from more calls although each of them takes
longer. From there latency is watched. While more calls in flight mean more answers a second, it
hardly rises; beyond, it rises in proportion. The limit goes to where a round's mean latency is
half as long again as the best one. A server that refuses the call too many (a cap on concurrency)
cuts the limit once per round.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Final

__all__ = ["ConcurrencySearch"]

_GAIN: Final = 1.2
"""Times as many answers a second as a doubling has to bring. If a step of a batch takes 1 + n / c,
the doublings up to 4 c bring that, and the last of them has 67 to 80 % of what an endless batch
would give; a server with places for fewer calls gains nothing. A mean of 64 answers whose lengths
are as spread as their mean is uncertain by 12 %, so a failed doubling is looked at twice."""
_LOOKS: Final = 2
_RISING_ROUND: Final = 48
"""Answers of a round while it rises. Measured with 2,000 items on a simulated server whose batch is
worth 256 calls, the worst of twelve seeds: 182 s with 10, 81 with 32, 52 with 48, 57 with 64; a
fixed cap of 256 takes 26 s, the search without a rise 118."""
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
        rising: Whether to begin by doubling it, which is over once a doubling brings little.
    """

    __slots__ = (
        "_best", "_counted_from", "_limit", "_longest", "_looks", "_peak", "_rising",
        "_round_from", "_samples", "_step", "_total",
    )  # fmt: skip

    def __init__(self, start: int = 8, longest: int = 1000, *, rising: bool = True) -> None:
        self._limit = float(start)
        self._longest = longest
        self._rising = rising
        self._looks = 1
        self._step: tuple[float, float] | None = None  # the last limit that paid, and its latency
        self._best = inf
        self._round_from = self._counted_from = -inf
        self._samples, self._total, self._peak = 0, 0.0, 0

    @property
    def limit(self) -> int:
        """Return how many calls may be in flight."""
        return max(1, int(self._limit))

    def on_ok(self, now: float, sent_at: float, in_flight: int) -> None:
        """Note an answer to a call sent at *sent_at*, while *in_flight* calls were under way."""
        if sent_at < self._counted_from:
            return  # it shared the server with another number of calls
        self._samples += 1
        self._total += now - sent_at
        self._peak = max(self._peak, in_flight)
        shortest = _RISING_ROUND if self._rising else _SHORTEST_ROUND
        if self._samples >= self._looks * max(shortest, self._limit):
            self._end_round(now)

    def on_refused(self, now: float, sent_at: float) -> None:
        """Note that a call sent at *sent_at* was one too many."""
        if sent_at >= self._round_from:
            self._rising, self._looks = False, 1
            self._limit = max(1.0, self._limit * _CUT)
            self._start_round(now)

    def _end_round(self, now: float) -> None:
        mean = self._total / self._samples
        used = self._peak >= 0.8 * self.limit
        if self._rising and used:
            self._rise(now, mean)
            return
        self._best = min(self._best * _FORGETTING, mean)
        gradient = min(1.0, max(0.5, _TOLERANCE * self._best / mean)) if mean > 0 else 1.0
        target = self._limit * gradient + sqrt(self._limit)
        if target < self._limit or used:
            self._rising = self._rising and target >= self._limit  # else it is too high already
            moved = self._limit + _SMOOTHING * (target - self._limit)
            self._limit = min(float(self._longest), max(1.0, moved))
        self._start_round(now)

    def _rise(self, now: float, mean: float) -> None:
        """Double the limit, or go back to the last one if this doubling brought little."""
        step = self._step
        # By Little's law the answers a second are the calls in flight over their mean latency.
        calls = min(self._limit, float(self._peak))
        if step is None or calls * step[1] >= _GAIN * step[0] * mean:
            self._step = calls, mean
            self._best = mean
            before, self._limit = self._limit, min(float(self._longest), self._limit * 2)
            self._rising = self._limit > before
            self._looks = 1
            self._start_round(now)
            # For about one latency the server still works on fewer: such calls look too quick.
            self._counted_from = now + mean
        elif self._looks < _LOOKS:
            self._looks += 1  # the answers of both looks count together
        else:
            self._limit, self._best = step
            self._rising, self._looks = False, 1
            self._start_round(now)

    def _start_round(self, now: float) -> None:
        self._round_from = self._counted_from = now
        self._samples, self._total, self._peak = 0, 0.0, 0
