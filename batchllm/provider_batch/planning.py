"""Planning the items of a run, and filling chunks with those that are to go into a batch.

An item that is finished is delivered again or passed over; one that is in a batch of an earlier run
is attached to its line; the others become lines of a new chunk. No more chunks are made than can
soon be uploaded, so that a source is not read ahead of the provider.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint
from attrs import define, field

from batchllm.core import (
    LLMCallStrategy,
    LLMWorkItem,
    ProgramError,
    kind_of,
)
from batchllm.engine import Incoming, estimate_of
from batchllm.journal import Choice, Entry, JournalWriter, Reason
from batchllm.provider_batch.answered import Batchable
from batchllm.provider_batch.echo import with_mark
from batchllm.provider_batch.filling import Filling
from batchllm.provider_batch.intake import Intake
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.middleware import MiddlewareIn
from batchllm.provider_batch.publishing import Publisher
from batchllm.provider_batch.repeat_planning import RepeatPlanner
from batchllm.provider_batch.rows import UNSETTLED, LineRow, LineState
from batchllm.provider_batch.spool import Items
from batchllm.providers import OnlineOnlyError, WireRequest

__all__ = ["Planner"]

_TOO_LARGE: Final = "its request is larger than a file may be"
_ANEW: Final = frozenset(
    {
        Reason.RETRY_FAILED,
        Reason.BLOCKED_BEFORE,
        Reason.PROMPT_CHANGED,
        Reason.STRATEGY_CHANGED,
    }
)
"""Reasons for which an item begins anew, whatever is in the ledger of it."""


@define(eq=False)
class Planner:
    """Plans one run.

    Args:
        intake: Reads the user's items.
        strategy: Whose requests are sent: it is ``Batchable``.
        journal: Knows what is finished.
        ledger: Knows what is in a batch.
        items: Keeps items until their answers come.
        publisher: Passes on what needs no batch.
        filling: Makes chunks.
        pass_over: Called with the position of an item that was finished and is only counted.
        attached: Called with the number of a chunk for each item that waits for it.
        on_idle: Called when nothing is left to be put into a chunk.
        middleware: Takes items past middleware; ``None`` if that leaves them as they are.
        warnings: Gets a sentence if something is to be known.
        repeats: Knows which items ask what another asks; ``None`` if each has its own answer.

    Attributes:
        idle: Whether the source is at its end, and nothing is left to be put into a chunk.
        online: Items that no batch can take, and that are called for online, by the reason.
    """

    intake: Intake
    strategy: LLMCallStrategy[Any]
    journal: JournalWriter
    ledger: BatchLedger
    items: Items
    publisher: Publisher
    filling: Filling
    pass_over: Callable[[int], None]
    attached: Callable[[int], None]
    on_idle: Callable[[], None]
    middleware: MiddlewareIn | None
    warnings: list[str]
    repeats: RepeatPlanner | None
    idle: bool = field(default=False, init=False)
    online: Counter[str] = field(factory=Counter, init=False)
    _wanted: anyio.Event = field(factory=anyio.Event, init=False)
    _compose: Callable[[Any], WireRequest] = field(init=False)

    def __attrs_post_init__(self) -> None:
        strategy = self.strategy
        if not isinstance(strategy, Batchable):
            msg = f"the strategy is {kind_of(strategy)}, which cannot write its requests down"
            raise ProgramError(msg)
        self._compose = strategy.compose  # looked up once: a protocol takes some µs to check

    async def run(self) -> None:
        """Read the whole source, and from then on put back what has to go into another batch.

        It ends when it is cancelled.

        Raises:
            Exception: What the source raised.
            JournalError: The journal cannot be read or written.
        """
        try:
            while values := await self.intake.pull_page():
                await self._plan([self.intake.read(value) for value in values])
                await self._put_back_if_wanted()
                await checkpoint()
        finally:
            await self.intake.source.close()
        await self.filling.close()
        while True:
            await self._put_back_if_wanted()
            self.idle = not self._wanted.is_set()
            self.on_idle()
            await self._wanted.wait()

    def put_back(self) -> None:
        """Ask for the lines that wait for another chunk to be put into one."""
        self.idle = False
        self._wanted.set()

    async def _put_back_if_wanted(self) -> None:
        if not self._wanted.is_set():
            return
        self._wanted = anyio.Event()
        after = 0
        while rows := await self.ledger.waiting(after):
            after = rows[-1].line
            found = await self.journal.worker.call(partial(self._kept_of, rows))
            for row, work, position in found:
                await self._add(row, work, position, kept=True)
        await self.filling.close()

    def _kept_of(
        self, rows: Sequence[LineRow]
    ) -> list[tuple[LineRow, LLMWorkItem[Any, Any, Any], int]]:
        """Return the items of lines, as far as they are here and in no chunk that is filled."""
        gathering = self.filling.gathering
        here = [row for row in rows if self.items.has(row.line) and row.line not in gathering]
        try:
            return [(row, *self.items.get(row.line)) for row in here]
        finally:
            self.items.let_go()

    # -- planning --------------------------------------------------------------------------------

    async def _plan(self, page: Sequence[Incoming]) -> None:
        entered = [one for one in page if one.entry is not None]
        for one in page:
            if one.entry is None:
                await self.publisher.send.send(one)
        entries = [_entry(one) for one in entered]
        verdicts = await self.journal.decide(entries)
        finished = [
            one
            for one, verdict in zip(entered, verdicts, strict=True)
            if verdict.choice is Choice.TAKE_OVER
        ]
        await self._take_over(finished)
        rest = [
            (one, verdict.reason in _ANEW)
            for one, verdict in zip(entered, verdicts, strict=True)
            if verdict.choice is not Choice.TAKE_OVER
        ]
        await self._attach_or_add(rest)

    async def _take_over(self, page: Sequence[Incoming]) -> None:
        """Deliver again what earlier runs have finished, or count it."""
        replays = self.journal.settings.on_resume == "replay"
        wanted = [one for one in page if replays or _is_pending(_entry(one))]
        taken = await self.journal.take_over([_entry(one) for one in wanted]) if wanted else []
        if self.journal.has_output and replays:
            self.journal.take_over_rows((one.position, _entry(one).key) for one in wanted)
        again = {one.position: found for one, found in zip(wanted, taken, strict=True)}
        for one in page:
            found = again.get(one.position)
            if found is None:
                self.pass_over(one.position)
            else:
                await self.publisher.send.send(one._replace(taken=found))

    async def _attach_or_add(self, page: Sequence[tuple[Incoming, bool]]) -> None:
        if self.middleware is not None:
            page = await self._past_middleware(self.middleware, page)
        if not page:
            return
        found = await self.ledger.find([_entry(one).key for one, _ in page])
        stale = []
        for one, anew in page:
            entry = _entry(one)
            row = found.get(entry.key)
            if row is not None and (anew or not _is_same(row, entry)):
                stale.append(row)
                del found[entry.key]
        if stale:
            await self.ledger.supersede(stale)
        known = [(found[_entry(one).key], one) for one, _ in page if _entry(one).key in found]
        await self._attach(known)
        for one, _ in page:
            entry = _entry(one)
            if entry.key not in found and not await self._repeats(one):
                digest, strategy = entry.prompt, entry.identity.digest
                row = LineRow(self.ledger.next_line(), "", *entry.key, digest, strategy)
                if self.repeats is not None:
                    self.repeats.lead(one, row.line)
                await self._add(row, _work(one), one.position, kept=False)

    async def _past_middleware(
        self, middleware: MiddlewareIn, page: Sequence[tuple[Incoming, bool]]
    ) -> list[tuple[Incoming, bool]]:
        """Take items past middleware, several at a time; pass on those that have a result then."""
        results = await middleware.take([(_work(one), one.position) for one, _ in page])
        rest = []
        for (one, anew), (work, early) in zip(page, results, strict=True):
            if early is not None:
                await self.publisher.send.send(one._replace(work=work, went_in=True, early=early))
            elif (wrong := self.intake.wrong_with(work)) is not None:
                await self.publisher.send.send(Incoming(wrong, one.position, context=work.context))
            else:
                rest.append((one._replace(work=work), anew))
        return rest

    async def _repeats(self, one: Incoming) -> bool:
        """Return whether another item asks the same, so that this one needs no line."""
        return self.repeats is not None and await self.repeats.takes(one)

    async def _attach(self, known: Sequence[tuple[LineRow, Incoming]]) -> None:
        """Keep items whose lines are in the ledger, and pass on those that have their answers."""
        if not known:
            return
        if self.middleware is not None:
            self._compare(self.middleware, known)
        if self.repeats is not None:
            for row, one in known:
                self.repeats.lead(one, row.line)
        kept = [(row.line, _work(one), one.position) for row, one in known]
        await self.journal.worker.call(partial(self.items.put, kept))
        rows = [row for row, _ in known]
        # A chunk may have been settled while this page was looked up.
        if any(row.state in UNSETTLED and self._is_settled(row) for row in rows):
            again = await self.ledger.find([row.item for row in rows])
            rows = [again[row.item] for row in rows]
        for row, (_, one) in zip(rows, known, strict=True):
            if row.state in UNSETTLED:
                assert row.chunk is not None
                self.attached(row.chunk)
            elif row.state == LineState.WAITING:
                await self._add(row, _work(one), one.position, kept=True)
        await self.publisher.publish(rows)

    def _compare(self, middleware: MiddlewareIn, known: Sequence[tuple[LineRow, Incoming]]) -> None:
        """Say once that middleware makes other prompts than those that were sent."""
        for row, one in known:
            if row.state == LineState.WAITING:
                continue  # it is written anew
            try:
                request = self._compose(_work(one).prompt)
            except Exception:
                continue  # online it fails before anything is sent for it, and says why
            if self.filling.id_of(row, request) != row.custom_id:
                middleware.note_another(_work(one).item_id, self.warnings)

    def _is_settled(self, row: LineRow) -> bool:
        return row.chunk in self.publisher.settled

    async def _add(
        self, row: LineRow, work: LLMWorkItem[Any, Any, Any], position: int, *, kept: bool
    ) -> None:
        """Put an item into the chunk that is being filled, or pass it on if it fits into none."""
        try:
            request = self._compose(work.prompt)
            sent = None
            if self.filling.echo:
                sent = self._compose(with_mark(work.prompt, self.filling.id_of(row, request)))
            estimate = estimate_of(self.strategy, work.prompt)
        except OnlineOnlyError as error:
            self.online[str(error)] += 1
            added = False
        except Exception:
            # Online it fails before anything is sent for it, and says why in its result.
            added = False
        else:
            output = None if estimate is None else estimate.output_tokens
            added = await self.filling.add(
                row, request, work, position, kept=kept, output=output, sent=sent
            )
            if not added:
                self.online[_TOO_LARGE] += 1
        if not added:
            if kept:
                await self.journal.worker.call(partial(self.items.drop, row.line))
            await self.publisher.pass_on(work, position, row)


def _entry(one: Incoming) -> Entry:
    assert one.entry is not None
    return one.entry


def _work(one: Incoming) -> LLMWorkItem[Any, Any, Any]:
    assert isinstance(one.work, LLMWorkItem)
    return one.work


def _is_pending(entry: Entry) -> bool:
    return entry.known is not None and entry.known.pending


def _is_same(row: LineRow, entry: Entry) -> bool:
    """Return whether a line asks what the item asks now."""
    return row.digest == entry.prompt and row.strategy == entry.identity.digest
