"""Servers that refuse by a quota of their own: buckets, aligned windows, sliding windows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol


class Server(Protocol):
    """A quota that a client cannot see."""

    def accept(self, now: float) -> bool:
        """Whether a request that arrives at *now* is served."""
        ...

    def wait(self, now: float) -> float:
        """Seconds until a request would be served, as a server's hint says it."""
        ...


class TokenBucket:
    """A bucket that fills at *rate* per second up to *depth*, full at first."""

    def __init__(self, rate: float, depth: float) -> None:
        self.rate = rate
        self.depth = max(1.0, depth)
        self._level = self.depth
        self._at = 0.0

    def accept(self, now: float) -> bool:
        self._fill(now)
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def wait(self, now: float) -> float:
        self._fill(now)
        return max(0.0, 1 - self._level) / self.rate

    def _fill(self, now: float) -> None:
        self._level = min(self.depth, self._level + (now - self._at) * self.rate)
        self._at = now


class FixedWindow:
    """*amount* per aligned window of *width* seconds; the first one began *phase* ago."""

    def __init__(self, amount: int, width: float, phase: float) -> None:
        self.amount = amount
        self.width = width
        self._phase = phase
        self._window = -1
        self._used = 0

    def accept(self, now: float) -> bool:
        window = int((now + self._phase) // self.width)
        if window != self._window:
            self._window, self._used = window, 0
        self._used += 1
        return self._used <= self.amount

    def wait(self, now: float) -> float:
        return self.width - (now + self._phase) % self.width


class SlidingWindow:
    """*amount* in the last *width* seconds; refusals count too where *harsh*."""

    def __init__(self, amount: int, width: float, *, harsh: bool = False) -> None:
        self.amount = amount
        self.width = width
        self.harsh = harsh
        self._log: deque[float] = deque()

    def accept(self, now: float) -> bool:
        log = self._log
        while log and log[0] <= now - self.width:
            log.popleft()
        fits = len(log) < self.amount
        if fits or self.harsh:
            log.append(now)
        return fits

    def wait(self, now: float) -> float:
        over = len(self._log) - self.amount
        return max(0.0, self._log[over] + self.width - now) if over >= 0 else 0.0


SERVERS: dict[str, Callable[[int, float], Server]] = {
    "bucket 60 s deep": lambda quota, _: TokenBucket(quota / 60, quota),
    "bucket 10 s deep": lambda quota, _: TokenBucket(quota / 60, quota / 6),
    "bucket 1 s deep": lambda quota, _: TokenBucket(quota / 60, quota / 60),
    "fixed 60 s": lambda quota, phase: FixedWindow(quota, 60.0, 60 * phase),
    "sliding 60 s": lambda quota, _: SlidingWindow(quota, 60.0),
    "sliding, counts refusals": lambda quota, _: SlidingWindow(quota, 60.0, harsh=True),
    "10 s windows": lambda quota, phase: FixedWindow(max(1, quota // 6), 10.0, 10 * phase),
    "1 s windows": lambda quota, phase: FixedWindow(max(1, quota // 60), 1.0, phase),
}
MINUTE_TYPES = tuple(SERVERS)[:6]
WINDOW = {"10 s windows": 10.0, "1 s windows": 1.0}
