"""From lines on the disk to a batch at the provider: upload and create."""

from __future__ import annotations

from functools import partial
from typing import Final

import anyio
from attrs import define, field

from batchllm.core import (
    CallError,
    EndCause,
    MalformedResponseError,
    ProviderError,
    TransportError,
)
from batchllm.journal import JournalWriter
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.finding import Finder
from batchllm.provider_batch.outages import Outage
from batchllm.provider_batch.paying import Payer
from batchllm.provider_batch.quota_waits import QuotaWaits
from batchllm.provider_batch.refinding import Strength
from batchllm.provider_batch.refusals import failed_answer, hint_of, is_too_large, text_of
from batchllm.provider_batch.settling import Settler
from batchllm.provider_batch.spool import Spool
from batchllm.provider_batch.states import NOT_CREATED, Chunk, State
from batchllm.provider_batch.verdicts import CreateVerdict, judge_create
from batchllm.provider_batch.wires import BatchWire

__all__ = ["Submitter"]

_FRESH: Final = 3_600.0
"""Seconds after its upload for which a file is surely there, so that nothing is uploaded over and
over."""
_LOST_LINES: Final = "its lines are no longer on the disk"
"""A disk that lost a file that it had flushed: the items make it again."""


@define(eq=False)
class Submitter:
    """Submits the chunks of one run, one step at a time.

    Args:
        board: The chunks.
        wire: The provider.
        spool: Has their lines.
        journal: Its thread reads them.
        finder: Looks for batches that may have been created.
        settler: Ends chunks that are refused.
        payer: Says for which the budget has room.
        outage: Learns if calls fail.
        quota: Waits when there is no room for more.
    """

    board: Board
    wire: BatchWire
    spool: Spool
    journal: JournalWriter
    finder: Finder
    settler: Settler
    payer: Payer
    outage: Outage
    quota: QuotaWaits
    _has_asked: bool = field(default=False, init=False)
    _uploads: dict[int, float] = field(factory=dict, init=False)

    async def step(self, now: float) -> bool:
        """Make the next step that is due; return whether there was one."""
        board = self.board
        for chunk in board.in_state(State.QUARANTINE):
            if self.finder.look_at(chunk, now) <= now:
                await self.finder.look(chunk)
                return True
        if await self.payer.meet_the_budget():
            return True
        for chunk in board.in_state(State.UPLOADING, State.SPOOLED):
            if self._upload_at(chunk) <= now:
                await self._upload(chunk)
                return True
        for chunk in board.in_state(State.UPLOADED):
            if self._create_at(chunk, now) <= now:
                await self._create(chunk)
                return True
        return False

    def next_at(self, now: float) -> float:
        """Return when the next step is due, on the loop's clock."""
        board = self.board
        times = [self.finder.look_at(chunk, now) for chunk in board.in_state(State.QUARANTINE)]
        to_upload = board.in_state(State.UPLOADING, State.SPOOLED)
        times += [self._upload_at(chunk) for chunk in to_upload]
        times += [self._create_at(chunk, now) for chunk in board.in_state(State.UPLOADED)]
        return min(times, default=float("inf"))

    @property
    def blocked(self) -> bool:
        """Return whether nothing more can be submitted before something has ended."""
        now = anyio.current_time()
        waiting = self.board.in_state(*NOT_CREATED)
        return all(
            (
                self._create_at(chunk, now)
                if chunk.state is State.UPLOADED
                else self._upload_at(chunk)
            )
            == float("inf")
            for chunk in waiting
        )

    # -- uploads ---------------------------------------------------------------------------------

    def _upload_at(self, chunk: Chunk) -> float:
        """Return when a chunk may be uploaded; never, before the budget has room for it."""
        return self.board.due_at(chunk) if self.payer.can_pay(chunk) else float("inf")

    async def _upload(self, chunk: Chunk) -> None:
        board = self.board
        if not self.wire.has_files:
            await self._identify(chunk)
            return
        content = await self.journal.worker.call(partial(self.spool.read_lines, chunk.number))
        if content is None or len(content) != chunk.size:
            await self.settler.give_up(chunk, _LOST_LINES)
            return
        name, again = chunk.name.file, chunk.state is State.UPLOADING
        if not again:
            chunk = await board.move(chunk, State.UPLOADING)
        try:
            # A process that died may have uploaded it; a second file would cost only room.
            found = list(await self.wire.find_files(name, chunk.size)) if again else []
            file_id = found[0] if found else await self.wire.upload(name, content)
            for other in found[1:]:
                await self.wire.delete_file(other)
        except ProviderError as error:
            await self._upload_refused(chunk, error)
        except TransportError as error:
            self.outage.failed(error)
            board.back_off(chunk)
        else:
            self.outage.good()
            self._uploads[chunk.number] = anyio.current_time()
            await board.move(chunk, State.UPLOADED, file_id, file_id=file_id)

    async def _identify(self, chunk: Chunk) -> None:
        """Learn whose account it is before anything is created there: an upload would show it."""
        if self.wire.clock_offset is None:
            try:
                await self.wire.identify()
            except ProviderError as error:
                await self._upload_refused(chunk, error)
                return
            except TransportError as error:
                self.outage.failed(error)
                self.board.back_off(chunk)
                return
        self._has_asked = True
        await self.board.move(chunk, State.UPLOADED)

    async def _upload_refused(self, chunk: Chunk, error: ProviderError) -> None:
        verdict = judge_create(error.status, text=text_of(error))
        if verdict is CreateVerdict.ACCOUNT:
            self.board.end(EndCause.ACCOUNT_PROBLEM, _account_problem(error))
        elif verdict is CreateVerdict.REFUSED and is_too_large(error) and chunk.lines > 1:
            self.settler.sizes.shrink(chunk.lines // 2)
            await self.settler.give_up(chunk, str(error))
        elif verdict is CreateVerdict.REFUSED:
            await self.settler.fail_all(chunk, failed_answer(error), str(error))
        else:
            self.quota.wait(chunk, error)

    # -- creates ---------------------------------------------------------------------------------

    def _create_at(self, chunk: Chunk, now: float) -> float:
        """Return when a chunk may be created; never, if another has to end before."""
        board = self.board
        tests = [one for one in board if one.canary and not one.over]
        if tests and not chunk.canary:
            return float("inf")
        if board.in_state(State.CREATING) or not self.payer.can_pay(chunk):
            return float("inf")
        live = board.in_flight
        if self.wire.strength is Strength.STATISTICAL and any(
            one.lines == chunk.lines for one in live
        ):
            return float("inf")  # by their numbers alone the two could not be distinguished
        tokens = sum(one.tokens for one in live)
        wait = board.admission.wait(chunk.tokens, tokens, len(live), now)
        return float("inf") if wait is None else max(now + wait, board.due_at(chunk))

    async def _create(self, chunk: Chunk) -> None:
        board = self.board
        if not await self._knows_the_account(chunk):
            return
        now = anyio.current_time()
        if await self.quota.splits(chunk, now):
            return
        # Before anything is awaited: a call online could take the room meanwhile.
        reserved = self.payer.reserve(chunk)
        if reserved is None:
            return
        content = None
        if not self.wire.has_files:
            content = await self.journal.worker.call(partial(self.spool.read_lines, chunk.number))
            if content is None or len(content) != chunk.size:
                await self.settler.give_up(chunk, _LOST_LINES)
                return
        chunk = await board.move(
            chunk,
            State.CREATING,
            attempt=chunk.attempt + 1,
            intent=board.server_time(now),
            first_intent=chunk.first_intent or board.server_time(now),
            account=self.wire.account,
            end=None,
            reserved_tokens=reserved.tokens,
            reserved_cost=reserved.cost or 0.0,
        )
        board.admission.created(now)
        self.finder.begin(chunk, now)
        try:
            remote = await self.wire.create(chunk, content)
        except ProviderError as error:
            readable = not isinstance(error, MalformedResponseError)
            verdict = judge_create(error.status, readable=readable, text=text_of(error))
            await self._not_created(chunk, verdict, error)
        except TransportError as error:
            await self._not_created(chunk, judge_create(None, sent=error.sent), error)
        else:
            self.outage.good()
            await self.finder.bind(chunk, remote, "created")

    async def _knows_the_account(self, chunk: Chunk) -> bool:
        """Return whether the provider has shown whose account it is, and what its time is.

        Both are written down with a create, and a process that goes on behind the upload of another
        one has had no answer yet. It is asked once: not every server says its time.
        """
        if self.wire.clock_offset is not None or self._has_asked:
            return True
        try:
            await self.wire.identify()
        except ProviderError as error:
            if judge_create(error.status, text=text_of(error)) is not CreateVerdict.REFUSED:
                self.quota.wait(chunk, error)
                return False
        except TransportError as error:
            self.outage.failed(error)
            self.board.back_off(chunk)
            return False
        self._has_asked = True
        return True

    async def _not_created(
        self, chunk: Chunk, verdict: CreateVerdict, error: ProviderError | TransportError
    ) -> None:
        board, text = self.board, str(error)
        refused = verdict in (CreateVerdict.REFUSED, CreateVerdict.ACCOUNT)
        if refused and await self._has_lost_its_file(chunk):
            await self.settler.give_up(chunk, f"its file is no longer at the provider ({text})")
            return
        match verdict:
            case CreateVerdict.UNKNOWN | CreateVerdict.CREATED:
                await board.move(chunk, State.QUARANTINE, text, note=text)
            case CreateVerdict.REFUSED if is_too_large(error) and chunk.lines > 1:
                self.settler.sizes.shrink(chunk.lines // 2)
                await self.settler.give_up(chunk, text)
            case CreateVerdict.REFUSED:
                await self.settler.fail_all(chunk, failed_answer(error), text)
            case CreateVerdict.ACCOUNT:
                await self._take_back(chunk, text)
                board.end(EndCause.ACCOUNT_PROBLEM, _account_problem(error))
            case CreateVerdict.WAIT:
                after = await self._take_back(chunk, text)
                await self.quota.refused(after, text, hint_of(error))
            case CreateVerdict.NOT_SENT:
                after = await self._take_back(chunk, text)
                self.outage.failed(error)
                board.back_off(after)

    async def _has_lost_its_file(self, chunk: Chunk) -> bool:
        """Return whether the file of a chunk is no longer at the provider.

        Files are kept for days there, and a quota may have been waited for longer.
        """
        fresh = anyio.current_time() - self._uploads.get(chunk.number, -_FRESH) < _FRESH
        if fresh or not self.wire.has_files:
            return False
        try:
            return not await self.wire.find_files(chunk.name.file, chunk.size)
        except (ProviderError, TransportError):
            return False

    async def _take_back(self, chunk: Chunk, text: str) -> Chunk:
        """Return to the state before a create that was surely none."""
        return await self.board.move(
            chunk,
            State.UPLOADED,
            text,
            attempt=chunk.attempt - 1,
            intent=None,
            # Of creates that may have made one, only the first is looked for later.
            first_intent=chunk.first_intent if chunk.attempt > 1 else None,
            note=text,
        )


def _account_problem(error: CallError) -> str:
    return f"{error}; no item has failed: set that right, and type the same again to go on"
