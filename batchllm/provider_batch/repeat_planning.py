"""Planning of items that ask what another item asks: they wait for it, or follow it."""

from __future__ import annotations

from functools import partial
from typing import Any

from attrs import define

from batchllm.core import LLMWorkItem
from batchllm.engine import Incoming
from batchllm.journal import Entry
from batchllm.provider_batch.filling import Filling
from batchllm.provider_batch.publishing import Publisher
from batchllm.provider_batch.repeats import Following, Repeats
from batchllm.provider_batch.rows import LineRow

__all__ = ["RepeatPlanner"]


@define(eq=False)
class RepeatPlanner:
    """Finds another way than a line for items that ask what another asks.

    Args:
        repeats: Knows which these are.
        filling: Has the items whose lines are in no chunk yet.
        publisher: Passes on what need not wait.
    """

    repeats: Repeats
    filling: Filling
    publisher: Publisher

    def lead(self, one: Incoming, line: int) -> None:
        """Note the line of an item."""
        self.repeats.lead(_parts(one)[0].prompt, line)

    async def takes(self, one: Incoming) -> bool:
        """Return whether an item needs no line: another asks the same, or the answer is kept."""
        repeats, publisher, (work, entry) = self.repeats, self.publisher, _parts(one)
        row = LineRow(0, "", *entry.key, entry.prompt, entry.identity.digest)
        first = repeats.first_of(work.prompt)
        if first is not None and self._may_wait_for(first):
            row = row._replace(line=publisher.ledger.next_line())
            kept = [(row.line, work, one.position)]
            call, items = publisher.journal.worker.call, publisher.items
            await call(partial(items.put, kept))
            if self._may_wait_for(first):  # it may have been passed on meanwhile
                repeats.wait(first, row)
                return True
            await call(partial(items.drop, row.line))
        under_way = first is not None and repeats.is_under_way(first)
        if not under_way and not repeats.is_kept(work.prompt):
            return False
        repeats.count += 1
        work.strategy = Following(repeats, first or 0)
        await publisher.pass_on(work, one.position, row)
        return True

    def _may_wait_for(self, first: int) -> bool:
        """Return whether the item of a line has not been passed on yet."""
        gathers = first in self.filling.gathering
        return gathers or self.publisher.items.has(first) or self.repeats.is_taken_out(first)


def _parts(one: Incoming) -> tuple[LLMWorkItem[Any, Any, Any], Entry]:
    assert isinstance(one.work, LLMWorkItem)
    assert one.entry is not None
    return one.work, one.entry
