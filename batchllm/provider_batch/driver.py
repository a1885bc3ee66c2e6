"""One run of batch mode: its parts, and the loop that takes one step after the other."""

from __future__ import annotations

from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint
from attrs import define, field

from batchllm.core import EndCause, JournalError, counted
from batchllm.provider_batch.beginning import begin
from batchllm.provider_batch.board import lost_in_words
from batchllm.provider_batch.parts import Given, Parts, parts_of
from batchllm.provider_batch.states import CREATED, State

__all__ = ["BatchDriver"]

_CLEAN_EVERY: Final = 60.0
_CLEAN_SECONDS: Final = 30.0
_CANCEL_SECONDS: Final = 10.0
_RELEASE_SECONDS: Final = 5.0


@define(eq=False)
class BatchDriver:
    """Drives the batches of one run, beside the engine that takes what comes of them.

    Args:
        given: The arguments of the run.
    """

    given: Given
    _parts: Parts = field(init=False)
    _is_done: bool = field(default=False, init=False)
    _cleaned: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._parts = parts_of(self.given)

    # -- the run ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Drive until every item has been passed on, or the run is to end before that."""
        error: Exception | None = None
        self._parts.wire.http.hold()
        try:
            async with anyio.create_task_group() as group:
                if await self._begin():
                    group.start_soon(self._parts.planner.run, name="batchllm batch planner")
                    group.start_soon(self._parts.money.watch, self._parts.board)
                    group.start_soon(self._parts.handing_out.run, name="batchllm batch results")
                    await self._conduct()
                    await self._look_for_late()
                    self._note_lost()
                    # Nothing is polled from here on, so no batch gives room in the budget back.
                    self._parts.money.leave(self._parts.board.termination)
                    await self._parts.handing_out.finished()
                    self.given.planned.numbers = self._parts.board.numbers()
                group.cancel_scope.cancel("the batches have ended, or wait for another run")
        except* Exception as errors:
            error = _first(errors)
        finally:
            with anyio.move_on_after(_RELEASE_SECONDS, shield=True):
                await self._parts.wire.http.release()
        self._is_done = True
        for reason, count in self._parts.planner.online.items():
            items = "an item was" if count == 1 else f"{count:,} items were"
            self.given.warnings.append(f"{items} called for online, at its price: {reason}")
        self.given.planned.end(self._parts.board.termination, error)

    async def _begin(self) -> bool:
        """Return whether this run may go on; the source is closed if not, since no planner will."""
        may_go_on = False
        try:
            may_go_on = await begin(self._parts)
        finally:
            if not may_go_on:
                await self.given.source.close()
        return may_go_on

    async def cancel_batches(self) -> None:
        """Ask the provider to end what is under way, if that is wanted of a run that is cancelled.

        Shielded, and for some seconds at most: what was not heard by then is named in the warnings
        and in the ledger.
        """
        if self.given.settings.on_cancel == "leave" or self._is_done or not self._parts.ledger.run:
            return
        self._parts.wire.http.hold()
        try:
            with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
                await self._parts.canceller.cancel_all()
        except* JournalError as errors:
            # What ended the run is said, and not that this could not be written down.
            self.given.warnings.append(f"batches could not be cancelled: {_first(errors)}")
        finally:
            self.given.warnings.extend(self._parts.canceller.in_words())
            with anyio.move_on_after(_RELEASE_SECONDS, shield=True):
                await self._parts.wire.http.release()

    async def close(self) -> None:
        """Forget what is finished, and let go of the files of this process."""
        with anyio.move_on_after(_CLEAN_SECONDS, shield=True):
            try:
                if self.given.journal.commits.failed is None and self._parts.ledger.run:
                    await self._parts.settler.clean()
                    await self._parts.memory.save(anyio.current_time())
            except JournalError as error:
                # Nothing is missing: what is left is found by the next run.
                self.given.warnings.append(f"what is finished could not be cleaned up: {error}")
            finally:
                await self.given.journal.worker.call(self._parts.items.close)
                await self.given.journal.worker.call(self._parts.spool.drop_folder)

    # -- the loop --------------------------------------------------------------------------------

    async def _conduct(self) -> None:
        board = self._parts.board
        while board.termination is None and not self._is_over():
            board.begin_to_wait()
            now = anyio.current_time()
            self.given.planned.numbers = board.numbers()
            if await self._step(now):
                await checkpoint()
                continue
            if self.given.settings.detach and self._is_submitted():
                board.end(EndCause.DETACHED, self._where_it_is())
                break
            if board.termination is not None or self._is_over():
                break
            at = self._next_at(now)
            with anyio.move_on_at(max(at, now)):
                await board.changed()

    async def _look_for_late(self) -> None:
        """Ask once for late batches whose items were called for online: what they did is paid."""
        board = self._parts.board
        late = [one for one in board.in_state(*CREATED) if one.copied]
        if late and board.termination is None:
            await self._parts.watcher.look()
            goes_on = True
            while goes_on:
                goes_on = await self._parts.settler.step(anyio.current_time())

    async def _step(self, now: float) -> bool:
        if now >= self._cleaned + _CLEAN_EVERY:
            self._cleaned = now
            await self._parts.settler.clean()
            await self._parts.memory.save(now)
        if await self._parts.settler.step(now):
            return True
        if self._parts.copier is not None and await self._parts.copier.step(now):
            return True
        # Before what is submitted: polls are rare, and uploads may follow each other for hours.
        if await self._parts.watcher.step(now):
            return True
        alive = {one.number for one in self._parts.board.in_state(State.RUNNING)}
        if not await self._parts.submitter.step(now):
            return False
        if {one.number for one in self._parts.board.in_state(State.RUNNING)} - alive:
            self._parts.watcher.created()
        return True

    def _next_at(self, now: float) -> float:
        times = [
            self._parts.settler.next_at(),
            self._parts.submitter.next_at(now),
            self._parts.watcher.next_at(now),
        ]
        if self._parts.copier is not None:
            times.append(self._parts.copier.next_at())
        if self._parts.board.in_state(State.SETTLED, State.DROPPED):
            times.append(self._cleaned + _CLEAN_EVERY)
        return min(times)

    def _is_over(self) -> bool:
        parts = self._parts
        return parts.planner.idle and not parts.board.wanted and parts.handing_out.idle

    def _note_lost(self) -> None:
        """End the run in words if items wait for batches that the provider has no more."""
        board = self._parts.board
        lost = [one for one in board.in_state(State.LOST) if board.waiting[one.number]]
        if lost:
            board.end(EndCause.STOPPED, lost_in_words(lost))

    def _is_submitted(self) -> bool:
        parts = self._parts
        # A reader that is slow is no reason to go away: there is room when it has read.
        is_full = parts.room.is_full and parts.handing_out.idle
        return (parts.planner.idle or is_full) and parts.submitter.blocked

    def _where_it_is(self) -> str:
        parts, board = self._parts, self._parts.board
        flying = [chunk for chunk in board.wanted if chunk.in_flight]
        requests = sum(chunk.lines for chunk in flying)
        later = sum(chunk.lines for chunk in board.wanted) - requests
        batches = counted(len(flying), "batch", "batches")
        are = "is" if requests == 1 else "are"
        text = f"{counted(requests, 'request')} {are} in {batches} at {parts.wire.provider}"
        idle = parts.planner.idle
        if later or not idle:
            text += f", and {f'{later:,}' if idle else 'more'} wait until there is room"
        return f"{text}; the same typed again goes on with them"


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    found: Any = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    error: Exception = found
    return error
