"""The scale of our estimates: what the server takes for each unit that was booked for a call."""

from __future__ import annotations

from math import inf
from typing import Final

from batchllm.core import Dimension

__all__ = ["Scale"]

_FADE: Final = 0.9
"""The weight of an older comparison beside the one after it: about ten are remembered."""


class Scale:
    """Compares what a server took with what was booked. Live state.

    Args:
        dimension: What is limited; requests are never estimated.
    """

    __slots__ = ("_booked", "_counts_tokens", "_took")

    def __init__(self, dimension: Dimension) -> None:
        self._counts_tokens = dimension != "requests"
        self._took = self._booked = 0.0

    @property
    def factor(self) -> float:
        """The units that the server takes for each one that was booked."""
        return self._took / self._booked if self._booked > 0 else 1.0

    def add(self, took: float, booked: int) -> None:
        """Note that the server took *took* where *booked* had been booked, if both are some."""
        if self._counts_tokens and 0 < took < inf and booked > 0:
            self._took = _FADE * self._took + took
            self._booked = _FADE * self._booked + booked
