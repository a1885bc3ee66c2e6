"""The books of one item while it runs: its time, its tokens, and the attempts that count."""

from __future__ import annotations

import math
from typing import Any

from attrs import define

from batchllm.core import (
    AttemptFailure,
    Category,
    LLMWorkItem,
    TokenUsage,
    WorkItemResult,
    add_usage,
)
from batchllm.gate import Gate, Refusal
from batchllm.journal import Entry
from batchllm.policy import FailureRow, Verdict

__all__ = ["Charge", "ItemRun"]


@define(eq=False)
class Charge:
    """One failed attempt that may turn out to be an outage's.

    Attributes:
        gate: The gate at which it failed.
        row: The failures that it belongs to.
        seconds: What it took of the item's stopwatch, its backoff included.
    """

    gate: Gate
    row: FailureRow
    seconds: float


@define(eq=False)
class ItemRun:
    """One item on its way: its stopwatch, its bill and its notes.

    The stopwatch runs while a call of the item executes and during its backoff, and stands still
    while a limit that it shares with others makes it wait.

    Attributes:
        work: The item, as middleware left it.
        index: Its position in the input, from 0.
        started: When it was started, on the event loop's clock.
        limit: Seconds that its stopwatch may show.
        deadline: When its wall-clock time is over.
        spans: Where the time went, as in ``WorkItemResult``.
        usage: Tokens of its calls, as far as they are known.
        cost: US dollars of its calls, as far as they are known.
        failures: How its calls ended, as in ``WorkItemResult``.
        values: The memory of its strategies' ``RetryState``, once one has asked for it.
        cut_off: Whether it was cancelled with a call in flight, which may have been billed.
        last_failure: The last failure that was classified, so that a composite which passes
            it on does not have it judged anew.
        charged: Attempts that it has used up, as far as is known.
        pending: Those of them of which it is not decided yet whether they count.
        spent: Seconds that its stopwatch shows while no call runs.
        begun: What its stopwatch showed when its attempt began.
        unanswered: If its last call got no answer: the gate, and the failures in a row there.
        called: The gates at which it has made calls.
        refusals: The gates that refused its last call, with what they asked for.
        entry: What its journal knows it by, if there is a journal.
        batch: The run that it belongs to, as logs name it.
        attempt: The number of the attempt under way, from 1; 0 before the first.
        watched: What the run's span observers know it by.
        result: Its result, once it has one that is announced.
        went_in: If middleware has seen it before it was started.
    """

    work: LLMWorkItem[Any, Any, Any]
    index: int
    started: float
    limit: float = math.inf
    deadline: float = math.inf
    entry: Entry | None = None
    batch: str = ""
    usage: TokenUsage | None = None
    cost: float | None = None
    attempts: int = 0
    spans: tuple[float, ...] = ()
    failures: tuple[AttemptFailure | None, ...] = ()
    values: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    cut_off: bool = False
    last_failure: object = None
    charged: int = 0
    pending: tuple[Charge, ...] = ()
    spent: float = 0.0
    begun: float = 0.0
    unanswered: tuple[Gate, FailureRow] | None = None
    called: tuple[Gate, ...] = ()
    refusals: dict[Gate, Refusal] | None = None
    _unpriced: bool = False
    attempt: int = 0
    watched: tuple[Any, ...] = ()
    result: WorkItemResult[Any, Any] | None = None
    went_in: bool = False
    _running: int = 0
    _since: float = 0.0
    _admission: float = 0.0
    _cooldown: float = 0.0
    _booked: float = 0.0

    @property
    def item_id(self) -> str:
        """The item's id."""
        return self.work.item_id

    def is_over(self, now: float) -> bool:
        """Return whether it has no time left: it can only have run out if it has run before."""
        return (self.spent > 0.0 or self.deadline < math.inf) and self.left(now) <= 0

    def begin_call(self, gate: Gate, now: float) -> None:
        """Note that a call at *gate* was let through."""
        if gate not in self.called:
            self.called = (*self.called, gate)
        if self.pending:  # while it waited they may have turned out to be an outage's
            self.settle()
        self.start_clock(now)
        self.unanswered = None

    def start_clock(self, now: float) -> None:
        """Let the stopwatch run; calls that overlap are counted once."""
        if self._running == 0:
            self._since = now
        self._running += 1

    def stop_clock(self, now: float) -> None:
        """Let the stopwatch stand, once the last of the calls that overlap has ended."""
        self._running -= 1
        if self._running == 0:
            self.spent += now - self._since

    def stand_still(self, seconds: float) -> None:
        """Take *seconds* off the stopwatch, in which no call could go on."""
        self._since += seconds

    def left(self, now: float) -> float:
        """Return the seconds until the stopwatch or the wall clock ends the item."""
        left = self.limit - self._shown(now)
        return left if self.deadline == math.inf else min(left, self.deadline - now)

    def bound(self, now: float) -> tuple[str, float]:
        """Return which setting ends the item first, seen from *now*, and its seconds."""
        if self.limit - self._shown(now) <= self.deadline - now:
            return "timeout_per_item", self.limit
        return "deadline_per_item", self.deadline - self.started

    def _shown(self, now: float) -> float:
        return self.spent + (now - self._since if self._running else 0.0)

    def charge(self) -> None:
        """Count an attempt for good."""
        self.charged += 1

    def charge_for_now(self, gate: Gate, row: FailureRow) -> None:
        """Count the attempt under way for as long as its *row* at *gate* is not an outage's."""
        self.pending = (*self.pending, Charge(gate, row, self.spent - self.begun))
        self.charged += 1

    def spend(self, seconds: float) -> None:
        """Add *seconds* of backoff, which go with the last attempt if that is given back."""
        if self.pending:
            self.pending[-1].seconds += seconds
        self.spent += seconds
        self._booked += seconds
        if self.spans:
            self.spans = (*self.spans[:-1], self.spans[-1] + seconds)

    def settle(self) -> None:
        """Give back the attempts, and their time, that turned out to be an outage's.

        Its spans keep that time: they say where it went.
        """
        for charge in self.pending:
            if charge.row.verdict is Verdict.GIVEN_BACK:
                self.charged -= 1
                self.spent -= charge.seconds
                self._booked -= charge.seconds
                self.begun -= charge.seconds
        if self.pending:
            self.pending = tuple(c for c in self.pending if c.row.verdict is Verdict.PENDING)

    def refused(self, gate: Gate, now: float, wait: float | None) -> None:
        """Note that *gate* refused a call, and what the server asked this item to wait."""
        refusal = Refusal(now, now + (wait or 0.0))
        self.refusals = {**(self.refusals or {}), gate: refusal}

    def waited(self, admission: float, cooldown: float) -> None:
        """Note what the attempt under way has waited for its permit."""
        self._admission += admission
        self._cooldown += cooldown

    def end_attempt(self, attempt: int, failure: AttemptFailure | None = None) -> None:
        """Close the books of the attempt under way, which ended with *failure* or an answer."""
        if self.failures or failure is not None:
            if failure is not None and self.failures and self.failures[-1] == failure:
                failure = self.failures[-1]  # hundreds of refusals say the same, and take no room
            calls = len(self.spans) // 4
            self.failures = (*(self.failures or (None,) * calls), failure)
        self.attempts = attempt
        span = (self._admission, self._cooldown, self.spent - self._booked, 0.0)
        self.spans = span if not self.spans else (*self.spans, *span)
        self._booked = self.spent
        self._admission = self._cooldown = 0.0

    def cut_short(self) -> None:
        """Close the books of an attempt that was cancelled, in its call or while it waited."""
        if self.cut_off:
            text = "cancelled while it was being called, and maybe billed"
            self.end_attempt(self.attempts + 1, AttemptFailure(text, Category.CANCELLED))
        elif self._admission or self._cooldown:
            text = "cancelled while it waited for its turn"
            self.end_attempt(self.attempts, AttemptFailure(text, Category.STOPPED))

    def note(self, text: str) -> None:
        """Add a sentence for the result's metadata."""
        self.notes = (*self.notes, text)

    def book(self, usage: TokenUsage | None, cost: float | None, *, answered: bool = False) -> None:
        """Add the tokens and the US dollars of one call; ``None`` is unknown."""
        if usage is not None:
            self.usage = usage if self.usage is None else add_usage(self.usage, usage)
        if cost is not None:
            self.cost = cost if self.cost is None else self.cost + cost
        elif answered or usage is not None:
            self._unpriced = True

    def bill(self) -> float | None:
        """Return the US dollars of all its calls; ``None`` if that of one is unknown."""
        return None if self._unpriced else self.cost
