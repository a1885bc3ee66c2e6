"""The rule for second copies of slow calls (after "The Tail at Scale", Dean and Barroso 2013)."""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import define, field

__all__ = ["HedgePolicy"]

_REMEMBERED: Final = 1_000
_QUANTILE: Final = 0.99
_USUAL: Final = 0.95
_MIDDLE: Final = 0.5
_TAIL: Final = 0.414
"""One call in a hundred takes (usual longest / middle) ** 0.414 times the usual longest (one call
in twenty) where all calls are of one kind: that is a lognormal's, with 2.326 and 1.645 standard
deviations. It is 1.4 for σ 0.5, 2.0 for σ 1. Beyond it the slow ones are stalls, whose own length
says nothing about when to give them up: with 1 % of stalls of 10 s the 99th percentile is 10 s, and
a second copy would come when the first is over."""
_LONGEST_TAIL: Final = 2.0
"""The most that this factor is: calls of two kinds, short and long, have no such middle."""


@define(eq=False)
class HedgePolicy:
    """Knows how long calls take, and how many may be made twice.

    Args:
        share: Second copies per call that may be made.
        samples: Calls that have to be known before the first second copy.
        least: Seconds below which no call counts as slow.
        delay: Seconds after which a call counts as slow; ``None`` learns it, as the time that
            one call in a hundred exceeds, or would exceed if none had stalled.

    Attributes:
        calls: Calls so far.
        hedges: Second copies so far.
    """

    share: float = 0.02
    samples: int = 200
    least: float = 2.0
    delay: float | None = None
    calls: int = field(default=0, init=False)
    hedges: int = field(default=0, init=False)
    _took: deque[float] = field(factory=lambda: deque(maxlen=_REMEMBERED), init=False)
    _slow: float | None = field(default=None, init=False)
    _fresh: int = field(default=0, init=False)

    def on_ok(self, took: float) -> None:
        """Note a call that was answered after *took* seconds."""
        self.calls += 1
        self._took.append(took)
        self._fresh += 1

    def slow(self) -> float | None:
        """Return after how many seconds a call is slow; ``None`` while too few are known."""
        if self.calls < self.samples:
            return None
        if self.delay is not None:
            return self.delay
        if self._slow is None or self._fresh >= self.samples:
            self._fresh = 0
            ranked = sorted(self._took)
            last = len(ranked) - 1
            usual, middle = ranked[int(_USUAL * last)], ranked[int(_MIDDLE * last)]
            tail = (usual / middle) ** _TAIL if middle > 0 else _LONGEST_TAIL
            longest = min(ranked[int(_QUANTILE * last)], min(tail, _LONGEST_TAIL) * usual)
            self._slow = max(self.least, longest)
        return self._slow

    def allows(self) -> bool:
        """Return whether one more second copy keeps within the share."""
        return self.hedges + 1 <= self.share * max(self.calls, 1)

    def on_hedge(self) -> None:
        """Note that a second copy is made."""
        self.hedges += 1
