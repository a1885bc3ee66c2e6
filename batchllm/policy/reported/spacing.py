"""The even spread of calls over what is left of a window: no herd when it begins."""

from __future__ import annotations

from typing import Final

from batchllm.policy.reported.period import CLOCKS

__all__ = ["Spacing"]

_FRONT: Final = 0.9
"""Share of a window in which its room is used, so that late calls still fall into it."""


class Spacing:
    """The places of calls in a window. Live state for one clock.

    Attributes:
        next: The earliest instant of the next one.
    """

    __slots__ = ("_step", "next")

    def __init__(self) -> None:
        self.next = 0.0
        self._step = 0.0  # seconds by which the last unit moved it

    def take(
        self, now: float, units: int, *, room: float, end: float, period: float, amount: int
    ) -> None:
        """Note that *units* are sent at *now*.

        They are spread evenly over what is left, and never more than twice as fast as the window
        allows on average, so that nothing is left when it ends.

        Args:
            now: The present instant.
            units: What the call takes.
            room: What may be sent in the window after them.
            end: When the window ends.
            period: Seconds of a whole window.
            amount: What a whole window allows.
        """
        fair = period / amount
        left = max(0.0, end - now - (1 - _FRONT) * period)
        self._step = min(_FRONT * fair, max(fair / 2, left / max(1.0, room)))
        self.next = max(self.next, now - CLOCKS) + self._step * units

    def take_back(self, units: int) -> None:
        """Note that *units* which were sent lately never left."""
        self.next -= self._step * units
