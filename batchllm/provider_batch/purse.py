"""The budget of a run as its batches take of it: reserved before a create, settled on results.

Its law: what a batch may take stays reserved from before its create until it is settled, is lost,
or was surely not created. What earlier runs on the same journal have spent counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from math import ceil
from typing import Final

from attrs import define, evolve, field

from batchllm.core import Price
from batchllm.engine import budget_spent
from batchllm.policy import BudgetLedger, Need, Reservation, WorstCases
from batchllm.provider_batch.billing import HALF, Bill
from batchllm.provider_batch.states import IN_FLIGHT, Chunk, State

__all__ = ["Purse"]

_OPEN: Final = IN_FLIGHT | {State.ENDED, State.FETCHED}
"""States in which a batch may have been paid for, and its bill is not known."""


@define(eq=False)
class Purse:
    """Reserves for batches out of the books of one run.

    Args:
        ledger: The books, which the calls online use, too.
        worst: Learns how long answers are.
        kind: What answers of the run's strategy are known by.
        price: Of a call online; ``None`` if no money is counted.
    """

    ledger: BudgetLedger
    worst: WorstCases
    kind: Hashable
    price: Price | None
    _held: dict[int, Reservation] = field(factory=dict, init=False)
    _over: float = field(default=1.0, init=False)

    # -- what a batch may take -------------------------------------------------------------------

    def need(self, chunk: Chunk) -> Need:
        """Return the most that a batch may take, at the price of batches.

        A request has no more tokens than bytes, but for pictures and files: if answers report more,
        later ones are reckoned with as much more. An answer without a bound is taken to be as long
        as few are; of the many of a batch that is far above their sum.
        """
        inputs = ceil(self._over * (chunk.most_input or chunk.size))
        bounded = chunk.most_input > 0  # a ledger of an earlier version has no bounds
        free = chunk.unbounded if bounded else chunk.lines
        outputs = chunk.most_output + free * self.worst.usual_longest(self.kind)
        if self.price is None:
            return Need(inputs + outputs)
        longest = ceil(self._over * (chunk.longest or chunk.size))
        half = self.price.scaled(HALF)
        return Need(inputs + outputs, half.worst_of_several(chunk.lines, longest, inputs, outputs))

    def fits(self, chunk: Chunk) -> bool:
        """Return whether there is room for a batch, or it has its reservation already."""
        return chunk.number in self._held or self.ledger.fits(self.need(chunk))

    def lines_that_fit(self, chunk: Chunk) -> int:
        """Return how many lines of a chunk there is room for, if they are all alike."""
        whole, low, high = self.need(chunk), 0, chunk.lines
        while low < high:
            middle = (low + high + 1) // 2
            share = middle / chunk.lines
            cost = None if whole.cost is None else share * whole.cost
            if self.ledger.fits(Need(ceil(share * whole.tokens), cost)):
                low = middle
            else:
                high = middle - 1
        return low

    def spent_in_words(self, chunk: Chunk) -> str:
        """Say that there is no room for a single line of a chunk."""
        line = evolve(
            chunk,
            lines=1,
            most_input=chunk.longest,
            most_output=ceil(chunk.most_output / chunk.lines),
            unbounded=min(1, chunk.unbounded),
        )
        sure = not chunk.unbounded
        return budget_spent(self.ledger, self.need(line), sure=sure, what="line of a batch")

    # -- reserving and settling ------------------------------------------------------------------

    def reserve(self, chunk: Chunk) -> Need | None:
        """Reserve for a batch that is to be created; ``None`` if there is no room.

        One that has its reservation from an earlier create that was none keeps it.
        """
        if chunk.number in self._held:
            return Need(chunk.reserved_tokens, chunk.reserved_cost)
        need = self.need(chunk)
        made = self.ledger.reserve(need)
        if made is None:
            return None
        self._held[chunk.number] = made
        return need

    def follow(self, chunk: Chunk) -> bool:
        """Close the reservation of a batch whose bill is known, as it was written down.

        Returns:
            Whether there was one to close.
        """
        if chunk.state not in (State.SETTLED, State.DROPPED, State.LOST):
            return False
        held = self._held.pop(chunk.number, None)
        if held is None:
            return False
        match chunk.state:
            case State.SETTLED:
                self.ledger.settle(held, Need(chunk.paid_tokens, chunk.paid_cost))
            case State.LOST:
                self.ledger.keep(held)
            case _:
                self.ledger.release(held)
        return True

    def leave(self) -> None:
        """Leave batches to a later run: what they may take is given back no more in this one."""
        for held in self._held.values():
            self.ledger.leave(held)
        self._held.clear()

    def learn(self, chunk: Chunk, bill: Bill) -> None:
        """Learn from the answers of a batch how long they are."""
        self.worst.learn_lengths(self.kind, 0, bill.outputs)
        if bill.counted and chunk.most_input:
            most = chunk.most_input * bill.counted / chunk.lines
            self._over = max(self._over, bill.inputs / most)

    # -- what other processes have spent ---------------------------------------------------------

    def restore(self, chunks: Iterable[Chunk], online: Need) -> None:
        """Count what earlier runs on the journal have spent, and what their batches may take.

        Args:
            chunks: All that the journal has.
            online: What the calls online of those runs have taken.
        """
        self.ledger.book(online)
        for chunk in chunks:
            self.ledger.book(Need(chunk.paid_tokens, chunk.paid_cost))
            if chunk.state in _OPEN:
                known = Need(chunk.reserved_tokens, chunk.reserved_cost)
                need = known if known.tokens else self.need(chunk)  # made without a budget
                self._held[chunk.number] = self.ledger.restore(need)
