"""The moment from which the period of a steady limit is sure enough to be announced.

Resets in whole seconds steer well from the first replies on, since what is left is exact. The
period that they show is not: those of one second are all cut alike, so that the first ones of a
bucket that is full again in a second said 2 to 390 s.
"""

from __future__ import annotations

from typing import Final

from batchllm.policy.reported.reading import COARSE, Reading

__all__ = ["Settling"]

_UNITS: Final = 5.0
"""Units of its resets in which a period has to stay what it is: five cuts, each its own."""
_SAME: Final = 0.1
"""Share by which it may change meanwhile."""
_USED: Final = 0.1
"""Share of a limit that has to be used: the reset of less is shorter than what is cut off."""


class Settling:
    """Watches the period of one limit. Live state.

    Attributes:
        done: Whether the newest reply has left it settled.
    """

    __slots__ = ("_period", "_since", "done")

    def __init__(self) -> None:
        self._period = self._since = 0.0
        self.done = False

    def add(self, period: float | None, reading: Reading) -> None:
        """Take in what the replies up to *reading* show as the *period*."""
        if period is None or reading.used < _USED * (reading.amount or 0):
            self._period = 0.0
        elif abs(period - self._period) > _SAME * self._period:
            self._period, self._since = period, reading.at
        sure_after = _UNITS * reading.resolution if reading.resolution >= COARSE else 0.0
        self.done = period is not None and self._is_old(reading.at, sure_after)

    def _is_old(self, now: float, least: float) -> bool:
        return least <= 0 or (self._period > 0 and now - self._since >= least)
