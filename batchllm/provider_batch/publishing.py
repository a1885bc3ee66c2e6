"""From the ledger to the engine: items whose answers are there, or that are to be called online."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import define, field

from batchllm.core import LLMCallStrategy, LLMWorkItem, Termination
from batchllm.engine import Incoming, PreparedItems
from batchllm.journal import Entry, JournalWriter
from batchllm.provider_batch.answered import Answered, opened_with
from batchllm.provider_batch.echo import without_mark
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.repeats import Following, Leading, Repeats
from batchllm.provider_batch.rows import LineRow, LineState
from batchllm.provider_batch.spool import Items, Spool
from batchllm.provider_batch.states import Chunk
from batchllm.provider_batch.wires import BatchWire, body_of
from batchllm.transport import HttpReply

__all__ = ["BUFFER", "PlannedItems", "Publisher"]

BUFFER = 64
"""Items between the driver and the engine: enough that neither waits for the other's turn."""


class PlannedItems(PreparedItems):
    """The items of a run as the engine reads them: each when its turn has come.

    An asynchronous iterable of what the engine takes without reading it again.

    Attributes:
        numbers: How many batches are under way, their requests, and how many of these are counted
            as done; for ``stats``.
    """

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._error: Exception | None = None
        self.send: MemoryObjectSendStream[Incoming]
        self._receive: MemoryObjectReceiveStream[Incoming]
        self.send, self._receive = anyio.create_memory_object_stream[Incoming](BUFFER)

    def __len__(self) -> int:
        if self._size is None:
            msg = "it is not known how many items there are"
            raise TypeError(msg)
        return self._size

    def __aiter__(self) -> PlannedItems:
        return self

    async def __anext__(self) -> Incoming:
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            if self._error is not None:
                error, self._error = self._error, None
                raise error from None
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Take nothing more."""
        self._receive.close()

    def end(self, termination: Termination | None = None, error: Exception | None = None) -> None:
        """Note that nothing more comes; *error* is raised to the engine."""
        self.termination, self._error = termination, error
        self.send.close()

    def discard(self) -> None:
        """Close both ends."""
        self.send.close()
        self._receive.close()


@define(eq=False)
class Publisher:
    """Passes items on to the engine.

    Args:
        strategy: Of each item: the leaf, or a composite that opens with it.
        leaf: Whose requests were sent.
        wire: Reads answers.
        ledger: Knows the lines.
        spool: Has the answers.
        items: Has the items.
        journal: Where the engine writes their results.
        send: To the engine.
        repeats: Knows which items ask what another asks; ``None`` if each has its own answer.

    Attributes:
        settled: Chunks whose lines have outcomes, with the ids of their batches.
        count: Items that were passed on.
    """

    strategy: LLMCallStrategy[Any]
    leaf: LLMCallStrategy[Any]
    wire: BatchWire
    ledger: BatchLedger
    spool: Spool
    items: Items
    journal: JournalWriter
    send: MemoryObjectSendStream[Incoming]
    repeats: Repeats | None = None
    settled: dict[int, str] = field(factory=dict, init=False)
    count: int = field(default=0, init=False)
    _marked: set[int] = field(factory=set, init=False)

    def know(self, chunk: Chunk) -> None:
        """Note that the lines of a chunk have their outcomes."""
        self.settled[chunk.number] = chunk.batch_id or ""
        if chunk.echo:
            self._marked.add(chunk.number)

    async def publish_chunk(self, chunk: Chunk) -> None:
        """Pass on what is here of a chunk that is settled."""
        after = -1
        while rows := await self.ledger.lines_of(chunk.number, after):
            after = rows[-1].line_no or 0
            await self.publish(rows)

    async def publish(self, rows: Sequence[LineRow]) -> None:
        """Pass on items whose lines have their outcomes, as far as the items are here."""
        ready = [row for row in rows if row.state in (LineState.ANSWERED, LineState.ONLINE)]
        if not ready:
            return
        if self.repeats is not None:
            for row in ready:
                if self.items.has(row.line):
                    self.repeats.take_out(row.line)
        for row, work, position, reply in await self.journal.worker.call(
            partial(self._take, ready)
        ):
            work.strategy = self._strategy_of(row, reply)
            await self.pass_on(work, position, row)

    async def publish_copy(self, row: LineRow, strategy: LLMCallStrategy[Any]) -> None:
        """Pass an item on with a strategy of its own, while its batch goes on."""
        if self.repeats is not None:
            self.repeats.take_out(row.line)
        work, position = await self.journal.worker.call(partial(self._take_item, row.line))
        work.strategy = strategy
        await self.pass_on(work, position, row)

    def _strategy_of(self, row: LineRow, reply: HttpReply | None) -> LLMCallStrategy[Any]:
        if reply is None:
            return self.strategy
        batch_id = self.settled.get(row.chunk or 0, "")
        answered = Answered(self.leaf, reply, batch_id, stacks=self.wire.stacks)
        return opened_with(self.strategy, answered)

    async def pass_on(self, work: LLMWorkItem[Any, Any, Any], position: int, row: LineRow) -> None:
        """Pass one item on, with its entry in the journal."""
        if self.repeats is not None and not isinstance(work.strategy, Following):
            self.repeats.pass_on(row.line)
            work.strategy = Leading(self.repeats, work.strategy or self.strategy, row.line)
            await self._send(work, position, row)
            await self._pass_on_repeats(self.repeats, row.line)
        else:
            await self._send(work, position, row)

    async def _pass_on_repeats(self, repeats: Repeats, first: int) -> None:
        """Pass on the items that ask what the item of a line asks, which goes before them."""
        for row in repeats.take(first):
            work, position = await self.journal.worker.call(partial(self._take_item, row.line))
            work.strategy = Following(repeats, first)
            await self._send(work, position, row)

    async def _send(self, work: LLMWorkItem[Any, Any, Any], position: int, row: LineRow) -> None:
        identity = self.journal.registrar.identity
        entry = Entry(row.item, row.digest, identity, False, position, work.prompt)
        self.count += 1
        await self.send.send(Incoming(work, position, entry, went_in=True))

    def _take_item(self, line: int) -> tuple[LLMWorkItem[Any, Any, Any], int]:
        found = self.items.get(line)
        self.items.drop(line)
        return found

    def _take(
        self, rows: Sequence[LineRow]
    ) -> list[tuple[LineRow, LLMWorkItem[Any, Any, Any], int, HttpReply | None]]:
        """Take items out of the store with their answers; each is taken once."""
        taken = []
        try:
            for row in rows:
                if self.items.has(row.line):
                    work, position = self.items.get(row.line)
                    self.items.drop(row.line)
                    taken.append((row, work, position, self._reply_of(row)))
        finally:
            self.items.let_go()
            self.spool.let_go()
        return taken

    def _reply_of(self, row: LineRow) -> HttpReply | None:
        if row.state == LineState.ONLINE:
            return None
        if row.answer is not None:
            given = json.loads(row.answer)
            return HttpReply(given["status"], {}, msgspec.json.encode(given["body"]))
        assert row.chunk is not None
        assert row.part is not None
        assert row.start is not None
        assert row.size is not None
        line = self.spool.read_answer(row.chunk, row.part, row.start, row.size)
        if row.chunk in self._marked:
            line = without_mark(line, row.custom_id)
        outcome = self.wire.read_line(line)
        return HttpReply(outcome.status, outcome.headers, body_of(outcome))
