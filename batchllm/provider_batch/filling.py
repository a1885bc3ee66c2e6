"""Filling chunks: lines gather until a chunk is full, and then it is written in one piece."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import anyio
from attrs import define, field

from batchllm.core import LLMWorkItem
from batchllm.journal import JournalWriter
from batchllm.provider_batch.billing import LineBound
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.names import custom_id
from batchllm.provider_batch.pacing import CANARY, ChunkSizes
from batchllm.provider_batch.refinding import Strength
from batchllm.provider_batch.rows import LineRow, LineState
from batchllm.provider_batch.spool import Items, Spool
from batchllm.provider_batch.states import Chunk
from batchllm.provider_batch.wires import BatchWire
from batchllm.providers import WireRequest

__all__ = ["Filling", "Room"]

_BYTES_PER_TOKEN: Final = 3.5
_AHEAD: Final = 3
"""Chunks that wait to be created, or to be read: while one is uploaded the next is there."""


@define(eq=False)
class Room:
    """The number of chunks that wait for something, and an event for the task that fills more.

    They wait to be created, or, when they are settled, for their results to be passed on.
    """

    waiting: int = field(default=0, init=False)
    _changed: anyio.Event = field(factory=anyio.Event, init=False)

    def set(self, waiting: int) -> None:
        """Note how many chunks wait."""
        if waiting < self.waiting:
            self._changed.set()
            self._changed = anyio.Event()
        self.waiting = waiting

    @property
    def is_full(self) -> bool:
        """Return whether no further chunk is made before one of them waits no more."""
        return self.waiting >= _AHEAD

    async def below(self, most: int) -> None:
        """Wait until there are fewer than *most*."""
        while self.waiting >= most:
            await self._changed.wait()


@define(eq=False)
class _Group:
    """Lines of one path, model and round."""

    path: str
    model: str
    round: int
    rows: list[LineRow] = field(factory=list)
    known: list[bool] = field(factory=list)
    lines: list[bytes] = field(factory=list)
    bounds: list[LineBound] = field(factory=list)
    kept: list[tuple[int, LLMWorkItem[Any, Any, Any], int]] = field(factory=list)
    inputs: array[int] = field(factory=lambda: array("L"))
    size: int = 0
    texts: int = 0


@define(eq=False)
class Filling:
    """Gathers lines, and makes chunks of them.

    Args:
        wire: Writes lines.
        ledger: Takes chunks.
        spool: Takes their files.
        items: Keeps the items.
        journal: Its thread does the work.
        sizes: How large chunks are.
        room: Makes it wait while enough chunks are ready.
        strategy: The digest of the strategy's identity.
        on_chunk: Called with each new chunk and the items that wait for it.
        tests_first: Whether a chunk of few lines goes before the first large one.
        echo: Whether its lines ask for marks.
        counts: Returns the numbers of lines of the chunks that are under way; a provider that knows
            no names of ours is asked by them, so that no two are alike.

    Attributes:
        gathering: Numbers of the lines that are in no chunk yet.
    """

    wire: BatchWire
    ledger: BatchLedger
    spool: Spool
    items: Items
    journal: JournalWriter
    sizes: ChunkSizes
    room: Room
    strategy: bytes
    on_chunk: Callable[[Chunk, int], None]
    tests_first: bool
    echo: bool
    counts: Callable[[], frozenset[int]]
    gathering: set[int] = field(factory=set, init=False)
    _groups: dict[tuple[str, str, int], _Group] = field(factory=dict, init=False)

    async def add(
        self,
        row: LineRow,
        request: WireRequest,
        work: LLMWorkItem[Any, Any, Any],
        position: int,
        *,
        kept: bool,
        output: int | None = None,
        sent: WireRequest | None = None,
    ) -> bool:
        """Take one line; a chunk that is full with it is written.

        Args:
            row: As the ledger knows it, or is to know it.
            request: The item's.
            work: The item.
            position: In the input.
            kept: Whether the item is kept already.
            output: The most tokens that its answer may have, if its request bounds them.
            sent: What is sent in place of the item's request, which gives the line its id.

        Returns:
            Whether it was taken; not a line that is larger than a file may be.
        """
        # A new row has no id yet; one that is repeated gets another in place of its old one.
        known = bool(row.custom_id)
        name = self.id_of(row, request)
        sent = sent or request
        line = self.wire.write_line(name, sent)
        inputs = _inputs_of(request, work.prompt)
        if len(line) > self.sizes.most_bytes or inputs > self.sizes.inputs:
            return False
        key = request.path, request.model, row.round
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(*key)
        # Twice, if the first chunk is cut off for a test and what is left has no room still.
        while group.lines and (
            group.size + len(line) > self.sizes.bytes or group.texts + inputs > self.sizes.inputs
        ):
            await self._write(group)
        self.gathering.add(row.line)
        group.rows.append(row._replace(custom_id=name, strategy=self.strategy))
        group.known.append(known)
        group.lines.append(line)
        group.bounds.append(LineBound(len(sent.body), output))
        group.size += len(line)
        group.inputs.append(inputs)
        group.texts += inputs
        if not kept:
            group.kept.append((row.line, work, position))
        if len(group.lines) >= self.sizes.lines and len(group.lines) > CANARY:
            await self._write(group)
        elif len(group.lines) >= self.sizes.lines:
            await self._write(group, canary=False)
        return True

    def id_of(self, row: LineRow, request: WireRequest) -> str:
        """Return the id of a line that asks *request*."""
        return custom_id(self.ledger.run, row.item, request.body, self._attempt_of(row))

    def _attempt_of(self, row: LineRow) -> int:
        """Return a number that no earlier line of the item has: by line and round."""
        return row.line << 8 | row.round

    async def close(self) -> None:
        """Make chunks of what has gathered, since nothing is known to follow."""
        for group in list(self._groups.values()):
            await self._write(group, canary=False)

    async def _write(self, group: _Group, *, canary: bool = True) -> None:
        if canary and self.tests_first and len(group.rows) > CANARY:
            self.tests_first = False
            test, rest = _split(group, CANARY)
            if rest is not None:
                group.rows, group.known, group.lines = rest.rows, rest.known, rest.lines
                group.inputs, group.texts = rest.inputs, rest.texts
                group.bounds, group.kept, group.size = rest.bounds, [], rest.size
            await self._write_chunk(test, canary=True)
            return
        self.tests_first = False
        await self._write_chunk(group, canary=False)
        group.rows, group.known, group.lines = [], [], []
        group.bounds, group.kept, group.size = [], [], 0
        group.inputs, group.texts = array("L"), 0

    async def _write_chunk(self, group: _Group, *, canary: bool) -> None:
        if not group.rows:
            return
        await self.room.below(_AHEAD)
        if self.wire.strength is Strength.STATISTICAL:
            first, rest = _split(group, _unlike(len(group.rows), self.counts()))
            if rest is not None:
                await self._write_one(first, canary=canary)
                await self.room.below(_AHEAD)
                group, canary = rest, False
        await self._write_one(group, canary=canary)

    async def _write_one(self, group: _Group, *, canary: bool) -> None:
        number, call = self.ledger.next_chunk(), self.journal.worker.call
        await call(partial(self.items.put, group.kept))
        size, sha = await call(partial(self.spool.write_lines, number, group.lines))
        inputs = [bound.input for bound in group.bounds]
        outputs = [bound.output for bound in group.bounds if bound.output is not None]
        chunk = Chunk(
            number=number,
            run=self.ledger.run,
            round=group.round,
            provider=self.wire.provider,
            path=group.path,
            model=group.model,
            strategy=self.strategy,
            lines=len(group.rows),
            size=size,
            tokens=int(size / _BYTES_PER_TOKEN),
            sha=sha,
            canary=canary,
            echo=self.echo,
            most_input=sum(inputs),
            longest=max(inputs),
            most_output=sum(outputs),
            unbounded=len(inputs) - len(outputs),
        )
        rows = [
            row._replace(chunk=number, line_no=index, state=LineState.SENT)
            for index, row in enumerate(group.rows, 1)
        ]
        new = [row for row, known in zip(rows, group.known, strict=True) if not known]
        old = [row for row, known in zip(rows, group.known, strict=True) if known]
        await self.ledger.add(chunk, new, old)
        self.gathering.difference_update(row.line for row in rows)
        self.on_chunk(chunk, len(rows))


def _inputs_of(request: WireRequest, prompt: Any) -> int:
    """Return how many texts a request for embeddings has, and 1 for each other request."""
    if isinstance(prompt, list | tuple) and request.path.endswith("/embeddings"):
        return len(prompt)
    return 1


def _unlike(lines: int, taken: frozenset[int]) -> int:
    """Return how many of *lines* go into a first chunk, so that no two chunks are of one number.

    That number is all by which a provider without names of ours lets a batch be found.
    """
    if lines not in taken:
        return lines
    for first in range(lines // 2 + 1, lines):
        if first not in taken and lines - first not in taken:
            return first
    return lines


def _split(group: _Group, first: int) -> tuple[_Group, _Group | None]:
    """Cut a group in two behind its first lines; the items of both are kept with the first."""
    if first >= len(group.rows):
        return group, None
    head = _Group(group.path, group.model, group.round)
    rest = _Group(group.path, group.model, group.round)
    head.rows, rest.rows = group.rows[:first], group.rows[first:]
    head.known, rest.known = group.known[:first], group.known[first:]
    head.lines, rest.lines = group.lines[:first], group.lines[first:]
    head.bounds, rest.bounds = group.bounds[:first], group.bounds[first:]
    head.inputs, rest.inputs = group.inputs[:first], group.inputs[first:]
    head.texts, rest.texts = sum(head.inputs), sum(rest.inputs)
    head.kept = group.kept
    head.size = sum(map(len, head.lines))
    rest.size = group.size - head.size
    return head, rest
