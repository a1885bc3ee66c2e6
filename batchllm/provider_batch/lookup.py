"""Looking through a provider's batches for the one that a create without an answer has made."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from attrs import define, field

from batchllm.provider_batch.names import custom_id_prefix
from batchllm.provider_batch.refinding import Strength
from batchllm.provider_batch.states import Chunk
from batchllm.provider_batch.wires import BatchWire, RemoteBatch, RemoteKind

__all__ = ["MOST_PAGES", "Lookup"]

_SKEW: Final = 5.0
"""Seconds by which two clocks of one provider may differ, and its ``Date`` is rounded."""
MOST_PAGES: Final = 100
"""Pages of a list that are read at most: 10,000 batches are all of five hours at the full rate."""
_SCAN_BEFORE: Final = 600.0
"""Seconds before a create from which on no older batch is looked at."""


class _Enough(Exception):
    """Ends a download of which the beginning was wanted."""


@define(eq=False)
class Lookup:
    """Finds batches in the lists of one provider.

    Args:
        wire: The provider.
    """

    wire: BatchWire
    _proofs: dict[str, bool] = field(factory=dict, init=False)

    async def find(self, chunk: Chunk, others: Iterable[Chunk]) -> list[RemoteBatch]:
        """Return the batches that are this chunk's, or may be, the newest first.

        Args:
            chunk: Whose create had no answer.
            others: Of the journal, whose batches it is not.

        Raises:
            ProviderError: The provider refuses to list them.
            TransportError: It gave no answer.
        """
        assert chunk.intent is not None
        bound = {one.batch_id for one in others if one.batch_id}
        found: list[RemoteBatch] = []
        after: str | None = None
        for _ in range(MOST_PAGES):
            page = await self.wire.list_batches(after)
            found += [
                one for one in page.batches if one.id not in bound and self._may_be(one, chunk)
            ]
            after = page.after
            if after is None or page.is_behind(chunk.intent - _SCAN_BEFORE):
                break
        if self.wire.strength is Strength.STATISTICAL:
            return await self._proved(found, chunk.run)
        return found

    async def _proved(self, found: list[RemoteBatch], run: str) -> list[RemoteBatch]:
        """Return the one whose results have our ids, else those that have no results yet."""
        open_still = []
        for remote in found:
            if not remote.outputs:
                open_still.append(remote)
                continue
            if await self.is_ours(remote, run):
                return [remote]
        return open_still

    async def is_ours(self, remote: RemoteBatch, run: str) -> bool:
        """Return whether the first line of a batch's results has an id of this run."""
        if remote.id not in self._proofs:
            self._proofs[remote.id] = await self._begins_with_ours(remote, run)
        return self._proofs[remote.id]

    async def _begins_with_ours(self, remote: RemoteBatch, run: str) -> bool:
        start = b""

        async def take(piece: bytes) -> None:
            nonlocal start
            start += piece
            if b"\n" in start:
                raise _Enough

        with suppress(_Enough):
            await self.wire.download(remote.outputs[0], take)
        outcome = self.wire.read_line(start.partition(b"\n")[0])
        return (outcome.custom_id or "").startswith(custom_id_prefix(run))

    def _may_be(self, remote: RemoteBatch, chunk: Chunk) -> bool:
        """Return whether a batch may be what the last create of a chunk has made."""
        if not self.wire.is_of(remote, chunk):
            return False
        # One that an earlier attempt made and the provider rejected is no answer to this one.
        earlier = remote.created is not None and remote.created < (chunk.intent or 0.0) - _SKEW
        return not (remote.kind is RemoteKind.REJECTED and earlier)
