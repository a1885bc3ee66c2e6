"""Chunks that wait for the budget: which go on, which is made smaller, and when all is spent."""

from __future__ import annotations

from attrs import define

from batchllm.core import EndCause
from batchllm.engine import Spending
from batchllm.policy import Need
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.purse import Purse
from batchllm.provider_batch.settling import Settler
from batchllm.provider_batch.states import NOT_CREATED, Chunk

__all__ = ["Payer"]


@define(eq=False)
class Payer:
    """Lets chunks go on as the budget has room for them.

    Args:
        board: The chunks.
        settler: Takes back those that are to be made smaller.
        purse: Reserves for them; ``None`` without a budget.
        spending: Knows the calls online that wait for room; ``None`` without a budget.
    """

    board: Board
    settler: Settler
    purse: Purse | None
    spending: Spending | None

    async def meet_the_budget(self) -> bool:
        """Split a chunk that the budget has no room for, or end the run with the budget.

        Only when nothing is under way that may give some back: until then it is waited for.

        Returns:
            Whether a chunk was split.
        """
        board, purse = self.board, self.purse
        waiting = board.in_state(*NOT_CREATED)
        if purse is None or purse.ledger.calls or not waiting:
            return False
        # A test goes before all others, so that what has room behind it is no way on.
        waiting = [chunk for chunk in waiting if chunk.canary] or waiting
        if any(purse.fits(chunk) for chunk in waiting):
            return False
        fitting = purse.lines_that_fit(waiting[0])
        if fitting:
            self.settler.sizes.within = fitting
            await self.settler.give_up(waiting[0], "the budget has no room for so many lines")
            return True
        if board.termination is None:
            board.end(EndCause.BUDGET, purse.spent_in_words(waiting[0]))
            if self.spending is not None:
                self.spending.announce_end(None)
        return False

    def can_pay(self, chunk: Chunk) -> bool:
        """Return whether the budget has room for a chunk, and no call waits for that room."""
        if self.purse is None:
            return True
        waited_for = self.spending is not None and self.spending.is_waited_for
        return self.purse.fits(chunk) and not waited_for

    def reserve(self, chunk: Chunk) -> Need | None:
        """Set aside what a chunk may take; ``None`` if there is no room, and 0 without a budget."""
        return Need(0) if self.purse is None else self.purse.reserve(chunk)
