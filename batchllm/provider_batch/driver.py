"""One run of batch mode: its parts, and the loop that takes one step after the other."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint
from attrs import define, field

from batchllm.core import (
    EndCause,
    JournalError,
    LLMCallStrategy,
    Price,
    ProviderError,
    TransportError,
)
from batchllm.engine import Source, Spending
from batchllm.journal import JournalWriter
from batchllm.llm_strategies import ResponseCache
from batchllm.provider_batch.board import Board, lost_in_words
from batchllm.provider_batch.choosing import leaf_of, wire_of
from batchllm.provider_batch.copies import Copier, copier_of
from batchllm.provider_batch.filling import Filling, Room
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.middleware import MiddlewareIn
from batchllm.provider_batch.money import Money
from batchllm.provider_batch.options import ModeSettings
from batchllm.provider_batch.pacing import Admission, ChunkSizes, PullBack
from batchllm.provider_batch.paying import Payer
from batchllm.provider_batch.planning import Planner
from batchllm.provider_batch.publishing import PlannedItems, Publisher
from batchllm.provider_batch.refinding import Refinding
from batchllm.provider_batch.refusals import is_of_the_account
from batchllm.provider_batch.repeat_planning import RepeatPlanner
from batchllm.provider_batch.repeats import Repeats
from batchllm.provider_batch.settling import Settler
from batchllm.provider_batch.spool import Items, Spool
from batchllm.provider_batch.states import CREATED, Chunk, State
from batchllm.provider_batch.submitting import Submitter
from batchllm.provider_batch.watching import Watcher, wrong_account
from batchllm.provider_batch.wires import BatchWire

__all__ = ["BatchDriver", "folder_of"]

_SECONDS_PER_CALL: Final = 10.0
"""Of an online call, with which the time for what is brought back from a late batch is reckoned."""
_CLEAN_EVERY: Final = 60.0
_CLEAN_SECONDS: Final = 30.0
_CANCEL_SECONDS: Final = 10.0
_RELEASE_SECONDS: Final = 5.0
_RETRY: Final = 30.0


def folder_of(journal: Path) -> Path:
    """Return the folder in which batches are kept until they are settled: beside the journal."""
    return journal.with_name(f"{journal.name}.batches")


@define(eq=False, kw_only=True)
class BatchDriver:
    """Drives the batches of one run, beside the engine that takes what comes of them.

    Args:
        source: The user's items.
        strategy: The run's.
        journal: Open, and driven by this process.
        settings: The options.
        planned: The items as the engine reads them.
        pass_over: Called with the position of an item that was finished and is only counted.
        warnings: Gets a sentence if something is to be known.
        calls: Calls that the engine makes at once.
        price: Of a call online; ``None`` if it is not known.
        spending: Keeps the budget; ``None`` if there is none.
        middleware: Takes items past middleware; ``None`` if that leaves them as they are.
        rng: For jitter.
    """

    source: Source
    strategy: LLMCallStrategy[Any]
    journal: JournalWriter
    settings: ModeSettings
    planned: PlannedItems
    pass_over: Callable[[int], None]
    warnings: list[str]
    calls: int
    price: Price | None = None
    spending: Spending | None = None
    middleware: MiddlewareIn | None = None
    rng: random.Random = field(factory=random.Random)
    _wire: BatchWire = field(init=False)
    _ledger: BatchLedger = field(init=False)
    _board: Board = field(init=False)
    _planner: Planner = field(init=False)
    _submitter: Submitter = field(init=False)
    _settler: Settler = field(init=False)
    _watcher: Watcher = field(init=False)
    _publisher: Publisher = field(init=False)
    _items: Items = field(init=False)
    _spool: Spool = field(init=False)
    _room: Room = field(init=False)
    _filling: Filling = field(init=False)
    _copier: Copier | None = field(init=False)
    _money: Money = field(init=False)
    _is_done: bool = field(default=False, init=False)
    _cleaned: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        journal, settings = self.journal, self.settings
        wire = self._wire = wire_of(self.strategy)
        folder = folder_of(journal.settings.path)
        ledger = self._ledger = BatchLedger(journal)
        spool, items = Spool(folder), Items(folder)
        self._spool, self._items = spool, items
        sizes, room = ChunkSizes(wire.limits, settings.chunk_size), Room()
        leaf = leaf_of(self.strategy)
        money = self._money = Money(ledger, self.spending, leaf, self.price)
        board = self._board = Board(
            ledger,
            wire,
            Admission(wire.limits),
            room,
            journal.wall_clock,
            self.warnings,
            self.rng,
            money.purse,
            self.spending,
        )
        cache = self.strategy if isinstance(self.strategy, ResponseCache) else None
        repeats = None if cache is None else Repeats(cache)
        publisher = self._publisher = Publisher(
            leaf, wire, ledger, spool, items, journal, self.planned.send, repeats
        )
        self._room = room
        filling = self._filling = Filling(
            wire,
            ledger,
            spool,
            items,
            journal,
            sizes,
            room,
            journal.registrar.identity.digest,
            board.take_in,
            tests_first=not settings.detach,
            counts=board.counts,
        )
        planner = self._planner = Planner(
            self.source,
            leaf,
            journal,
            ledger,
            items,
            publisher,
            filling,
            self.pass_over,
            board.attach,
            board.look,
            self.middleware,
            self.warnings,
            None if repeats is None else RepeatPlanner(repeats, filling, publisher),
        )
        settler = self._settler = Settler(
            board,
            ledger,
            wire,
            spool,
            journal,
            publisher,
            settings,
            sizes,
            self.price,
            planner.put_back,
            self._is_hurried,
        )
        refinding = Refinding(wire.strength, wire.absent_after, settings.on_ambiguous)
        payer = Payer(board, settler, money.purse, self.spending)
        submitter = self._submitter = Submitter(
            board, wire, spool, journal, refinding, settler, payer
        )
        pull_back = self._pull_back()
        self._watcher = Watcher(board, wire, settings, submitter, settler, pull_back, self.rng)
        self._copier = copier_of(
            settings.hedge_budget, leaf, self.price, pull_back, board, ledger, publisher
        )

    def _pull_back(self) -> PullBack | None:
        if self.settings.deadline is None:
            return None
        return PullBack(
            anyio.current_time() + self.settings.deadline,
            max(1, self.calls) / _SECONDS_PER_CALL,
            self._wire.limits.cancel_seconds,
        )

    def _is_hurried(self) -> bool:
        return self._watcher.is_hurried

    # -- the run ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Drive until every item has been passed on, or the run is to end before that."""
        error: Exception | None = None
        self._wire.http.hold()
        try:
            async with anyio.create_task_group() as group:
                if await self._begin():
                    group.start_soon(self._planner.run, name="batchllm batch planner")
                    group.start_soon(self._money.watch, self._board)
                    await self._conduct()
                    await self._look_for_late()
                    self.planned.numbers = self._board.numbers()
                    self._note_lost()
                else:
                    await self.source.close()
                group.cancel_scope.cancel("the batches have ended, or wait for another run")
        except* Exception as errors:
            error = _first(errors)
        finally:
            with anyio.move_on_after(_RELEASE_SECONDS, shield=True):
                await self._wire.http.release()
        self._is_done = True
        for reason, count in self._planner.online.items():
            items = "an item was" if count == 1 else f"{count:,} items were"
            self.warnings.append(f"{items} called for online, at its price: {reason}")
        self.planned.end(self._board.termination, error)

    async def cancel_batches(self) -> None:
        """Ask the provider to end what is under way, if that is wanted of a run that is cancelled.

        Shielded, and for some seconds at most: what was not asked for by then goes on.
        """
        if self.settings.on_cancel == "leave" or self._is_done or not self._ledger.run:
            return
        self._wire.http.hold()
        try:
            with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
                count = await self._watcher.cancel_all()
                batches = "1 batch is" if count == 1 else f"{count} batches are"
                self.warnings.append(
                    f"{batches} being cancelled at {self._wire.provider}; the same typed again "
                    "takes what they have done, and sends the rest again"
                )
        finally:
            with anyio.move_on_after(_RELEASE_SECONDS, shield=True):
                await self._wire.http.release()

    async def close(self) -> None:
        """Forget what is finished, and let go of the files of this process."""
        with anyio.move_on_after(_CLEAN_SECONDS, shield=True):
            try:
                if self.journal.commits.failed is None and self._ledger.run:
                    await self._settler.clean()
                    await self._money.note_online()
            except JournalError as error:
                # Nothing is missing: what is left is found by the next run.
                self.warnings.append(f"what is finished could not be cleaned up: {error}")
            finally:
                await self.journal.worker.call(self._items.close)
                await self.journal.worker.call(self._spool.drop_folder)

    async def _begin(self) -> bool:
        """Read the ledger; return whether this run may go on with what is in it."""
        board = self._board
        for chunk in await self._ledger.open():
            board.take_in(chunk)
            self._filling.tests_first = False  # the first batch of all was the test
        await self._money.begin()
        await self.journal.worker.call(partial(self._spool.sweep, frozenset(board.chunks)))
        unsettled = [chunk for chunk in board if not chunk.over]
        mine = self.journal.registrar.identity.digest
        foreign = [one for one in unsettled if one.strategy != mine]
        if foreign:
            raise JournalError(_other_strategy(foreign, self.journal), problem="changed")
        if not await self._is_my_account(unsettled):
            return False
        for chunk in board.in_state(State.CREATING):
            # The process that was about to create it died, maybe after it did.
            await board.move(chunk, State.QUARANTINE, "the process ended during the create")
        if self.settings.on_lost == "resubmit":
            await self._settler.give_up_lost()
        for chunk in board.in_state(State.SETTLED, State.DROPPED):
            self._publisher.settled[chunk.number] = chunk.batch_id or ""
        return True

    async def _is_my_account(self, chunks: list[Chunk]) -> bool:
        """Return whether what is at the provider belongs to the account of this key."""
        known = [one for one in chunks if one.account]
        while known:
            try:
                await self._wire.identify()
                break
            except ProviderError as error:
                if is_of_the_account(error):
                    text = f"{error}; the batches go on: set that right, and type the same again"
                    self._board.end(EndCause.ACCOUNT_PROBLEM, text)
                    return False
            except TransportError:
                pass
            await anyio.sleep(_RETRY)
        strange = [one for one in known if one.account != self._wire.account]
        if strange:
            self._board.end(EndCause.ACCOUNT_PROBLEM, wrong_account(strange))
        return not strange

    # -- the loop --------------------------------------------------------------------------------

    async def _conduct(self) -> None:
        board = self._board
        while board.termination is None and not self._is_over():
            board.begin_to_wait()
            now = anyio.current_time()
            self.planned.numbers = board.numbers()
            if await self._step(now):
                await checkpoint()
                continue
            if self.settings.detach and self._is_submitted():
                board.end(EndCause.DETACHED, self._where_it_is())
                break
            if board.termination is not None or self._is_over():
                break
            at = self._next_at(now)
            with anyio.move_on_at(max(at, now)):
                await board.changed()

    async def _look_for_late(self) -> None:
        """Ask once for late batches whose items were called for online: what they did is paid."""
        board = self._board
        late = [one for one in board.in_state(*CREATED) if one.copied]
        if late and board.termination is None:
            await self._watcher.look()
            goes_on = True
            while goes_on:
                goes_on = await self._settler.step(anyio.current_time())

    async def _step(self, now: float) -> bool:
        if now >= self._cleaned + _CLEAN_EVERY:
            self._cleaned = now
            await self._settler.clean()
            await self._money.note_online()
        if await self._settler.step(now):
            return True
        if self._copier is not None and await self._copier.step(now):
            return True
        # Before what is submitted: polls are rare, and uploads may follow each other for hours.
        if await self._watcher.step(now):
            return True
        alive = {one.number for one in self._board.in_state(State.RUNNING)}
        if not await self._submitter.step(now):
            return False
        if {one.number for one in self._board.in_state(State.RUNNING)} - alive:
            self._watcher.created()
        return True

    def _next_at(self, now: float) -> float:
        times = [
            self._settler.next_at(),
            self._submitter.next_at(now),
            self._watcher.next_at(now),
        ]
        if self._copier is not None:
            times.append(self._copier.next_at())
        if self._board.in_state(State.SETTLED, State.DROPPED):
            times.append(self._cleaned + _CLEAN_EVERY)
        return min(times)

    def _is_over(self) -> bool:
        return self._planner.idle and not self._board.wanted

    def _note_lost(self) -> None:
        """End the run in words if items wait for batches that the provider has no more."""
        board = self._board
        lost = [one for one in board.in_state(State.LOST) if board.waiting[one.number]]
        if lost:
            board.end(EndCause.STOPPED, lost_in_words(lost))

    def _is_submitted(self) -> bool:
        return (self._planner.idle or self._room.is_full) and self._submitter.blocked

    def _where_it_is(self) -> str:
        board = self._board
        flying = [chunk for chunk in board.wanted if chunk.in_flight]
        requests = sum(chunk.lines for chunk in flying)
        later = sum(chunk.lines for chunk in board.wanted) - requests
        batches = "1 batch" if len(flying) == 1 else f"{len(flying)} batches"
        text = f"{requests:,} requests are in {batches} at {self._wire.provider}"
        if later or not self._planner.idle:
            text += (
                f", and {f'{later:,}' if self._planner.idle else 'more'} wait until there is room"
            )
        return f"{text}; the same typed again goes on with them"


def _other_strategy(chunks: list[Chunk], journal: JournalWriter) -> str:
    lines = sum(chunk.lines for chunk in chunks)
    return (
        f"the journal {journal.settings.path} has {lines:,} requests of another strategy in "
        f"{len(chunks)} batches (model {chunks[0].model}): go on with that one, cancel them by "
        "`batchllm jobs cancel`, or give another path"
    )


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    found: Any = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    error: Exception = found
    return error
