"""Asking a provider to end batches: one by one, and all of them when their user ends the run."""

from __future__ import annotations

from typing import Final

import anyio
from attrs import define

from batchllm.core import ProviderError, TransportError, counted
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.finding import Finder
from batchllm.provider_batch.refinding import Strength
from batchllm.provider_batch.refusals import hint_of, is_settled_refusal
from batchllm.provider_batch.states import Chunk, Reason, State
from batchllm.provider_batch.wires import BatchWire

__all__ = ["Canceller"]

_AT_ONCE: Final = 8
"""Calls at once when a run ends: a hundred batches are asked about within the seconds for that."""
_AGAIN: Final = 2.0
"""Seconds until a batch that no list has is looked for again, since lists lag behind creates, and
until it is seen if the end of one may be asked for again."""
_NAMED: Final = 5
"""Batches of which a message has the names."""


@define(eq=False)
class Canceller:
    """Asks for the end of the batches of one run.

    Args:
        board: The chunks.
        wire: The provider.
        finder: Looks for batches that may have been created.
    """

    board: Board
    wire: BatchWire
    finder: Finder

    async def cancel(self, chunk: Chunk) -> bool:
        """Ask for the end of one batch, which is wanted already; return whether it was heard."""
        assert chunk.batch_id is not None
        try:
            await self.wire.cancel(chunk.batch_id)
        except (ProviderError, TransportError) as error:
            if isinstance(error, TransportError) or not is_settled_refusal(error):
                self.board.back_off(chunk, hint_of(error))
                return False
            # It has ended already, or is being cancelled: the next poll says which.
        await self.board.move(chunk, State.CANCELLING, f"for {chunk.reason}")
        return True

    # -- when their user ends the run ------------------------------------------------------------

    async def cancel_all(self) -> None:
        """Ask for the end of all batches, and look for those of which it is not known if they are.

        That it is wanted is written down of each before any is asked for, so that a run that goes
        on has it, however far this one comes. It goes on until each was heard or found.
        """
        board = self.board
        for chunk in board.in_state(State.RUNNING):
            await board.move(
                chunk, State.CANCEL_WANTED, "the run was cancelled", reason=Reason.USER
            )
        for chunk in board.in_state(State.CREATING):
            text = "the run was cancelled during the create"
            await board.move(chunk, State.QUARANTINE, text, note=text)
        await self._ask_for_all(board.in_state(State.CANCEL_WANTED))
        looks = True
        while True:
            for chunk in board.in_state(State.QUARANTINE) if looks else []:
                await self._look_for(chunk)
            # By time and number alone nothing is cancelled: it may be the batch of another.
            looks = self.wire.strength is not Strength.STATISTICAL
            await self._ask_for_all(self._due())
            left = (State.CANCEL_WANTED, State.QUARANTINE) if looks else (State.CANCEL_WANTED,)
            if not board.in_state(*left):
                break
            await anyio.sleep(_AGAIN)

    def _due(self) -> list[Chunk]:
        """Return the batches of which the end is wanted and may be asked for now."""
        now = anyio.current_time()
        return [
            one for one in self.board.in_state(State.CANCEL_WANTED) if self.board.is_due(one, now)
        ]

    async def _ask_for_all(self, chunks: list[Chunk]) -> None:
        limiter = anyio.CapacityLimiter(_AT_ONCE)

        async def ask(chunk: Chunk) -> None:
            async with limiter:
                await self.cancel(chunk)

        async with anyio.create_task_group() as group:
            for chunk in chunks:
                group.start_soon(ask, chunk, name=f"batchllm cancels {chunk.batch_id}")

    async def _look_for(self, chunk: Chunk) -> None:
        """Bind what the create of a chunk has made, and ask for the end of all that it has made."""
        try:
            found = await self.finder.lookup.find(chunk, self.board)
        except (ProviderError, TransportError):
            return
        if self.wire.strength is Strength.STATISTICAL:
            found = [one for one in found if one.outputs]  # proved by its results
        if not found:
            return
        mine, others = found[-1], found[:-1]
        chunk = await self.finder.bind(chunk, mine, "found when the run was cancelled")
        for other in others:
            await self._end_second(other.id)
        if not mine.kind.ended:
            await self.board.move(
                chunk, State.CANCEL_WANTED, "the run was cancelled", reason=Reason.USER
            )

    async def _end_second(self, batch_id: str) -> None:
        try:
            await self.wire.cancel(batch_id)
        except (ProviderError, TransportError) as error:
            self.board.warnings.append(
                f"batch {batch_id}, a second one of its chunk, could not be cancelled ({error})"
            )

    def in_words(self) -> list[str]:
        """Say what became of each batch, and how to go on with those that nothing became of."""
        board, provider = self.board, self.wire.provider
        said = []
        heard = [one for one in board.in_state(State.CANCELLING) if one.reason is Reason.USER]
        if heard:
            batches = counted(len(heard), "batch is", "batches are")
            said.append(
                f"{batches} being cancelled at {provider}; the same typed again takes what was "
                "done, and sends the rest again"
            )
        unheard = board.in_state(State.CANCEL_WANTED)
        if unheard:
            said.append(
                f"{provider} has not answered in time that it ends {_names(unheard)}: the same "
                "typed again, or `batchllm jobs RUN cancel`, asks again"
            )
        doubtful = board.in_state(State.QUARANTINE)
        if doubtful:
            said.append(
                f"it is not known if {provider} has {_names(doubtful)}, whose create had no "
                "answer: the same typed again looks for it and goes on with it, and "
                "`batchllm jobs RUN cancel` looks for it and cancels it"
            )
        return said


def _names(chunks: list[Chunk]) -> str:
    """Name batches by their ids, and chunks without one by number, size and name."""
    names = [
        one.batch_id
        or f"batch {one.number} of {counted(one.lines, 'request')} ({one.name.display})"
        for one in chunks[:_NAMED]
    ]
    more = len(chunks) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
