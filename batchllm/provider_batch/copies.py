"""Copies online of items whose batch does not end in time, within money of their own.

The one way in which an item is under way twice: it ends in one result all the same, and what its
batch does for it after that is counted as paid twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from attrs import define, field

from batchllm.core import (
    Budget,
    ConfigError,
    ItemStopped,
    LLMCallStrategy,
    Price,
    Reply,
    RetryState,
    dollars,
    kind_of,
)
from batchllm.engine import booking_of, estimate_of, no_price
from batchllm.llm_strategies import Composite
from batchllm.policy import BudgetLedger, Need, PriceBook, Reservation, WorstCases
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.choosing import leaf_of, within_cache
from batchllm.provider_batch.handing_out import HandingOut
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.options import ModeSettings
from batchllm.provider_batch.pacing import PullBack
from batchllm.provider_batch.publishing import BUFFER, Publisher
from batchllm.provider_batch.rows import LineRow, LineState
from batchllm.provider_batch.spool import Items
from batchllm.provider_batch.states import Chunk, advance

__all__ = ["Copier", "Copies", "Copy", "check_hedge_budget", "copier_of"]

_AGAIN: Final = 1.0
"""Seconds until it is tried again, when there was no money or no room for a further copy."""


@define(eq=False)
class Copies:
    """The money for copies of one run.

    Args:
        most: US dollars.
        strategy: That is called.
        price: Of its calls.
        ledger: The books.
        worst: Learns how long answers are.
    """

    most: float
    strategy: LLMCallStrategy[Any]
    price: Price
    ledger: BudgetLedger = field(init=False)
    worst: WorstCases = field(factory=WorstCases, init=False)

    def __attrs_post_init__(self) -> None:
        self.ledger = BudgetLedger(Budget(max_cost=self.most))

    def reserve(self, prompt: Any) -> Reservation | None:
        """Set aside what a call may take at most; ``None`` if there is not so much left."""
        kind = self.strategy.quota_scope
        bound = self.worst.bound(kind, prompt, estimate_of(self.strategy, prompt))
        cost = self.price.worst(bound.input_tokens, bound.output_tokens)
        return self.ledger.reserve(Need(bound.tokens, cost))

    def settle(self, held: Reservation, prompt: Any, ended: Reply | Exception) -> None:
        """Book what a call took, or all that was set aside if that is not known."""
        book, shows = booking_of(ended, self.price, answers=not self.strategy.takes_texts)
        if shows and isinstance(ended, Reply):
            self.worst.learn(self.strategy.quota_scope, prompt, ended.usage)
        book(self.ledger, held)


class Copy(Composite[Any]):
    """Calls online for one item whose batch is late; each attempt has to be paid for.

    Args:
        copies: The money.
        held: What is set aside for the first attempt.
        batch_id: Of the late batch, for the result's metadata.
    """

    def __init__(self, copies: Copies, held: Reservation, batch_id: str) -> None:
        self.parts = (copies.strategy,)
        self.copies = copies
        self.held: Reservation | None = held
        self.batch_id = batch_id

    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        """Call once.

        Raises:
            ItemStopped: There is no money for a further attempt. The item stays open, so that a
                later run takes what its batch has for it.
            Exception: What the call raised.
        """
        copies = self.copies
        held, self.held = self.held or copies.reserve(prompt), None
        if held is None:
            msg = (
                f"no further copy of it is made, since the hedge_budget of {dollars(copies.most)} "
                "is spent; the same call has the answer of its batch later"
            )
            raise ItemStopped(msg)
        try:
            reply = await memory.call(copies.strategy, prompt, attempt, timeout)
        except Exception as error:
            copies.settle(held, prompt, error)
            raise
        except BaseException:
            copies.ledger.keep(held)
            raise
        copies.settle(held, prompt, reply)
        return reply._replace(metadata={**(reply.metadata or {}), "late_batch_id": self.batch_id})


@define(eq=False)
class Copier:
    """Makes copies of what is in late batches, when it is about to be too late for them.

    Args:
        copies: The money.
        pull_back: When it is too late.
        board: The chunks.
        ledger: Knows the lines, and notes which of them have copies.
        publisher: Has the items.
        handing_out: Passes the copies on.
    """

    copies: Copies
    pull_back: PullBack
    board: Board
    ledger: BatchLedger
    publisher: Publisher
    handing_out: HandingOut
    _began: bool = field(default=False, init=False)
    _after: dict[int, int] = field(factory=dict, init=False)
    _next: float = field(default=0.0, init=False)

    def next_at(self) -> float:
        """Return when the next copies are due, on the loop's clock."""
        if not self._late():
            return float("inf")
        return max(self._next, self._due())

    def _due(self) -> float:
        # Once begun it goes on: as copies are made fewer items remain, which would be later.
        remaining = sum(self.board.waiting[chunk.number] for chunk in self._late())
        return 0.0 if self._began else self.pull_back.copy_at(remaining)

    def _late(self) -> list[Chunk]:
        return [one for one in self.board.wanted if one.in_flight]

    async def step(self, now: float) -> bool:
        """Make some copies if they are due; return whether any were made."""
        if now < self.next_at() or now >= self.pull_back.deadline:
            return False
        self._began, self._next = True, now + _AGAIN
        for chunk in self._late():
            made = await self._copy_some(chunk)
            if made:
                self._next = now
                return True
        return False

    async def _copy_some(self, chunk: Chunk) -> int:
        """Make as many copies as there is room in the engine for, and money."""
        items, call = self.publisher.items, self.publisher.journal.worker.call
        room = BUFFER - self.publisher.send.statistics().current_buffer_used
        if room <= 0 or not self.handing_out.idle:
            return 0
        after = self._after.get(chunk.number, -1)
        while rows := await self.ledger.lines_of(chunk.number, after):
            open_still = [r for r in rows if r.state == LineState.SENT and items.has(r.line)][:room]
            if open_still:
                prompts = await call(partial(_prompts, items, [row.line for row in open_still]))
                held = self._reserve(prompts)
                self._after[chunk.number] = (open_still[0].line_no or 0) - 1
                if held:
                    await self._pass_on(chunk, list(zip(open_still, held, strict=False)))
                return len(held)
            after = rows[-1].line_no or 0
        return 0

    def _reserve(self, prompts: Sequence[Any]) -> list[Reservation]:
        """Set money aside for the calls with *prompts*, up to the first that it does not cover."""
        held = []
        for prompt in prompts:
            one = self.copies.reserve(prompt)
            if one is None:
                break
            held.append(one)
        return held

    async def _pass_on(self, chunk: Chunk, chosen: list[tuple[LineRow, Reservation]]) -> None:
        board, count = self.board, len(chosen)
        after = advance(chunk, chunk.state, copied=chunk.copied + count)
        await self.ledger.note_copies(chunk, after, [row.line for row, _ in chosen])
        board.put(after)
        board.waiting[chunk.number] -= count
        board.copied += count
        batch_id = chunk.batch_id or ""
        self.handing_out.add([(row, Copy(self.copies, held, batch_id)) for row, held in chosen])


def check_hedge_budget(
    settings: ModeSettings, prices: PriceBook, strategy: LLMCallStrategy[Any]
) -> None:
    """Pass if copies have one known price, or nothing is allowed for them.

    Raises:
        ConfigError: They have not; the message names the model or composite and what to do.
    """
    if settings.hedge_budget is not None and within_cache(strategy) is not leaf_of(strategy):
        msg = (
            f"hedge_budget pays for copies by one model, and {kind_of(within_cache(strategy))} may "
            "call again or call another: leave one of the two out"
        )
        raise ConfigError(msg)
    if settings.hedge_budget is not None and prices.of(leaf_of(strategy)) is None:
        raise ConfigError(no_price(prices, prices.missing(strategy), "hedge_budget is money"))


def copier_of(
    most: float | None,
    strategy: LLMCallStrategy[Any],
    price: Price | None,
    pull_back: PullBack | None,
    board: Board,
    ledger: BatchLedger,
    publisher: Publisher,
    handing_out: HandingOut,
) -> Copier | None:
    """Return what makes copies of items in late batches; ``None`` if there is no money for it."""
    if most is None or price is None or pull_back is None:
        return None
    return Copier(Copies(most, strategy, price), pull_back, board, ledger, publisher, handing_out)


def _prompts(items: Items, lines: Sequence[int]) -> list[Any]:
    return [items.get(line)[0].prompt for line in lines]
