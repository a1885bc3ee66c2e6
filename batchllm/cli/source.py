"""The lines of all inputs as items of a batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from anyio.from_thread import check_cancelled
from attrs import define, evolve, field, frozen

from batchllm.cli.choice import Chooser
from batchllm.cli.inputs import Input
from batchllm.cli.prompts import Line
from batchllm.core import NumberedItem
from batchllm.engine import IdSet, blocking_source

__all__ = ["LineSource", "Taken"]


@frozen
class Taken:
    """A line that is part of the batch.

    Attributes:
        line: What was read.
        input: The name of its input.
        source: The same, if rows of several inputs have to be kept apart; else ``None``.
        keeps_id: Whether its row may have its id: no other row has it.
    """

    line: Line
    input: str
    source: str | None
    keeps_id: bool

    @property
    def place(self) -> str:
        """Its input and number, as messages show them."""
        return f"{self.input}:{self.line.number}"


@define(eq=False)
class LineSource:
    """Turns lines into items, each with what was taken as its context.

    A line that cannot be sent becomes an item that the engine refuses, so that it gets its one
    result in its own place like every other.

    Args:
        inputs: Where the lines come from, one after the other.
        chooser: Which of them are taken.
        keeps_prompts: Whether rows will have what was sent.
    """

    inputs: Sequence[Input]
    chooser: Chooser
    keeps_prompts: bool = False
    _ids: IdSet = field(factory=IdSet, init=False)

    @property
    def is_regular(self) -> bool:
        """True if all of it is there: files on a disk, and no pipe."""
        return all(one.regular for one in self.inputs)

    def items(self) -> Any:
        """Return the items, for a batch to read: files in a thread, a pipe as it fills."""
        if self.chooser.is_done:
            return ()
        # A disk may be slow too, and one behind a network stand still.
        return blocking_source(self._from_files()) if self.is_regular else self._from_pipes()

    def count(self) -> int:
        """Return how many lines are taken. Call it in a worker thread, for regular inputs."""
        choice = self.chooser.choice
        if choice.shard is None:
            return choice.most(sum(one.count(check=check_cancelled) for one in self.inputs))
        wanted = choice.shard.has
        return choice.most(sum(one.count(wanted, check=check_cancelled) for one in self.inputs))

    def all_taken(self) -> Iterator[Taken]:
        """Yield every line that is taken, in the place of running them."""
        for one in self.inputs:
            for line in one.lines():
                for _, prompt, taken in self._items_of(line, one):
                    yield evolve(taken, line=evolve(taken.line, prompt=prompt))
                if self.chooser.is_done:
                    return

    def columns(self) -> list[str]:
        """Return the fields that the first rows of the files have, for the columns of a table."""
        names: dict[str, None] = {}
        for one in self.inputs:
            names.update(dict.fromkeys(one.first_fields()))
        return list(names)

    def _from_files(self) -> Iterator[Any]:
        for one in self.inputs:
            for line in one.lines():
                yield from self._items_of(line, one)
                if self.chooser.is_done:
                    return

    async def _from_pipes(self) -> AsyncIterator[Any]:
        for one in self.inputs:
            while (lines := await one.next_lines()) is not None:
                for line in lines:
                    for item in self._items_of(line, one):
                        yield item
                    if self.chooser.is_done:
                        return

    def _items_of(self, line: Line, one: Input) -> Iterator[Any]:
        if not self.chooser.takes(line.item_id):
            return
        source = one.name if len(self.inputs) > 1 else None
        item_id, is_id = line.item_id, _is_id(line.item_id)
        if is_id and source is not None:  # each input has ids of its own
            item_id = f"{source}:{item_id}"
        is_new = not is_id or self._ids.add(str(item_id))
        if not is_new and line.problem is None:
            line = evolve(line, problem=f"its id {line.item_id!r} came before; ids must be unique")
        keeps_id = line.own_id is not None and is_id and is_new
        prompt = None if line.problem else line.prompt  # None is refused, with this context
        # The prompt is the item's own; a context that has it too would double the journal.
        kept = line if self.keeps_prompts else evolve(line, prompt=None)
        item = NumberedItem(item_id, prompt, Taken(kept, one.name, source, keeps_id))
        yield item if line.own_id is None else tuple(item)


def _is_id(value: Any) -> bool:
    """Return whether the engine would take *value* as an id."""
    return isinstance(value, str | int) and bool(str(value).strip())
