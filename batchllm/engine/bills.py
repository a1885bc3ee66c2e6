"""Calls within a budget: what one may take before it is made, and what it took."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

from attrs import define, frozen

from batchllm.classifiers import failed_usage, is_cut_off, may_be_billed
from batchllm.core import CallCost, Price, Reply, TokenUsage
from batchllm.policy import Bound, BudgetLedger, Need, Reservation

__all__ = ["Bill", "Booking", "Wanted", "booking_of"]

Booking: TypeAlias = Callable[[BudgetLedger, Reservation], None]
"""The end of a reservation in the books."""


@frozen
class Wanted:
    """A call that is to be made.

    Attributes:
        kind: What calls that are alike have in common.
        prompt: From which its bound follows.
        estimate: The strategy's own; ``None`` if it makes none.
        price: Of its model; ``None`` if no money is counted.
        answers: Whether its answer has tokens, as those of embeddings have not.
    """

    kind: Hashable
    prompt: Any
    estimate: CallCost | None
    price: Price | None
    answers: bool = True

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


def booking_of(
    ended: Reply | BaseException | None, price: Price | None, *, answers: bool
) -> tuple[Booking, bool]:
    """Return how a call is booked that has ended, and whether its answer shows what such take.

    Args:
        ended: Its answer, or what it failed with; ``None`` if it was not made.
        price: Of its model; ``None`` if no money is counted.
        answers: Whether its answer has tokens.
    """
    if ended is None:
        return BudgetLedger.release, False
    if isinstance(ended, Reply):
        usage, billed, whole = ended.usage, True, True
    else:
        usage, whole = failed_usage(ended), not is_cut_off(ended)
        billed = usage is not None or may_be_billed(ended)
    took = _taken(usage, price, answers=answers) if whole else None
    if took is not None:
        return lambda books, held: books.settle(held, took), isinstance(ended, Reply)
    if not billed:
        return BudgetLedger.release, False
    least = _known_of(usage, price)
    return lambda books, held: books.keep(held, least), False


def _taken(usage: TokenUsage | None, price: Price | None, *, answers: bool) -> Need | None:
    """Return what a call took; ``None`` if that is not wholly known."""
    if not usage or (answers and not _is_whole(usage)):
        return None
    total = usage.get("total_tokens")
    if total is None:
        return None
    # The larger, since either may be wrong; a total may have tokens of its own, such as of tools.
    tokens = max(total, usage.get("input_tokens", 0) + usage.get("output_tokens", 0))
    return Need(tokens, None if price is None else price.cost(usage))


def _known_of(usage: TokenUsage | None, price: Price | None) -> Need | None:
    """Return what a call took at least, as far as *usage* says."""
    if not usage:
        return None
    given, answered = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    known: TokenUsage = {**usage, "input_tokens": given, "output_tokens": answered}
    tokens = max(given + answered, usage.get("total_tokens", 0))
    return Need(tokens, None if price is None else price.cost(known))


def _is_whole(usage: TokenUsage) -> bool:
    """Return whether *usage* counts prompt and answer.

    Its total may be made of the one that is known: ``normalize_usage`` fills it in so.
    """
    given, answered = usage.get("input_tokens"), usage.get("output_tokens")
    if given is not None and answered is not None:
        return True
    return usage.get("total_tokens", 0) > (given or answered or 0)
