"""The calls accepted lately: the history against which a server's claims are held."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Accepted"]

_SECONDS: Final = 600
"""Seconds that are remembered: ten windows of a minute."""
_LAST: Final = 64
"""Calls whose overlap is remembered; a cap above that is no cap that a client meets."""
_SPANS: Final = (1, 2, 4, 9)
"""Windows over which a claim is checked; the longest shows an excess of a ninth."""
_SLACK: Final = 2
"""Calls beyond that: two of them may be late enough to count in the window after their own."""


class Accepted:
    """Counts accepted calls by the second in which they were sent. Cheap to add to."""

    __slots__ = ("_by_second", "_judged_in", "_last", "_verdicts")

    def __init__(self) -> None:
        self._by_second: dict[int, int] = {}
        self._last: deque[tuple[float, float]] = deque(maxlen=_LAST)
        self._judged_in: int | None = None
        self._verdicts: dict[tuple[int, float], bool] = {}  # by claim, of that second alone

    def add(self, sent_at: float, now: float) -> None:
        """Note a call that was sent at *sent_at* and answered at *now*."""
        try:
            self._by_second[int(sent_at)] += 1
        except KeyError:
            self._begin_second(int(sent_at))
        self._last.append((sent_at, now))

    def _begin_second(self, second: int) -> None:
        by_second = self._by_second
        by_second[second] = 1
        if len(by_second) > 2 * _SECONDS:
            for old in sorted(by_second)[:_SECONDS]:
                del by_second[old]

    def contradicts(self, amount: int, per: float, now: float) -> bool:
        """Return whether more was accepted than *amount* per *per* seconds allows.

        A bucket may have been full before, and a window may lie anywhere: in k periods k + 1
        amounts may be accepted. A claim that each reply repeats is looked at once a second, since
        that takes a pass over ten minutes.
        """
        claim, second = (amount, per), int(now)
        if second != self._judged_in:
            self._judged_in = second
            self._verdicts.clear()
        known = self._verdicts.get(claim)
        if known is None:
            known = self._verdicts[claim] = self._is_contradicted(amount, per, now)
        return known

    def _is_contradicted(self, amount: int, per: float, now: float) -> bool:
        for windows in _SPANS:
            span = windows * per
            if windows > 1 and span > _SECONDS:
                return False
            since = now - span
            accepted = sum(n for second, n in self._by_second.items() if second >= since)
            if accepted > (windows + 1) * amount + _SLACK:
                return True
        return False

    def most_at_once(self) -> int:
        """Return how many of the last accepted calls were in flight at one instant."""
        events = sorted(
            [(begun, 1) for begun, _ in self._last] + [(ended, -1) for _, ended in self._last]
        )
        most = now = 0
        for _, step in events:
            now += step
            most = max(most, now)
        return most
