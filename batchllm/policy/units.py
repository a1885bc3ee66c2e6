"""The units that calls take of each dimension, as plain tuples: each call adds its own."""

from __future__ import annotations

from typing import Final, TypeAlias

from batchllm.core import CallCost

__all__ = ["NO_UNITS", "PLACES", "Units", "difference", "total", "units_of"]

Units: TypeAlias = tuple[int, int, int, int]
"""Of each dimension, in the order of ``PLACES``."""

PLACES: Final = {"requests": 0, "tokens": 1, "input_tokens": 2, "output_tokens": 3}
NO_UNITS: Final[Units] = (0, 0, 0, 0)


def units_of(cost: CallCost) -> Units:
    """Return what a call of *cost* takes."""
    given, produced = cost.input_tokens, cost.output_tokens
    return cost.requests, given + produced, given, produced


def total(one: Units, other: Units) -> Units:
    """Return the units of both."""
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


def difference(one: Units, other: Units) -> Units:
    """Return the units of *one* without those of *other*."""
    return one[0] - other[0], one[1] - other[1], one[2] - other[2], one[3] - other[3]
