"""Second batches of one chunk: a create that was taken for lost, and was only late."""

from __future__ import annotations

from typing import Final

import anyio
from attrs import define, evolve, field

from batchllm.core import ProviderError, TransportError
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.lookup import Lookup
from batchllm.provider_batch.refinding import Strength
from batchllm.provider_batch.refusals import is_settled_refusal
from batchllm.provider_batch.states import Chunk
from batchllm.provider_batch.wires import BatchWire, RemoteBatch, RemoteKind

__all__ = ["Ghosts"]

_GHOSTS_FOR: Final = 25 * 3_600.0
"""Seconds after its create for which a second batch may turn up: until it would have ended."""


@define(eq=False)
class Ghosts:
    """Finds second batches in the lists that are read anyway, and cancels them.

    Args:
        board: The chunks.
        wire: The provider.
        lookup: Proves whose a batch is.
    """

    board: Board
    wire: BatchWire
    lookup: Lookup
    _known: set[str] = field(factory=set, init=False)

    def may_have_one(self, chunk: Chunk) -> bool:
        """Return whether a second batch of a chunk may turn up: it was created more than once."""
        if chunk.attempt < 2 or chunk.submitted is None:
            return False
        now = self.board.server_time(anyio.current_time())
        return now - chunk.submitted < _GHOSTS_FOR

    async def look_at(self, remote: RemoteBatch) -> None:
        """Cancel a second batch of a chunk that has one, and say so."""
        if remote.id in self._known:
            return
        owner = await self._owner_of(remote)
        if owner is None or remote.kind is RemoteKind.REJECTED:
            return
        text = f"batch {remote.id} is a second one of what {owner.batch_id} has"
        if not remote.kind.ended:
            if not await self._cancels(remote):
                return  # the next list has it again
            text += ", and was cancelled; what it had done by then is paid twice"
        else:
            text += ", and has ended; what it did is paid twice"
        self._known.add(remote.id)
        self.board.warnings.append(text)
        await self.board.move(owner, owner.state, text)

    async def _owner_of(self, remote: RemoteBatch) -> Chunk | None:
        """Return the chunk of which a batch is a second one.

        By time and number alone it may be another program's: there only ids in results prove it.
        """
        bound = {one.batch_id for one in self.board}
        repeated = [one for one in self.board if one.attempt > 1 and one.batch_id]
        if remote.id in bound:
            return None
        if self.wire.strength is Strength.EXACT:
            return next((one for one in repeated if self.wire.is_of(remote, one)), None)
        for one in repeated:
            first = evolve(one, intent=one.first_intent)
            if remote.outputs and (self.wire.is_of(remote, one) or self.wire.is_of(remote, first)):
                try:
                    return one if await self.lookup.is_ours(remote, one.run) else None
                except (ProviderError, TransportError):
                    return None  # the next list has it again
        return None

    async def _cancels(self, remote: RemoteBatch) -> bool:
        """Ask for the end of a batch; a failure is no reason to ask for no other."""
        try:
            await self.wire.cancel(remote.id)
        except TransportError:
            return False
        except ProviderError as error:
            return is_settled_refusal(error)
        return True
