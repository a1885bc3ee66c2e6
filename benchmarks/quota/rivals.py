"""Two rules that others use, rewritten in a few lines, to be measured on the same servers."""

from __future__ import annotations

import heapq
from math import inf
from typing import Any


class AimdConcurrency:
    """Calls in flight: doubled per clean round until the first refusal, then +5 % or x 0.8.

    One cut per 15 s or per hint. A refused call keeps its place and waits for itself: the hint,
    else 1 s doubling to 60 s.
    """

    def __init__(self, cap: int = 1000) -> None:
        self._limit = 10.0
        self._cap = cap
        self._in_flight = 0
        self._clean = 0
        self._cut_until = -inf
        self._slow_start = True
        self._held: list[tuple[float, int]] = []

    def next_time(self, now: float, tokens: float) -> float:
        if self._held and self._held[0][0] <= now:
            return now
        if self._in_flight + len(self._held) < int(self._limit):
            return now
        return self._held[0][0] if self._held else inf

    def on_send(self, now: float, tokens: float) -> Any:
        self._in_flight += 1
        if self._held and self._held[0][0] <= now:
            return heapq.heappop(self._held)[1]
        return 0

    def on_result(self, now: float, send: Any, accepted: bool, wait: float | None) -> None:
        self._in_flight -= 1
        if not accepted:
            pause = max(wait or 0.0, min(60.0, 2.0**send))
            heapq.heappush(self._held, (now + pause, send + 1))
            if now >= self._cut_until:
                self._limit = max(1.0, self._limit * 0.8)
                self._cut_until = now + 15.0
            self._cut_until = max(self._cut_until, now + (wait or 0.0))
            self._slow_start, self._clean = False, 0
        elif now >= self._cut_until and send == 0:
            self._clean += 1
            if self._clean >= self._limit and self._in_flight + 1 >= 0.8 * int(self._limit):
                factor = 2.0 if self._slow_start else 1.05
                self._limit = min(self._cap, max(self._limit + 1, self._limit * factor))
                self._clean = 0


class CubicRate:
    """A rate that follows a cubic back to where it was refused and beyond, a token per call."""

    def __init__(self, beta: float = 0.7, scale: float = 0.4, cap: int = 1000) -> None:
        self._beta = beta
        self._scale = scale
        self._cap = cap
        self._in_flight = 0
        self._rate = inf
        self._tokens = 0.0
        self._at = 0.0
        self._most = 0.0
        self._failed_at = 0.0
        self._measured = 0.0
        self._bin = 0.0
        self._count = 0

    def next_time(self, now: float, tokens: float) -> float:
        if self._in_flight >= self._cap:
            return inf
        if self._rate == inf:
            return now
        self._fill(now)
        missing = 1 - self._tokens
        return now if missing <= 1e-9 else now + missing / self._rate

    def on_send(self, now: float, tokens: float) -> Any:
        if self._rate < inf:
            self._fill(now)
            self._tokens -= 1
        self._in_flight += 1
        self._count += 1
        bin_now = now // 0.5 * 0.5
        if bin_now > self._bin:
            rate = self._count / (bin_now - self._bin)
            self._measured = 0.8 * rate + 0.2 * self._measured
            self._bin, self._count = bin_now, 0
        return now

    def on_result(self, now: float, send: Any, accepted: bool, wait: float | None) -> None:
        self._in_flight -= 1
        if not accepted:
            measured = max(self._measured, 0.5)
            self._most = measured if self._rate == inf else min(measured, self._rate)
            self._failed_at = now
            self._set(now, self._beta * self._most)
        elif self._rate < inf:
            back = (self._most * (1 - self._beta) / self._scale) ** (1 / 3)
            rate = self._scale * (now - self._failed_at - back) ** 3 + self._most
            self._set(now, min(rate, 2 * max(self._measured, 0.5)))

    def _fill(self, now: float) -> None:
        self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._at) * self._rate)
        self._at = now

    def _set(self, now: float, rate: float) -> None:
        if self._rate < inf:
            self._fill(now)
        self._at = now
        self._rate = max(0.5, rate)
        self._tokens = min(self._tokens, max(1.0, self._rate))
