"""The parts of one run of batch mode, and how they are put together."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import anyio
from attrs import field, frozen

from batchllm.core import LLMCallStrategy, Price
from batchllm.engine import Source, Spending
from batchllm.journal import JournalWriter
from batchllm.llm_strategies import ResponseCache
from batchllm.provider_batch.admission import Admission
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.cancelling import Canceller
from batchllm.provider_batch.choosing import leaf_of, wire_of, within_cache
from batchllm.provider_batch.copies import Copier, copier_of
from batchllm.provider_batch.filling import Filling, Room
from batchllm.provider_batch.finding import Finder
from batchllm.provider_batch.ghosts import Ghosts
from batchllm.provider_batch.handing_out import HandingOut
from batchllm.provider_batch.intake import Intake
from batchllm.provider_batch.lateness import Lateness
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.lookup import Lookup
from batchllm.provider_batch.middleware import MiddlewareIn
from batchllm.provider_batch.money import Money
from batchllm.provider_batch.options import ModeSettings
from batchllm.provider_batch.outages import Outage
from batchllm.provider_batch.pacing import ChunkSizes, PullBack
from batchllm.provider_batch.paying import Payer
from batchllm.provider_batch.planning import Planner
from batchllm.provider_batch.publishing import PlannedItems, Publisher
from batchllm.provider_batch.quota_memory import QuotaMemory
from batchllm.provider_batch.quota_waits import QuotaWaits
from batchllm.provider_batch.refinding import Refinding
from batchllm.provider_batch.repeat_planning import RepeatPlanner
from batchllm.provider_batch.repeats import Repeats
from batchllm.provider_batch.settling import Settler
from batchllm.provider_batch.spool import Items, Spool, folder_of
from batchllm.provider_batch.submitting import Submitter
from batchllm.provider_batch.watching import Watcher
from batchllm.provider_batch.wires import BatchWire

__all__ = ["Given", "Parts", "parts_of"]

_SECONDS_PER_CALL: Final = 10.0
"""Of an online call, with which the time for what is brought back from a late batch is reckoned."""


@frozen(kw_only=True)
class Given:
    """The arguments of one run, and the way to its engine.

    Attributes:
        source: The user's items.
        strategy: The run's.
        journal: Open, and driven by this process.
        settings: The options.
        planned: The items as the engine reads them.
        pass_over: Called with the position of an item that was finished and is only counted.
        warnings: Gets a sentence if something is to be known.
        calls: Calls that the engine makes at once.
        price: Of a call online; ``None`` if it is not known.
        spending: Keeps the budget; ``None`` without one.
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


@frozen(kw_only=True)
class _Stores:
    """Where things are kept, and what all parts share."""

    asked: LLMCallStrategy[Any]
    leaf: LLMCallStrategy[Any]
    wire: BatchWire
    ledger: BatchLedger
    spool: Spool
    items: Items
    sizes: ChunkSizes
    room: Room
    money: Money
    board: Board


@frozen(kw_only=True)
class Parts:
    """The parts of one run, each of which says itself what it does."""

    given: Given
    wire: BatchWire
    ledger: BatchLedger
    spool: Spool
    items: Items
    room: Room
    money: Money
    board: Board
    publisher: Publisher
    handing_out: HandingOut
    filling: Filling
    planner: Planner
    settler: Settler
    submitter: Submitter
    watcher: Watcher
    outage: Outage
    canceller: Canceller
    memory: QuotaMemory
    copier: Copier | None


def parts_of(given: Given) -> Parts:
    """Put the parts of a run together, from those that know of no other upwards."""
    stores = _stores_of(given)
    wire, board, settings = stores.wire, stores.board, given.settings
    cache = given.strategy if isinstance(given.strategy, ResponseCache) else None
    repeats = None if cache is None else Repeats(cache)
    publisher = Publisher(
        stores.asked,
        stores.leaf,
        wire,
        stores.ledger,
        stores.spool,
        stores.items,
        given.journal,
        given.planned.send,
        repeats,
    )
    handing_out = HandingOut(board, publisher)
    filling = _filling_of(given, stores)
    planner = _planner_of(given, stores, publisher, filling, repeats)
    pull_back = _pull_back_of(given, wire)
    lateness = Lateness(board, settings, pull_back)
    outage = Outage(board)
    settler = _settler_of(given, stores, handing_out, planner, lateness, outage)
    refinding = Refinding(wire.strength, wire.absent_after, settings.on_ambiguous)
    lookup = Lookup(wire)
    finder = Finder(board, wire, stores.spool, given.journal, refinding, outage, lookup)
    canceller = Canceller(board, wire, finder)
    payer = Payer(board, settler, stores.money.purse, given.spending)
    memory = QuotaMemory(stores.ledger, wire, board)
    quota = QuotaWaits(board, settler, lateness, outage, memory)
    submitter = Submitter(
        board, wire, stores.spool, given.journal, finder, settler, payer, outage, quota
    )
    watcher = Watcher(
        board,
        wire,
        submitter,
        settler,
        lateness,
        Ghosts(board, wire, lookup),
        outage,
        canceller,
        given.rng,
    )
    return Parts(
        given=given,
        wire=wire,
        ledger=stores.ledger,
        spool=stores.spool,
        items=stores.items,
        room=stores.room,
        money=stores.money,
        board=board,
        publisher=publisher,
        handing_out=handing_out,
        filling=filling,
        planner=planner,
        settler=settler,
        submitter=submitter,
        outage=outage,
        canceller=canceller,
        memory=memory,
        watcher=watcher,
        copier=copier_of(
            settings.hedge_budget,
            stores.leaf,
            given.price,
            pull_back,
            board,
            stores.ledger,
            publisher,
            handing_out,
        ),
    )


def _stores_of(given: Given) -> _Stores:
    wire, leaf = wire_of(given.strategy), leaf_of(given.strategy)
    folder = folder_of(given.journal.settings.path)
    ledger, room = BatchLedger(given.journal), Room()
    money = Money(ledger, given.spending, leaf, given.price)
    board = Board(
        ledger,
        wire,
        Admission(wire.limits),
        room,
        given.journal.wall_clock,
        given.warnings,
        given.rng,
        money.purse,
        given.spending,
    )
    return _Stores(
        asked=within_cache(given.strategy),
        leaf=leaf,
        wire=wire,
        ledger=ledger,
        spool=Spool(folder),
        items=Items(folder),
        sizes=ChunkSizes(wire.limits, given.settings.chunk_size),
        room=room,
        money=money,
        board=board,
    )


def _filling_of(given: Given, stores: _Stores) -> Filling:
    journal, board = given.journal, stores.board
    return Filling(
        stores.wire,
        stores.ledger,
        stores.spool,
        stores.items,
        journal,
        stores.sizes,
        stores.room,
        journal.registrar.identity.digest,
        board.take_in,
        tests_first=not given.settings.detach,
        echo=given.settings.verify_echo,
        counts=board.counts,
    )


def _planner_of(
    given: Given,
    stores: _Stores,
    publisher: Publisher,
    filling: Filling,
    repeats: Repeats | None,
) -> Planner:
    cache = None if repeats is None else repeats.cache
    return Planner(
        Intake(given.source, stores.asked, given.journal, cache),
        stores.leaf,
        given.journal,
        stores.ledger,
        stores.items,
        publisher,
        filling,
        given.pass_over,
        stores.board.attach,
        stores.board.look,
        given.middleware,
        given.warnings,
        None if repeats is None else RepeatPlanner(repeats, filling, publisher),
    )


def _settler_of(
    given: Given,
    stores: _Stores,
    handing_out: HandingOut,
    planner: Planner,
    lateness: Lateness,
    outage: Outage,
) -> Settler:
    return Settler(
        stores.board,
        stores.ledger,
        stores.wire,
        stores.spool,
        given.journal,
        handing_out,
        given.settings,
        stores.sizes,
        given.price,
        outage,
        planner.put_back,
        lateness.is_hurried,
    )


def _pull_back_of(given: Given, wire: BatchWire) -> PullBack | None:
    if given.settings.deadline is None:
        return None
    return PullBack(
        anyio.current_time() + given.settings.deadline,
        max(1, given.calls) / _SECONDS_PER_CALL,
        wire.limits.cancel_seconds,
    )
