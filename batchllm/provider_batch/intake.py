"""Reading values of the user's source as items, a page at a time."""

from __future__ import annotations

from typing import Any, Final

from attrs import define, field

from batchllm.core import InvalidItemError, LLMCallStrategy, LLMWorkItem, NumberedItem
from batchllm.engine import END, IdSet, Incoming, Source, pull, read_item
from batchllm.journal import JournalWriter

__all__ = ["Intake"]

_PAGE: Final = 256
"""Items that are looked up at once: beyond that a lookup costs more than its share of a hop."""


@define(eq=False)
class Intake:
    """Reads the items of one run.

    Args:
        source: The user's items.
        strategy: Of each item: the one whose requests are sent, or a composite that opens with it.
        journal: Makes entries of items.
        cache: The strategy of the run, if it keeps answers and stands around *strategy*.
    """

    source: Source
    strategy: LLMCallStrategy[Any]
    journal: JournalWriter
    cache: LLMCallStrategy[Any] | None
    _count: int = field(default=0, init=False)
    _ids: IdSet = field(factory=IdSet, init=False)

    async def pull_page(self) -> list[Any]:
        """Return the next values of the source, as many as are looked up at once."""
        source, values = self.source, list[Any]()
        if source.may_wait:
            values.append(await pull(source, _PAGE))
            while len(values) < _PAGE and values[-1] is not END and source.has_ready:
                values.append(await pull(source, 1))
        else:
            source.begin_burst()
            while len(values) < _PAGE and (not values or values[-1] is not END):
                values.append(source.next_now())
            source.end_burst()
        return [value for value in values if value is not END]

    def read(self, value: object) -> Incoming:
        """Read one value: an item with its entry in the journal, or what is wrong with it."""
        index = self._count
        self._count += 1
        work = read_item(value, index, texts=self.strategy.takes_texts)
        if isinstance(work, InvalidItemError):
            # Not isinstance, which asks an object for its class: a proxy of nothing raises.
            is_tuple = issubclass(type(value), tuple)
            parts: tuple[Any, ...] = value if is_tuple else ()  # type: ignore[assignment]
            return Incoming(work, index, context=parts[2] if len(parts) == 3 else None)
        wrong = self.wrong_with(work)
        if wrong is not None:
            return Incoming(wrong, index, context=work.context)
        if not self._ids.add(work.item_id):
            text = f"item {index}: its id {work.item_id!r} came before; ids must be unique"
            return Incoming(InvalidItemError(text), index, context=work.context)
        named = isinstance(value, LLMWorkItem | tuple) and not isinstance(value, NumberedItem)
        try:
            name = work.item_id if named else None
            entry = self.journal.registrar.enter(name, work.prompt, index)
        except InvalidItemError as error:
            return Incoming(error, index, context=work.context)
        return Incoming(work, index, entry)

    def wrong_with(self, work: LLMWorkItem[Any, Any, Any]) -> InvalidItemError | None:
        """Return what is wrong with an item that has a strategy of its own."""
        if work.strategy is None or work.strategy is self.strategy or work.strategy is self.cache:
            return None
        return InvalidItemError(
            f"item {work.item_id!r} has a strategy of its own, and a batch of the provider has "
            "one for all; run such items by themselves, or online"
        )
