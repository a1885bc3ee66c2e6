"""Finding the batch that a create without an answer may have made, and binding it to its chunk."""

from __future__ import annotations

from functools import partial

import anyio
from attrs import define, field

from batchllm.core import ProviderError, TransportError
from batchllm.journal import JournalWriter
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.lookup import Lookup
from batchllm.provider_batch.outages import Outage
from batchllm.provider_batch.refinding import Found, Refinding
from batchllm.provider_batch.refusals import hint_of
from batchllm.provider_batch.spool import Spool
from batchllm.provider_batch.states import Chunk, State
from batchllm.provider_batch.wires import BatchWire, RemoteBatch

__all__ = ["Finder"]


@define(eq=False)
class Finder:
    """Looks for batches of chunks whose create had no answer.

    Args:
        board: The chunks.
        wire: The provider.
        spool: Has the lines of chunks, which are not needed once there is a batch.
        journal: Its thread drops them.
        refinding: When it is looked, and what looks prove.
        outage: Learns if calls fail.
        lookup: Asks the provider.
    """

    board: Board
    wire: BatchWire
    spool: Spool
    journal: JournalWriter
    refinding: Refinding
    outage: Outage
    lookup: Lookup
    _began: dict[int, float] = field(factory=dict, init=False)
    _seen: dict[int, float] = field(factory=dict, init=False)
    _looked: dict[int, float] = field(factory=dict, init=False)
    _looks: dict[int, int] = field(factory=dict, init=False)

    def look_at(self, chunk: Chunk, now: float) -> float:
        """Return when the next look for a chunk's batch is due, on the loop's clock."""
        # By the clock as the caller has read it: one that is read again is ahead of that, and what
        # is due at once would never be.
        since = self._since(chunk, now)
        looked, looks = self._looked.get(chunk.number), self._looks.get(chunk.number, 0)
        due = self.refinding.next_look(since, looked, looks)
        return max(now + due - since, self.board.due_at(chunk))

    async def look(self, chunk: Chunk) -> None:
        """Look for the batch of a chunk: bind it, or allow another create if it is not there."""
        board = self.board
        try:
            found = await self.lookup.find(chunk, board)
        except (ProviderError, TransportError) as error:
            self.outage.failed(error)
            board.back_off(chunk, hint_of(error))
            return
        self.outage.good()
        since = self._since(chunk, anyio.current_time())
        self._looked[chunk.number] = since
        looks = self._looks[chunk.number] = self._looks.get(chunk.number, 0) + 1
        match self.refinding.judge(since, len(found), looks):
            case Found.ADOPT:
                await self.bind(chunk, found[-1], "found again")
            case Found.ABSENT:
                self._forget(chunk)
                await board.move(chunk, State.UPLOADED, "it is surely not there")
            case Found.LOOK_AGAIN:
                pass

    def begin(self, chunk: Chunk, now: float) -> None:
        """Note when this process has begun a create, on the loop's clock."""
        self._began[chunk.number] = now

    def _since(self, chunk: Chunk, now: float) -> float:
        """Return the seconds since the create of a chunk.

        Of a create of this process the loop's clock is right, whatever the provider's was taken to
        be then. Of another process's it is the provider's clock, if its time is not ahead of that:
        in any case it is as long ago as this process knows of it.
        """
        began = self._began.get(chunk.number)
        if began is not None:
            return max(0.0, now - began)
        assert chunk.intent is not None
        seen = self._seen.setdefault(chunk.number, now)
        return max(0.0, now - seen, self.board.server_time(now) - chunk.intent)

    def _forget(self, chunk: Chunk) -> None:
        known: dict[int, float]
        for known in (self._began, self._seen, self._looked):
            known.pop(chunk.number, None)
        self._looks.pop(chunk.number, None)

    async def bind(self, chunk: Chunk, remote: RemoteBatch, how: str) -> Chunk:
        """Note the batch of a chunk; from here on nothing is created for it."""
        board = self.board
        self._forget(chunk)
        after = await board.move(
            chunk,
            State.RUNNING,
            f"{how}: {remote.id}",
            batch_id=remote.id,
            status=remote.status,
            submitted=remote.created or board.server_time(anyio.current_time()),
            expires=remote.expires,
            note="",
        )
        await self.journal.worker.call(partial(self.spool.drop_lines, chunk.number))
        return after
