"""Watching batches at the provider: polls, ends, and cancellations."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Final

import anyio
from attrs import define, field

from batchllm.core import EndCause, ProviderError, TransportError
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.cancelling import Canceller
from batchllm.provider_batch.ghosts import Ghosts
from batchllm.provider_batch.lateness import Lateness
from batchllm.provider_batch.lookup import MOST_PAGES
from batchllm.provider_batch.outages import Outage
from batchllm.provider_batch.polling import poll_delay, within
from batchllm.provider_batch.refusals import bad_line_answer, hint_of
from batchllm.provider_batch.settling import Settler
from batchllm.provider_batch.states import CREATED, Chunk, Cut, EndKind, Reason, State
from batchllm.provider_batch.submitting import Submitter
from batchllm.provider_batch.verdicts import BatchProblem, EndVerdict, judge_rejection
from batchllm.provider_batch.wires import BatchWire, RemoteBatch, RemoteKind

__all__ = ["Watcher", "wrong_account"]

_FEW: Final = 5
"""Batches up to which each is asked for; beyond that one list answers for all of them."""
_GONE_AFTER, _GONE_TRIES = 900.0, 5
"""A batch that is fresh, or has just ended, may answer 404 for minutes; the retention is days."""
_NEAR_THE_END: Final = 0.95
_LAST_LOOK: Final = 60.0
"""Seconds before batches are brought back, or the run ends, at which they are looked at once more:
one that has ended meanwhile needs neither."""
_FIRST_PAUSE: Final = 60.0
"""Seconds until the next poll after one that was refused for a quota; each further one doubles
it."""


@define(eq=False)
class Watcher:
    """Watches the batches of one run.

    Args:
        board: The chunks.
        wire: The provider.
        submitter: Takes back what was refused for a quota.
        settler: Ends what was rejected.
        lateness: Brings back what would be late.
        ghosts: Looks at batches that are of no chunk.
        outage: Learns if calls fail.
        canceller: Asks for the end of batches.
        rng: For the jitter of polls.
    """

    board: Board
    wire: BatchWire
    submitter: Submitter
    settler: Settler
    lateness: Lateness
    ghosts: Ghosts
    outage: Outage
    canceller: Canceller
    rng: random.Random
    _next_poll: float = field(default=0.0, init=False)
    _polled: float = field(default=-math.inf, init=False)
    _refusals: int = field(default=0, init=False)
    _gone: Counter[int] = field(factory=Counter, init=False)
    _gone_since: dict[int, float] = field(factory=dict, init=False)

    async def step(self, now: float) -> bool:
        """Make the next step that is due; return whether there was one."""
        board = self.board
        if self.lateness.is_late(now):
            late = self.lateness.next_chunk()
            if late is not None:
                await self._bring_back(late)
                return True
        for chunk in board.in_state(State.CANCEL_WANTED):
            if board.is_due(chunk, now):
                if await self.canceller.cancel(chunk):
                    self._next_poll = min(self._next_poll, anyio.current_time() + 10.0)
                return True
        if board.in_state(*CREATED) and self._poll_at(now) <= now:
            await self._poll(now)
            return True
        return False

    def next_at(self, now: float) -> float:
        """Return when the next step is due, on the loop's clock."""
        board = self.board
        times = [self.lateness.next_at(now)]
        times += [board.due_at(chunk) for chunk in board.in_state(State.CANCEL_WANTED)]
        if board.in_state(*CREATED):
            times.append(self._poll_at(now))
        return min(times)

    # -- polls -----------------------------------------------------------------------------------

    def created(self) -> None:
        """Note that there is a new batch, so that polls begin to be quick again."""
        now = anyio.current_time()
        self._next_poll = min(self._next_poll, now + self._delay(now)) if self._next_poll else now

    def _poll_at(self, now: float) -> float:
        """Return when the next poll is due: before a deadline once more, whatever was asked for."""
        last = self.lateness.next_at(now) - _LAST_LOOK
        return min(self._next_poll, last) if self._polled < last else self._next_poll

    def _delay(self, now: float) -> float:
        at = self.board.server_time(now)
        alive = self.board.in_state(*CREATED)
        age = min((at - one.submitted for one in alive if one.submitted is not None), default=0.0)
        near = any(one.done is not None and one.done >= _NEAR_THE_END * one.lines for one in alive)
        return poll_delay(
            max(0.0, age), self.rng, hint=self.wire.hint, urgent=near or self.lateness.is_near(now)
        )

    async def _poll(self, now: float) -> None:
        alive, pause, self._polled = self.board.in_state(*CREATED), 0.0, now
        try:
            if len(alive) <= _FEW and not any(self.ghosts.may_have_one(one) for one in alive):
                for chunk in alive:
                    await self._ask_for(chunk)
            else:
                await self._ask_for_all(alive)
            self.outage.good()
            self._refusals = 0
        except (ProviderError, TransportError) as error:
            # Polls that fail say nothing about the batch.
            self.outage.failed(error)
            pause = self._pause_after(error)
        now = anyio.current_time()
        self._next_poll = now + max(self._delay(now), pause)

    def _pause_after(self, error: ProviderError | TransportError) -> float:
        """Return the seconds to wait after a poll that failed: longer each time it is refused."""
        if not isinstance(error, ProviderError) or error.status != 429:
            return 0.0
        pause: float = _FIRST_PAUSE * 2 ** min(self._refusals, 10)
        self._refusals += 1
        return max(min(pause, self.wire.limits.longest_pause), within(hint_of(error)))

    async def look(self) -> None:
        """Ask for the batches that are under way, now."""
        await self._poll(anyio.current_time())

    async def _ask_for(self, chunk: Chunk) -> None:
        assert chunk.batch_id is not None
        try:
            remote = await self.wire.fetch(chunk.batch_id)
        except ProviderError as error:
            if error.status != 404:
                raise
            await self._is_gone(chunk, error)
            return
        self._gone.pop(chunk.number, None)
        self._gone_since.pop(chunk.number, None)
        await self._take_in(chunk, remote)

    async def _ask_for_all(self, alive: list[Chunk]) -> None:
        wanted = {chunk.batch_id: chunk for chunk in alive}
        began = [one.first_intent or one.submitted for one in alive]
        oldest = min((at for at in began if at is not None), default=0.0)
        ghosts = any(self.ghosts.may_have_one(one) for one in alive)
        after: str | None = None
        for _ in range(MOST_PAGES):
            page = await self.wire.list_batches(after)
            for remote in page.batches:
                chunk = wanted.pop(remote.id, None)
                if chunk is not None and remote.kind.ended and not remote.outputs:
                    await self._ask_for(chunk)  # a list may leave the results out
                elif chunk is not None:
                    await self._take_in(self.board.chunks[chunk.number], remote)
                else:
                    await self.ghosts.look_at(remote)
            after = page.after
            if after is None or (not wanted and (not ghosts or page.is_behind(oldest))):
                break
        for chunk in list(wanted.values())[:_FEW]:
            await self._ask_for(chunk)

    async def _take_in(self, chunk: Chunk, remote: RemoteBatch) -> None:
        """Take what the provider says of a batch."""
        board = self.board
        if remote.gone:
            await self.settler.lose(chunk, "its results are kept no more")
        elif remote.kind.ended:
            await self._end(chunk, remote)
        elif remote.status != chunk.status or remote.done != chunk.done:
            cancelling = remote.kind is RemoteKind.CANCELLING
            state = State.CANCELLING if cancelling else chunk.state
            # A number alone is no event: a batch of a day would have hundreds of them.
            is_event = state is not chunk.state or remote.status != chunk.status
            detail = remote.status if is_event else ""
            await board.move(chunk, state, detail, status=remote.status, done=remote.done)
            if remote.kind is RemoteKind.RUNNING:
                board.admission.accepted()

    async def _end(self, chunk: Chunk, remote: RemoteBatch) -> None:
        kinds = {
            RemoteKind.DONE: EndKind.DONE,
            RemoteKind.PARTIAL: EndKind.PARTIAL,
            RemoteKind.REJECTED: EndKind.REJECTED,
        }
        rejected = remote.kind is RemoteKind.REJECTED
        chunk = await self.board.move(
            chunk,
            State.ENDED,
            "; ".join([remote.status, *(one.text for one in remote.problems[:3])]),
            status=remote.status,
            done=remote.done,
            end=kinds[remote.kind],
            cut=_cut_of(remote),
            outputs=remote.outputs,
            rejections=chunk.rejections + rejected,
        )
        if rejected and not remote.outputs:
            await self._reject(chunk, remote)

    async def _reject(self, chunk: Chunk, remote: RemoteBatch) -> None:
        """Do what is to be done about a batch of which nothing ran."""
        board, problems = self.board, remote.problems
        text = "; ".join(one.text for one in problems[:3]) or "it failed, and no reason was given"
        verdict, bad = judge_rejection(problems, chunk.lines, chunk.rejections)
        match verdict:
            case EndVerdict.WAIT:
                after = await self._take_back(chunk, text)
                await self.submitter.quota.refused(after, text, None)
            case EndVerdict.ACCOUNT:
                await self._take_back(chunk, text)
                board.end(
                    EndCause.ACCOUNT_PROBLEM,
                    f"batch {chunk.batch_id} was rejected with {text}; no item has failed: set "
                    "that right, and type the same again to go on",
                )
            case EndVerdict.DROP_LINES:
                answers = {number: bad_line_answer(one) for number, one in bad.items()}
                await self.settler.drop_lines(chunk, answers, text)
            case EndVerdict.FAIL:
                problem = problems[0] if problems else BatchProblem("", text)
                await self.settler.fail_all(chunk, bad_line_answer(problem), text)

    async def _take_back(self, chunk: Chunk, text: str) -> Chunk:
        """Return to the state before the create: the file is there still, and nothing ran."""
        return await self.board.move(
            chunk,
            State.UPLOADED,
            text,
            batch_id=None,
            end=None,
            note=text,
            # What was said of the batch that ran nothing is not said of the next.
            status=None,
            done=None,
            cut=None,
            reason=None,
            rejections=chunk.rejections - 1,
        )

    # -- batches that are not where they should be -----------------------------------------------

    async def _is_gone(self, chunk: Chunk, error: ProviderError) -> None:
        """Count an answer of 404; it is believed after many, if the account is the right one."""
        now = anyio.current_time()
        since = self._gone_since.setdefault(chunk.number, now)
        self._gone[chunk.number] += 1
        if now - since < _GONE_AFTER or self._gone[chunk.number] < _GONE_TRIES:
            return
        if chunk.account and chunk.account != self.wire.account:
            self.board.end(EndCause.ACCOUNT_PROBLEM, wrong_account([chunk]))
            return
        await self.settler.lose(chunk, str(error))

    # -- cancellations ---------------------------------------------------------------------------

    async def _bring_back(self, chunk: Chunk) -> None:
        """Have a batch cancelled, or call online for what is in none yet."""
        if chunk.state is State.RUNNING:
            await self.board.move(
                chunk, State.CANCEL_WANTED, "the deadline is near", reason=Reason.DEADLINE
            )
        else:
            await self.settler.run_online(chunk, "the deadline is near")


def _cut_of(remote: RemoteBatch) -> Cut | None:
    if remote.cancelled:
        return Cut.CANCELLED
    return Cut.EXPIRED if remote.expired else None


def wrong_account(chunks: list[Chunk]) -> str:
    """Say that batches were made under another account."""
    ids = ", ".join(chunk.batch_id or f"chunk {chunk.number}" for chunk in chunks[:5])
    return (
        f"the batches of this journal ({ids}) were made under another account than this key's: "
        "give that account's key, or `batchllm jobs RUN adopt --account` if only the "
        "key was changed"
    )
