"""The spending of calls, kept in the journal: for runs that have one budget together.

Its law: before a call is made the journal counts the most that it may take, and the result of its
item is never there without what it took. So a process that is killed leaves a sum that is too large
by no more than calls that were in flight, of which it is not known if they are billed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from attrs import define, field

from batchllm.core import Budget
from batchllm.journal import JournalWriter
from batchllm.policy import BudgetLedger, Need, Reservation

__all__ = ["SPENT_ONLINE", "KeptSpending", "kept_in"]

SPENT_ONLINE: Final = "batch_online"
"""The fact in a journal that has the sum: tokens, and US dollars."""
_UNBOUNDED: Final = Budget(max_tokens_total=2**62)


@define(eq=False)
class KeptSpending:
    """Counts what calls of a run and of those before it take, and writes the sum down.

    Args:
        journal: Open; the sum goes with its groups.
    """

    journal: JournalWriter
    _books: BudgetLedger = field(factory=lambda: BudgetLedger(_UNBOUNDED), init=False)

    def begin_with(self, took: Need) -> None:
        """Count what earlier runs have taken."""
        self._books.book(took)

    def reserve(self, reservation: Reservation) -> Reservation:
        """Count what a call may take at most; it is on the disk behind :meth:`written`."""
        made = self._books.restore_units(reservation.tokens, reservation.units)
        self._note()
        return made

    async def written(self) -> None:
        """Wait until all that was reserved by now is on the disk.

        Raises:
            JournalError: It cannot be written.
        """
        await self.journal.flush()

    def close(
        self, reservation: Reservation, book: Callable[[BudgetLedger, Reservation], None]
    ) -> None:
        """Close the reservation of a call as the run's books do, before its result is written."""
        book(self._books, reservation)
        self._note()

    @property
    def sum(self) -> Need:
        """Return what calls have taken, and what those in flight may take."""
        books = self._books
        return Need(books.tokens + books.reserved_tokens, books.cost + books.reserved_cost)

    def _note(self) -> None:
        # Of the group that gathers: one that holds the result of the call is that, or comes later.
        self.journal.note_fact(SPENT_ONLINE, json.dumps([self.sum.tokens, self.sum.cost]))


def kept_in(journal: object) -> KeptSpending | None:
    """Return what keeps the sum in *journal*, if that is one that is open."""
    return KeptSpending(journal) if isinstance(journal, JournalWriter) else None
