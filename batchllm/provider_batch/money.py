"""The budget of a run of batches from its beginning to its end, and across runs of one journal."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from batchllm.core import LLMCallStrategy, Price, Termination
from batchllm.engine import Spending
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.purse import Purse

__all__ = ["Money"]


@define(eq=False)
class Money:
    """Keeps the budget of one run, if it has one.

    Args:
        ledger: Has what earlier runs have spent.
        spending: Lets calls online start; ``None`` without a budget.
        strategy: Whose requests are sent.
        price: Of a call online; ``None`` if it is not known.

    Attributes:
        purse: Reserves for batches; ``None`` without a budget.
    """

    ledger: BatchLedger
    spending: Spending | None
    strategy: LLMCallStrategy[Any]
    price: Price | None
    purse: Purse | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.purse = None
        if self.spending is not None:
            books = self.spending.ledger
            price = None if books.budget.max_cost is None else self.price
            kind = ("batch", self.strategy.quota_scope)
            self.purse = Purse(books, self.spending.worst, kind, price)

    async def begin(self) -> None:
        """Count what earlier runs on the journal have spent."""
        if self.purse is not None:
            chunks, online = await self.ledger.spent()
            self.purse.restore(chunks, online)
            if self.spending is not None and self.spending.kept is not None:
                self.spending.kept.begin_with(online)

    def leave(self, why: Termination | None) -> None:
        """Let no call wait for what batches may take that are left to a later run.

        Args:
            why: The run ends before all its items have; ``None`` if it does not.
        """
        if self.purse is not None and self.spending is not None:
            self.purse.leave()
            self.spending.leave(why)

    async def watch(self, board: Board) -> None:
        """Let chunks that wait for room look whenever a call online has given some back."""
        while self.spending is not None:
            await self.spending.freed()
            board.look()
