"""The budget of a run: each call reserves the most that it may take, and settles what it took.

A call that does not fit waits, in the order of asking, for the calls under way: most take less than
they reserved. Only if none is under way and it still does not fit, the budget is at its end, and
the run is drained.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

import anyio
from attrs import define, evolve, field

from batchllm.core import (
    CallTooLargeError,
    ConfigError,
    EndCause,
    JournalError,
    LLMCallStrategy,
    ProcessingEvent,
    ProcessorConfig,
    Reply,
    StrategyError,
    Termination,
    dollars,
)
from batchllm.engine.bills import Bill, Booking, Wanted, booking_of
from batchllm.engine.budget_words import budget_spent, no_price
from batchllm.engine.ending import DRAIN, Ending, Phase
from batchllm.engine.events import Events
from batchllm.engine.failures import Failure, no_permit, out_of_time, stopped
from batchllm.engine.hooks import estimate_of
from batchllm.engine.item import ItemRun
from batchllm.engine.kept_spending import KeptSpending
from batchllm.engine.waiting import Waits
from batchllm.policy import Bound, BudgetLedger, Need, PriceBook, Reservation, WorstCases

__all__ = ["Spending", "check_prices"]


@define(eq=False)
class _Waiter:
    woken: anyio.Event = field(factory=anyio.Event)


@define(eq=False)
class Spending:
    """Lets calls start as the budget of one run has room for them.

    Args:
        ledger: Its books.
        prices: The prices of models.
        ending: The run ends with its budget.
        waits: Keeps the time that items wait.
        events: Get one when the budget is spent.
        clock: Seconds on the event loop's clock.
        kept: Books that outlive the process; ``None`` if none do.

    Attributes:
        most_unbounded: The most calls that had a reservation at once, and no bound on their answer.
        worst: What calls take at most, as far as their answers have shown it.
    """

    ledger: BudgetLedger
    prices: PriceBook
    ending: Ending
    waits: Waits
    events: Events
    clock: Callable[[], float]
    kept: KeptSpending | None = None
    most_unbounded: int = field(default=0, init=False)
    _left: Termination | None = field(default=None, init=False)
    _unbounded: int = field(default=0, init=False)
    _held: float = field(default=0.0, init=False)
    _since: float = field(default=0.0, init=False)
    worst: WorstCases = field(factory=WorstCases, init=False)
    _freed: anyio.Event | None = field(default=None, init=False)
    _under_way: dict[Hashable, int] = field(factory=dict, init=False)
    _queues: dict[Hashable, deque[_Waiter]] = field(factory=dict, init=False)
    """Calls that wait, by kind: one kind may have to wait for its first answers, others not."""

    def want(self, strategy: LLMCallStrategy[Any], prompt: Any) -> Wanted:
        """Return what has to be known of a call of *strategy* with *prompt*.

        Args:
            strategy: What is to be called.
            prompt: What it is asked.

        Raises:
            StrategyError: The budget is one of money, and its price is not known.
            Exception: What its ``estimate`` raised.
        """
        estimate, answers = estimate_of(strategy, prompt), not strategy.takes_texts
        if self.ledger.budget.max_cost is None:
            return Wanted(strategy.quota_scope, prompt, estimate, None, answers)
        price = self.prices.of(strategy)
        if price is None:
            raise StrategyError(no_price(self.prices, self.prices.missing(strategy)))
        return Wanted(strategy.quota_scope, prompt, estimate, price, answers)

    async def reserve(self, item: ItemRun, wanted: Wanted) -> Bill | Failure:
        """Reserve for a call of *item*; return why it is not made if it is not."""
        queue = self._queues.get(wanted.kind)
        if not queue:
            bill = self._try(wanted)
            if bill is not None:
                return bill if self.kept is None else await self._kept(bill, self.kept)
        waited = await self._wait(item, wanted)
        if isinstance(waited, Failure) or self.kept is None:
            return waited
        return await self._kept(waited, self.kept)

    async def _kept(self, bill: Bill, kept: KeptSpending) -> Bill | Failure:
        """Wait until a reservation is on the disk: the process may die with its call in flight."""
        try:
            await kept.written()
        except JournalError:  # the run ends with it
            self._close(bill, BudgetLedger.release)
            return stopped(self.ending)
        except BaseException:
            self._close(bill, BudgetLedger.release)
            raise
        return bill

    async def _wait(self, item: ItemRun, wanted: Wanted) -> Bill | Failure:
        queue = self._queues.setdefault(wanted.kind, deque())
        began, waiter = self.clock(), _Waiter()
        bill: Bill | None = None
        if not any(self._queues.values()):
            self._since = began
        queue.append(waiter)
        self.waits.wake_feed()
        try:
            with self.ending.until(Phase.DRAINING, item.deadline):
                while bill is None:
                    if queue[0] is waiter:
                        bill = self._try(wanted)
                        if bill is None and not self.ledger.calls:
                            too_large = self._too_large(item, wanted)
                            if too_large is not None:
                                return too_large
                            self._end(item, wanted)
                    if bill is None:
                        await waiter.woken.wait()
                        waiter.woken = anyio.Event()
        finally:
            queue.remove(waiter)
            seconds = self.clock() - began
            self._note(item, seconds)
            self._wake()
        if self.ending.stopping:
            if bill is not None:  # woken in the very turn in which the run was stopped
                self._close(bill, BudgetLedger.release)
            return stopped(self.ending)
        if bill is not None:
            return bill
        waited = f"at last it waited {seconds:.1f} s for room in the budget"
        return out_of_time(item, self.clock(), waited)

    def has_room(self, wanted: Wanted) -> bool:
        """Return whether another such call could start now, with none that waits for room."""
        if self.is_waited_for:
            return False
        bound = self.worst.bound(wanted.kind, wanted.prompt, wanted.estimate)
        return self._may_start(wanted.kind, bound) and self.ledger.fits(wanted.need(bound))

    def _may_start(self, kind: Hashable, bound: Bound) -> bool:
        most = self.worst.most_in_flight(kind, bound)
        return most is None or self._under_way.get(kind, 0) < most

    def _try(self, wanted: Wanted) -> Bill | None:
        """Reserve, if there is room and calls of the kind may be started.

        What it may take is found anew each time: answers that came meanwhile show more.
        """
        bound = self.worst.bound(wanted.kind, wanted.prompt, wanted.estimate)
        if not self._may_start(wanted.kind, bound):
            return None
        reservation = self.ledger.reserve(wanted.need(bound))
        if reservation is None:
            return None
        self._under_way[wanted.kind] = self._under_way.get(wanted.kind, 0) + 1
        if not bound.sure:
            self._unbounded += 1
            self.most_unbounded = max(self.most_unbounded, self._unbounded)
        kept = None if self.kept is None else self.kept.reserve(reservation)
        return Bill(wanted, bound.sure, reservation, kept)

    # -- what takes of the budget beside calls ---------------------------------------------------

    def set_aside(self, need: Need) -> Reservation | None:
        """Reserve for something that is no call; ``None`` without room, or if calls wait for it."""
        return None if self.is_waited_for else self.ledger.reserve(need)

    @property
    def is_waited_for(self) -> bool:
        """Return whether calls wait for room."""
        return any(self._queues.values())

    def look_again(self) -> None:
        """Let what waits for room look, since some was given back."""
        self._wake()

    def leave(self, why: Termination | None) -> None:
        """Let what waits look again, since no more is given back than by calls of this run.

        Args:
            why: The run ends if a call has no room then; ``None`` if for the budget.
        """
        self._left = why
        self._wake()

    async def freed(self) -> None:
        """Wait until something that was reserved is given back or booked."""
        if self._freed is None:
            self._freed = anyio.Event()
        await self._freed.wait()

    # -- when the call has ended -----------------------------------------------------------------

    def settle(self, bill: Bill, ended: Reply | Failure) -> None:
        """Book what a call took; all that was reserved if that is unknown and may be billed."""
        wanted = bill.wanted
        if isinstance(ended, Reply):
            how: Reply | BaseException | None = ended
        else:
            how = ended.error if ended.made else None
        book, shows = booking_of(how, wanted.price, answers=wanted.answers)
        if shows and isinstance(ended, Reply):
            self.worst.learn(wanted.kind, wanted.prompt, ended.usage)
        self._close(bill, book)

    def cancel(self, bill: Bill, *, in_flight: bool) -> None:
        """Book a call that was cancelled, which may be billed if it was *in_flight*."""
        self._close(bill, BudgetLedger.keep if in_flight else BudgetLedger.release)

    def _close(self, bill: Bill, book: Booking) -> None:
        book(self.ledger, bill.reservation)
        if self.kept is not None and bill.kept is not None:
            self.kept.close(bill.kept, book)
        self._under_way[bill.wanted.kind] -= 1
        if not bill.sure:
            self._unbounded -= 1
        self._wake()

    def _wake(self) -> None:
        """Let the first of each kind look again; only they can start."""
        if self._freed is not None:
            self._freed.set()
            self._freed = None
        for queue in self._queues.values():
            if queue:
                queue[0].woken.set()

    def _note(self, item: ItemRun, seconds: float) -> None:
        """Book a wait."""
        item.waited(seconds, 0.0)
        self.waits.seconds["admission_wait"] += seconds
        if not any(self._queues.values()):
            self._held += self.clock() - self._since

    def _too_large(self, item: ItemRun, wanted: Wanted) -> Failure | None:
        """Return the failure of an item whose prompt alone exceeds the whole budget.

        The run goes on without it: others may be shorter.
        """
        bound = self.worst.bound(wanted.kind, wanted.prompt, wanted.estimate)
        least = wanted.need(evolve(bound, output_tokens=0))
        if BudgetLedger(self.ledger.budget).fits(least):
            return None
        costs = "" if least.cost is None else f", which are {dollars(least.cost)},"
        error = CallTooLargeError(
            f"item {item.work.item_id!r}: its prompt may have {least.tokens:,} tokens{costs} and "
            "the budget of the run is less; give a larger budget, or shorten it"
        )
        return no_permit(error)

    def _end(self, item: ItemRun, wanted: Wanted) -> None:
        """Drain the run, since its budget is spent, or held by batches of a later one."""
        if self._left is not None:
            self.ending.request(DRAIN, self._left)
            return
        bound = self.worst.bound(wanted.kind, wanted.prompt, wanted.estimate)
        reason = budget_spent(self.ledger, wanted.need(bound), sure=bound.sure)
        end = Termination(EndCause.BUDGET, reason, item.work.item_id)
        if self.ending.request(DRAIN, end):
            self.announce_end(item.work.item_id)

    def announce_end(self, item_id: str | None) -> None:
        """Report to observers that the budget is spent."""
        self.events.emit(ProcessingEvent.BUDGET_EXHAUSTED, {"item_id": item_id, **self.read()})

    # -- what there is to see of it --------------------------------------------------------------

    @property
    def held(self) -> float:
        """Return the seconds during which calls waited for room in the budget."""
        waiting = any(self._queues.values())
        return self._held + (self.clock() - self._since if waiting else 0.0)

    def read(self) -> dict[str, Any]:
        """Return the numbers, for ``stats``."""
        ledger, budget = self.ledger, self.ledger.budget
        return {
            "max_cost": budget.max_cost,
            "cost": ledger.cost,
            "uncertain_cost": ledger.uncertain_cost,
            "reserved_cost": ledger.reserved_cost,
            "max_tokens_total": budget.max_tokens_total,
            "tokens": ledger.tokens,
            "uncertain_tokens": ledger.uncertain_tokens,
            "reserved_tokens": ledger.reserved_tokens,
            "waiting": sum(map(len, self._queues.values())),
            # Some had their reservation and still waited for a permit.
            "most_unbounded": min(self.most_unbounded, self.waits.callers.calls),
            "longest_answer": self.worst.longest,
        }


def check_prices(
    config: ProcessorConfig, prices: PriceBook, strategy: LLMCallStrategy[Any] | None
) -> None:
    """Pass if the price of *strategy* is known, or no budget in money needs it.

    Raises:
        ConfigError: It is not; the message names the model and what to do.
    """
    if config.budget is None or config.budget.max_cost is None or config.dry_run:
        return
    names = [] if strategy is None else prices.missing(strategy)
    if names:
        raise ConfigError(no_price(prices, names))
