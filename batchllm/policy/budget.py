"""A budget as a ledger: reserved before a call, settled after it.

Money is counted in whole billionths of a millionth of a dollar, so that sums are exact whatever
their order: a token at $0.01 per million is 10,000 of them.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from attrs import define, field, frozen

from batchllm.core import Budget

__all__ = ["BudgetLedger", "Need", "Reservation"]

_UNITS: Final = 10**12
"""Units of money in a dollar."""


@frozen
class Need:
    """The most that one call may take, or what it has taken.

    Attributes:
        tokens: In and out together.
        cost: US dollars; ``None`` if its price is not known.
    """

    tokens: int
    cost: float | None = None


@define(eq=False)
class Reservation:
    """A part of a budget that is set aside for one call; it is closed exactly once.

    Attributes:
        tokens: Tokens set aside.
        units: Money set aside, in units.
        open: If it has not been closed.
    """

    tokens: int
    units: int
    open: bool = True


@define(eq=False)
class BudgetLedger:
    """Keeps the books of one budget.

    Its law: what is booked and what is reserved together never exceed the budget, as long as no
    call takes more than was reserved for it.

    Args:
        budget: The bounds; it may be replaced at any time.

    Attributes:
        tokens: Tokens booked.
        uncertain_tokens: Those of them that may not have been billed: of calls that were cut off
            or whose provider did not report them.
        reserved_tokens: Tokens of calls under way.
        calls: Calls under way.
    """

    budget: Budget
    tokens: int = field(default=0, init=False)
    uncertain_tokens: int = field(default=0, init=False)
    reserved_tokens: int = field(default=0, init=False)
    calls: int = field(default=0, init=False)
    _booked: int = field(default=0, init=False)
    _uncertain: int = field(default=0, init=False)
    _reserved: int = field(default=0, init=False)

    @property
    def cost(self) -> float:
        """Return the US dollars booked."""
        return self._booked / _UNITS

    @property
    def uncertain_cost(self) -> float:
        """Return the US dollars booked that may not have been billed."""
        return self._uncertain / _UNITS

    @property
    def reserved_cost(self) -> float:
        """Return the US dollars reserved for calls under way."""
        return self._reserved / _UNITS

    def fits(self, need: Need) -> bool:
        """Return whether a call that takes *need* would keep within the budget."""
        tokens, cost = self.budget.max_tokens_total, self.budget.max_cost
        if tokens is not None and self.tokens + self.reserved_tokens + need.tokens > tokens:
            return False
        return cost is None or self._booked + self._reserved + _up(need.cost) <= int(cost * _UNITS)

    def reserve(self, need: Need) -> Reservation | None:
        """Set *need* aside for a call, or return ``None`` if it does not fit."""
        return self.restore(need) if self.fits(need) else None

    def restore(self, need: Need) -> Reservation:
        """Set *need* aside for what an earlier process has begun, whether it fits or not."""
        return self.restore_units(need.tokens, _up(need.cost))

    def restore_units(self, tokens: int, units: int) -> Reservation:
        """Set aside what another ledger has set aside, in its units; as :meth:`restore`."""
        made = Reservation(tokens, units)
        self.reserved_tokens += made.tokens
        self._reserved += made.units
        self.calls += 1
        return made

    def book(self, took: Need) -> None:
        """Count what was spent without a reservation, such as by an earlier process."""
        self.tokens += took.tokens
        self._booked += _up(took.cost)

    def settle(self, reservation: Reservation, took: Need) -> None:
        """Close a reservation whose call took *took*; a cost of ``None`` is that reserved."""
        units = reservation.units if took.cost is None else _up(took.cost)
        if self._close(reservation):
            self.tokens += took.tokens
            self._booked += units

    def keep(self, reservation: Reservation, least: Need | None = None) -> None:
        """Close a reservation whose call may have been billed: all of it counts as spent.

        Args:
            reservation: Of the call.
            least: What is known to be billed, if that is more.
        """
        known = least or Need(0)
        tokens = max(reservation.tokens, known.tokens)
        units = max(reservation.units, _up(known.cost))
        if self._close(reservation):
            self.tokens += tokens
            self.uncertain_tokens += tokens
            self._booked += units
            self._uncertain += units

    def release(self, reservation: Reservation) -> None:
        """Close a reservation whose call was not made, or not billed."""
        self._close(reservation)

    def leave(self, reservation: Reservation) -> None:
        """Keep what was reserved to the end, since another process closes it: no call waits for it.

        It stays set aside, and counts no more among the calls under way.
        """
        if reservation.open:
            reservation.open = False
            self.calls -= 1

    def _close(self, reservation: Reservation) -> bool:
        """Give back what was reserved, once."""
        if not reservation.open:
            return False
        reservation.open = False
        self.reserved_tokens -= reservation.tokens
        self._reserved -= reservation.units
        self.calls -= 1
        return True


def _up(cost: float | None) -> int:
    """Return US dollars in units, rounded up so that no reservation is too small."""
    return ceil(cost * _UNITS) if cost else 0
