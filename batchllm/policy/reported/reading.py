"""One reply's claim about one limit, as far as it can be meant."""

from __future__ import annotations

from math import inf, isfinite
from typing import Final

from attrs import define, field

from batchllm.core import LimitHint

__all__ = ["COARSE", "Reading"]

COARSE: Final = 1.0
"""Seconds; a reset in whole seconds may be off by one of them."""
_LONGEST: Final = 40 * 86_400.0
"""Seconds; a reset further away than any billing period is no information."""
_SHORTEST: Final = 1e-6
"""Seconds; a shorter reset would make a rate of it that is next to infinite."""
_FINEST: Final = 0.001
"""Seconds to which a reset is cut off at least, also where a hint says it is exact."""


@define(eq=False)
class Reading:
    """One reply's claim, and what had been sent up to and with its call.

    Attributes:
        sent_at: When its call was sent.
        at: When the reply came.
        order: Units that had been booked up to and with its call.
        amount: The limit itself, if it was named.
        remaining: What was left of it.
        reset: Seconds until it is whole again, if they were named.
        resolution: Seconds to which *reset* was cut off.
        margin: Units that were taken off *remaining* for the server's rounding.
        used: The units that are used, as far as the server's rounding shows them.
        steady: The period, if the limit refills steadily, and how far off that may be.
    """

    sent_at: float
    at: float
    order: int
    amount: int | None
    remaining: float
    reset: float | None
    resolution: float
    margin: int
    # Computed once: each reading is compared with the one before it and the one after it.
    used: float = field(init=False)
    steady: tuple[float, float] | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        amount, reset = self.amount, self.reset
        used = self.used = max(0.0, (amount or 0) - self.remaining - self.margin)
        if not amount or reset is None or used < max(1, self.margin):
            self.steady = None
            return
        share = used / amount
        period = reset / share
        self.steady = (period, self.resolution / share + period * self.slip)

    @classmethod
    def of(cls, hint: LimitHint, now: float, sent_at: float, order: int) -> Reading | None:
        """Read *hint*; ``None`` if it says nothing of what is left, or nothing that can be."""
        remaining, reset, amount = hint.remaining, hint.reset, hint.amount
        if remaining is None or remaining < 0 or (amount is not None and amount <= 0):
            return None
        coarse = hint.resolution >= COARSE
        if reset is None and coarse:
            reset = 0.0  # whole seconds, of which less than one is left
        least = 0.0 if coarse else _SHORTEST
        if reset is not None and not (isfinite(reset) and least <= reset <= _LONGEST):
            return None
        margin = hint.margin if remaining + hint.margin <= (amount or inf) else 0
        resolution = max(_FINEST, hint.resolution)
        return cls(sent_at, now, order, amount, float(remaining), reset, resolution, margin)

    @property
    def earliest(self) -> float:
        """The earliest instant that the reset can mean: the server wrote it when the call came."""
        return self.sent_at + (self.reset or 0.0)

    @property
    def latest(self) -> float:
        """The latest instant that the reset can mean: the server wrote it when the reply left."""
        return self.at + (self.reset or 0.0)

    @property
    def slip(self) -> float:
        """The share by which ``used`` may be wrong: what is left is cut to whole units."""
        return max(1.0, self.margin / 2) / max(1.0, self.used)
