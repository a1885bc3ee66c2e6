"""Calls within a budget: what one may take before it is made, and what it took."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from attrs import define, frozen

from batchllm.core import CallCost, Price, TokenUsage
from batchllm.policy import Bound, Need, Reservation

__all__ = ["Bill", "Wanted", "taken"]


@frozen
class Wanted:
    """A call that is to be made.

    Attributes:
        kind: What calls that are alike have in common.
        prompt: From which its bound follows.
        estimate: The strategy's own; ``None`` if it makes none.
        price: Of its model; ``None`` if no money is counted.
    """

    kind: Hashable
    prompt: Any
    estimate: CallCost | None
    price: Price | None

    def need(self, bound: Bound) -> Need:
        """Return *bound* in tokens and money."""
        if self.price is None:
            return Need(bound.tokens)
        return Need(bound.tokens, self.price.worst(bound.input_tokens, bound.output_tokens))


@define(eq=False)
class Bill:
    """A call that is under way, with what was reserved for it.

    Attributes:
        wanted: The call.
        sure: Whether its answer is bounded.
        reservation: In the books of the run.
        kept: The same in the books that the journal keeps; ``None`` if it keeps none.
    """

    wanted: Wanted
    sure: bool
    reservation: Reservation
    kept: Reservation | None = None


def taken(usage: TokenUsage | None, price: Price | None) -> Need | None:
    """Return what a call took; ``None`` if that is unknown."""
    if not usage:
        return None
    tokens = usage.get("total_tokens")
    if tokens is None:
        return None
    return Need(tokens, None if price is None else price.cost(usage))
