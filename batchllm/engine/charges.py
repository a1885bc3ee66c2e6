"""The attempts that an item has used up; those that an outage took are given back."""

from __future__ import annotations

from attrs import define, field

from batchllm.gate import Gate
from batchllm.policy import FailureRow, Verdict

__all__ = ["Charge", "Charges"]


@define(eq=False)
class Charge:
    """One failed attempt that may turn out to be an outage's.

    Attributes:
        gate: The gate at which it failed.
        row: The failures that it belongs to.
        seconds: What it took of the item's stopwatch, its backoff included.
    """

    gate: Gate
    row: FailureRow
    seconds: float


@define(eq=False)
class Charges:
    """Count the attempts of one item.

    Attributes:
        pending: Failed attempts of which it is not decided yet whether they count.
    """

    pending: list[Charge] = field(factory=list, init=False)
    _certain: int = field(default=0, init=False)

    @property
    def count(self) -> int:
        """How many attempts count, as far as is known."""
        return self._certain + len(self.pending)

    def add(self) -> None:
        """Count an attempt for good."""
        self._certain += 1

    def add_pending(self, charge: Charge) -> None:
        """Count an attempt for as long as its row of failures is not an outage's."""
        self.pending.append(charge)

    def slept(self, seconds: float) -> None:
        """Add the backoff after the last attempt."""
        if self.pending:
            self.pending[-1].seconds += seconds

    def settle(self) -> float:
        """Decide what can be decided.

        Returns:
            Seconds of the item's stopwatch that the attempts given back had taken.
        """
        refund = 0.0
        undecided: list[Charge] = []
        for charge in self.pending:
            match charge.row.verdict:
                case Verdict.PENDING:
                    undecided.append(charge)
                case Verdict.COUNTS:
                    self._certain += 1
                case Verdict.GIVEN_BACK:
                    refund += charge.seconds
        self.pending = undecided
        return refund
