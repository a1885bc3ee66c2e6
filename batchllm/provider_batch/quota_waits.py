"""Waiting for a quota: how long, what is learned from it, and when a run ends instead.

A server that asks to wait is waited for, within bounds: a call that costs nothing comes again after
an hour, an upload or a create after six. A provider that asks for more is not going to take a
batch in this run, which ends and says so, unless it has a deadline and goes on online.
"""

from __future__ import annotations

import anyio
from attrs import define

from batchllm.core import EndCause, ProviderError
from batchllm.provider_batch.admission import PATIENCE
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.lateness import Lateness
from batchllm.provider_batch.outages import Outage
from batchllm.provider_batch.quota_memory import QuotaMemory
from batchllm.provider_batch.refusals import hint_of, limit_in
from batchllm.provider_batch.settling import Settler
from batchllm.provider_batch.states import Chunk

__all__ = ["QuotaWaits"]


@define(eq=False)
class QuotaWaits:
    """Takes the refusals for a quota of one run.

    Args:
        board: The chunks.
        settler: Splits those that never fit.
        lateness: Says if what waits goes online in time.
        outage: Learns if calls fail.
        memory: Keeps what is learned for the next process.
    """

    board: Board
    settler: Settler
    lateness: Lateness
    outage: Outage
    memory: QuotaMemory

    async def refused(self, chunk: Chunk, text: str, hint: float | None) -> None:
        """Learn from a create that was refused, and wait; one that never fits is split."""
        board, now = self.board, anyio.current_time()
        live = sum(one.tokens for one in board.in_flight if one.number != chunk.number)
        split = board.admission.refused(chunk.tokens, live, now, limit=limit_in(text), hint=hint)
        await self.memory.save(now)
        if split and chunk.lines > 1:
            await self._split(chunk)
        elif board.admission.seconds_refused(now) > PATIENCE:
            self._end(f"no batch was taken for six hours, the last answer was {text}")
        else:
            self._said(text, hint)

    async def splits(self, chunk: Chunk, now: float) -> bool:
        """Split a chunk that by what is known will never fit; return whether it was."""
        self.memory.recall(chunk, now)
        if chunk.lines == 1 or not self.board.admission.never_fits(chunk.tokens, now):
            return False
        await self._split(chunk)
        return True

    async def _split(self, chunk: Chunk) -> None:
        self.settler.sizes.shrink(chunk.lines // 2)
        await self.settler.give_up(chunk, "it is larger than what may be enqueued at once")

    def wait(self, chunk: Chunk, error: ProviderError) -> None:
        """Wait with a chunk whose upload was refused for now, or what is asked before one."""
        # A refusal for a quota is an answer: with a deadline it is waited for until that is near.
        if error.status != 429 or not self.lateness.goes_online:
            self.outage.failed(error)
        hint = hint_of(error)
        self.board.back_off(chunk, hint, PATIENCE)
        self._said(str(error), hint)

    def _said(self, text: str, hint: float | None) -> None:
        if hint is not None and hint > PATIENCE:
            asked = f"{self.board.wire.provider} asks to wait for {_long(hint)}"
            self._end(f"{asked} before it takes more, the answer was {text}")

    def _end(self, why: str) -> None:
        """End the run, unless it has a deadline: what waits until then is called for online."""
        if not self.lateness.goes_online:
            self.board.end(EndCause.QUOTA, f"{why}; type the same again when the quota is back")


def _long(seconds: float) -> str:
    """Write a wait of hours or days."""
    hours = seconds / 3_600
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
