"""From the end of a batch to the outcome of each of its lines: fetch, account, write down."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import anyio
from attrs import define

from batchllm.core import EndCause, Price, ProviderError, TransportError
from batchllm.journal import JournalWriter
from batchllm.provider_batch.billing import paid_twice_in_words
from batchllm.provider_batch.board import Board, lost_in_words
from batchllm.provider_batch.handing_out import HandingOut
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.options import ModeSettings
from batchllm.provider_batch.outages import Outage
from batchllm.provider_batch.pacing import ChunkSizes
from batchllm.provider_batch.reading import STATES, Reading, read_results
from batchllm.provider_batch.refusals import hint_of
from batchllm.provider_batch.rows import Answer, LineState, Settling
from batchllm.provider_batch.spool import Spool
from batchllm.provider_batch.states import Chunk, Cut, Reason, State, advance
from batchllm.provider_batch.verdicts import (
    LineKind,
    NextOfLine,
    next_of_line,
)
from batchllm.provider_batch.wires import BatchWire

__all__ = ["Settler"]

_PIECE: Final = 1024 * 1024
"""Bytes that gather in memory before the journal's thread writes them."""
_FETCH_SECONDS: Final = 3_600.0
_TRIES: Final = 5
"""Downloads that fail before that is said: results are often not there for a minute."""


@define(eq=False)
class Settler:
    """Settles the chunks of one run.

    Args:
        board: The chunks.
        ledger: Takes the outcomes.
        wire: Has the results, and reads their lines.
        spool: Keeps them.
        journal: Its thread does the work.
        handing_out: Passes the items on.
        settings: The options.
        sizes: Learn how long chunks take.
        price: Of a call online; ``None`` if it is not known.
        outage: Learns if calls fail.
        put_back: Asks for lines that wait to be put into another chunk.
        is_hurried: Returns whether there is no time for another batch.
    """

    board: Board
    ledger: BatchLedger
    wire: BatchWire
    spool: Spool
    journal: JournalWriter
    handing_out: HandingOut
    settings: ModeSettings
    sizes: ChunkSizes
    price: Price | None
    outage: Outage
    put_back: Any
    is_hurried: Any

    async def step(self, now: float) -> bool:
        """Make the next step that is due; return whether there was one."""
        for chunk in self.board.in_state(State.FETCHED):
            await self._settle(chunk)
            return True
        for chunk in self.board.in_state(State.ENDED):
            if self.board.is_due(chunk, now):
                await self._fetch(chunk)
                return True
        return False

    def next_at(self) -> float:
        """Return when the next step is due, on the loop's clock."""
        times = [self.board.due_at(chunk) for chunk in self.board.in_state(State.ENDED)]
        return min(times, default=float("inf"))

    # -- fetching --------------------------------------------------------------------------------

    async def _fetch(self, chunk: Chunk) -> None:
        """Download the results; what fails is tried again, since it is paid for."""
        try:
            with anyio.fail_after(_FETCH_SECONDS):
                for part, output in enumerate(chunk.outputs):
                    await self._download(chunk, part, output)
        except (ProviderError, TransportError, TimeoutError) as error:
            # Results that are not there yet are an answer; there may be nothing else to ask for.
            if not isinstance(error, ProviderError) or error.status not in (404, 410):
                self.outage.failed(error)
            count = self.board.back_off(chunk, hint_of(error))
            if count >= _TRIES and self._is_gone(chunk, error):
                await self.lose(chunk, f"its results are kept no more ({error})")
            elif count == _TRIES:
                self.board.warnings.append(
                    f"the results of batch {chunk.batch_id} cannot be fetched yet ({error}); it "
                    "is tried again"
                )
            return
        except OSError as error:
            raise self.spool.failed(error) from error
        self.outage.good()
        await self.board.move(chunk, State.FETCHED)

    def _is_gone(self, chunk: Chunk, error: Exception) -> bool:
        """Return whether results are gone for good: not there, after the time they are kept for."""
        if not isinstance(error, ProviderError) or error.status not in (404, 410):
            return False
        now = self.board.server_time(anyio.current_time())
        return chunk.submitted is not None and now - chunk.submitted > self.wire.limits.retention

    async def _download(self, chunk: Chunk, part: int, output: str) -> None:
        call = self.journal.worker.call
        stream = await call(partial(self.spool.open_part, chunk.number, part))
        pieces: list[bytes] = []
        size = 0

        async def take(piece: bytes) -> None:
            nonlocal size
            pieces.append(piece)
            size += len(piece)
            if size >= _PIECE:
                await call(partial(stream.write, b"".join(pieces)))
                pieces.clear()
                size = 0

        try:
            await self.wire.download(output, take)
            await call(partial(stream.write, b"".join(pieces)))
            await call(partial(self.spool.keep_part, chunk.number, part, stream))
        finally:
            stream.close()

    # -- settling --------------------------------------------------------------------------------

    async def _settle(self, chunk: Chunk) -> None:
        copied = await self.ledger.copied(chunk.number) if chunk.copied else frozenset[str]()
        reading = await self.journal.worker.call(
            partial(read_results, chunk, copied, self.wire, self.spool, self.price, self._next)
        )
        if reading.is_strange(chunk.run):
            await self._return(chunk)
            return
        by_user = chunk.reason is Reason.USER
        rest = self._next(chunk, LineKind.NOT_RUN, 0)
        after = advance(chunk, State.SETTLED, **reading.paid(chunk))
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(reading.kinds.items()))
        settled = await self.ledger.settle(
            chunk, Settling(after, reading.answers, STATES[rest], counts=not by_user), kinds
        )
        if self.board.purse is not None:
            self.board.purse.learn(chunk, reading.bill)
        self.board.put(after)
        if after.twice:
            self.board.twice += after.twice
            self.board.warnings.append(paid_twice_in_words(after))
        self._learn(chunk, reading)
        strange = settled.strange + reading.nameless
        if strange:
            self.board.warnings.append(
                f"the results of batch {chunk.batch_id} have {strange} lines that are of no "
                "request of it, or came twice; they are not used"
            )
        if reading.unmarked:
            self.board.warnings.append(
                f"{reading.unmarked:,} answers of batch {chunk.batch_id} lack the mark that "
                "verify_echo asks for, and may be those to other requests: they are asked for again"
            )
        self._go_on(after, settled.states)
        self._judge_whole(after, reading, settled.states)

    async def _return(self, chunk: Chunk) -> None:
        """Give back a batch that was taken for ours: nothing of it was published."""
        text = f"{chunk.batch_id} is the batch of another program"
        strangers = (*chunk.strangers, chunk.batch_id or "")
        await self.board.move(
            chunk,
            State.QUARANTINE,
            text,
            batch_id=None,
            end=None,
            cut=None,
            outputs=(),
            strangers=strangers,
            note=text,
        )

    def _next(self, chunk: Chunk, kind: LineKind, status: int) -> NextOfLine:
        late = chunk.reason is Reason.DEADLINE or self.is_hurried()
        by_user = chunk.reason is Reason.USER
        kept = _is_foreign(chunk) and self.settings.on_foreign_cancel == "stop"
        return next_of_line(
            kind,
            status,
            # What its user took back has had no round: this run was asked to send it again.
            round=0 if by_user and kind is LineKind.NOT_RUN else chunk.round,
            rounds=self.settings.batch_rounds,
            hurried=late,
            kept=kept,
        )

    def _learn(self, chunk: Chunk, reading: Reading) -> None:
        now, admission = self.board.server_time(anyio.current_time()), self.board.admission
        if chunk.submitted is not None:
            self.sizes.ended(now - chunk.submitted, expired=chunk.cut is Cut.EXPIRED)
        bill = reading.bill
        if bill.inputs:
            admission.counted(chunk.tokens * bill.counted / chunk.lines, bill.inputs)
        admission.accepted()

    def _go_on(self, after: Chunk, states: dict[int, int]) -> None:
        """Pass on what has its answer, and put back what has not."""
        # From here on the planner passes on what it finds of the chunk itself.
        self.handing_out.publisher.know(after)
        if self.board.waiting[after.number]:
            self.handing_out.add(after)
        if states.get(LineState.WAITING):
            self.put_back()

    def _judge_whole(self, chunk: Chunk, reading: Reading, states: dict[int, int]) -> None:
        """End the run if what became of a chunk says that the others should not be sent."""
        if reading.account:
            self.board.end(
                EndCause.ACCOUNT_PROBLEM,
                f"batch {chunk.batch_id} was answered with {reading.account}; no item has failed: "
                "set that right, and type the same again to go on",
            )
        elif _is_foreign(chunk):
            text = f"batch {chunk.batch_id} was cancelled, and not by this run"
            if self.settings.on_foreign_cancel == "stop":
                self.board.end(
                    EndCause.STOPPED, f"{text}; type the same again to send what is missing"
                )
            else:
                self.board.warnings.append(f"{text}; what was missing is sent again")
        elif chunk.canary and not reading.kinds.get(LineKind.OK):
            self.board.end(
                EndCause.FAIL_FAST,
                f"none of the {chunk.lines} requests of the first batch, {chunk.batch_id}, was "
                f"answered{' with its mark' if reading.unmarked else ''}; nothing more was sent",
            )

    # -- chunks that came to nothing -------------------------------------------------------------

    async def fail_all(self, chunk: Chunk, answer: Answer, text: str) -> None:
        """End a chunk of which each line fails with the same error."""
        over = State.SETTLED if chunk.state is State.ENDED else State.DROPPED
        after = advance(chunk, over, note=text)
        settled = await self.ledger.settle(chunk, Settling(after, (), answer), text)
        self.board.put(after)
        self._go_on(after, settled.states)
        if chunk.canary:
            self.board.end(
                EndCause.FAIL_FAST, f"the first batch was refused, and nothing more sent: {text}"
            )

    async def drop_lines(self, chunk: Chunk, answers: dict[int, Answer], text: str) -> None:
        """End a chunk of which some lines are to blame, by their numbers; the rest goes again."""
        named = []
        page = await self.ledger.lines_of(chunk.number, -1)
        while page:
            named += [
                answers[row.line_no]._replace(custom_id=row.custom_id)
                for row in page
                if row.line_no in answers
            ]
            page = await self.ledger.lines_of(chunk.number, page[-1].line_no or 0)
        after = advance(chunk, State.SETTLED, note=text)
        settling = Settling(after, named, LineState.WAITING, counts=False)
        settled = await self.ledger.settle(chunk, settling, text)
        self.board.put(after)
        self._go_on(after, settled.states)

    async def give_up(self, chunk: Chunk, text: str) -> None:
        """End a chunk that was not created, so that its lines go into another."""
        await self._drop(chunk, LineState.WAITING, text)

    async def lose(self, chunk: Chunk, text: str) -> None:
        """Note that the provider has a batch, or its results, no more; end the run, or go on."""
        # It was paid for as far as is known, and what it took will never be.
        spent = {"paid_tokens": chunk.reserved_tokens, "paid_cost": chunk.reserved_cost}
        await self.board.move(chunk, State.LOST, text, note=text, **spent)
        if self.settings.on_lost == "resubmit":
            await self.give_up_lost()
        else:
            self.board.end(EndCause.STOPPED, lost_in_words([chunk]))

    async def give_up_lost(self) -> None:
        """Let batches go that the provider has no more, so that their lines go into others."""
        for chunk in self.board.in_state(State.LOST):
            self.board.warnings.append(
                f"the provider has batch {chunk.batch_id} no more; its {chunk.lines:,} requests "
                "are sent again, and may be paid for twice"
            )
            await self.give_up(chunk, "it was lost, and is sent again")

    async def run_online(self, chunk: Chunk, text: str) -> None:
        """End a chunk that was not created, so that its items are called for online."""
        await self._drop(chunk, LineState.ONLINE, text)

    async def _drop(self, chunk: Chunk, rest: LineState, text: str) -> None:
        over = State.SETTLED if chunk.state is State.ENDED else State.DROPPED
        after = advance(chunk, over, note=text)
        settled = await self.ledger.settle(chunk, Settling(after, (), rest, counts=False), text)
        self.board.put(after)
        await self.journal.worker.call(partial(self.spool.drop_lines, chunk.number))
        self._go_on(after, settled.states)

    # -- cleaning up -----------------------------------------------------------------------------

    async def clean(self) -> None:
        """Forget chunks whose results are all in the journal, with their files."""
        for chunk in self.board.in_state(State.SETTLED, State.DROPPED):
            if await self.ledger.unfinished(chunk.number):
                continue
            after = advance(chunk, State.CLEANED)
            await self.ledger.clean(chunk, after)
            await self.journal.worker.call(partial(self.spool.drop, chunk.number))
            self.board.chunks.pop(chunk.number, None)


def _is_foreign(chunk: Chunk) -> bool:
    """Return whether a batch was cancelled, and not by us."""
    return chunk.cut is Cut.CANCELLED and chunk.reason is None
