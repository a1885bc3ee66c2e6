"""The right to make one call, and the limits of the caller that makes it.

A caller of gates is a run or a pool; its limits hold over all the quota scopes that it calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeAlias

import anyio
from attrs import define, field

from batchllm.core import CallCost, Outcome, ServerHint, TokenUsage
from batchllm.policy import FailureRow, GateSnapshot, RateLimiter, Send

__all__ = ["Advances", "CallerLimits", "Permit", "Wakes"]

CallersSend: TypeAlias = tuple[RateLimiter, Send]
"""A call and the limiter that counts it: limits may be changed while it is in flight."""


class Advances(Protocol):
    """A gate, as far as its callers are concerned."""

    def advance(self) -> None:
        """Hand out what may start now."""


class Wakes(Protocol):
    """Whatever starts further calls when there is room for them."""

    def wake(self) -> None:
        """Look again whether there is room."""


@define(eq=False)
class CallerLimits:
    """An exact cap on calls in flight, and limits of the caller's own.

    The cap is a ``CapacityLimiter``. Its tokens are taken without waiting, when a gate grants a
    permit, and the permit is the borrower: so cap, pace, pause and ledger are one decision, and a
    call that waits, waits in one place, the queue of its gate.

    Args:
        calls: The cap.
        limiter: Declared limits that hold over all scopes together; ``None`` if there are none.
        feed: Woken when a call is free that no gate has a waiter for.

    Attributes:
        full: Whether the cap is reached; kept, since every call asks for it several times.
        more_to_come: Whether there are items that did not come to any gate yet.
        full_for: Seconds during which the cap was reached and there were more to come.
    """

    calls: int
    limiter: RateLimiter | None = None
    _feed: Wakes | None = None
    full: bool = field(default=False, init=False)
    more_to_come: bool = field(default=False, init=False)
    full_for: float = field(default=0.0, init=False)
    _cap: anyio.CapacityLimiter = field(init=False)
    _full_since: float = field(default=0.0, init=False)
    _waiting: dict[Advances, None] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._cap = anyio.CapacityLimiter(self.calls)

    @property
    def in_flight(self) -> int:
        """Calls that hold a permit."""
        return self._cap.borrowed_tokens

    def statistics(self) -> anyio.CapacityLimiterStatistics:
        """Return the numbers of the cap on calls in flight."""
        return self._cap.statistics()

    def own_limits(self, now: float) -> GateSnapshot | None:
        """Return the state of the caller's own limits; ``None`` if there are none."""
        return None if self.limiter is None else self.limiter.snapshot(now)

    def next_time(self, now: float, cost: CallCost) -> float:
        """Return when a call may start by the caller's own limits; infinity while it is full."""
        if self.full:
            return math.inf
        return now if self.limiter is None else self.limiter.next_time(now, cost)

    def take(self, now: float, cost: CallCost, permit: Permit) -> CallersSend | None:
        """Count the call of *permit*, which starts now; ``next_time`` has allowed it."""
        cap = self._cap
        cap.acquire_on_behalf_of_nowait(permit)
        if cap.borrowed_tokens >= self.calls:
            self.full, self._full_since = True, now
        return None if self.limiter is None else (self.limiter, self.limiter.on_send(now, cost))

    def end(self, now: float, permit: Permit, usage: TokenUsage | None) -> None:
        """Count a call that ended, with the tokens it took if they are known."""
        if permit.counted is not None:
            limiter, send = permit.counted
            tokens = usage or {}
            limiter.on_result(
                now,
                send,
                Outcome.OK,
                input_tokens=tokens.get("input_tokens"),
                output_tokens=tokens.get("output_tokens"),
            )
        self._free(now, permit)

    def undo(self, now: float, permit: Permit) -> None:
        """Forget a call that never left."""
        if permit.counted is not None:
            limiter, send = permit.counted
            limiter.on_release(now, send)
        self._free(now, permit)

    def resize(self, calls: int) -> None:
        """Change the cap; calls in flight are not touched."""
        self.calls = self._cap.total_tokens = calls
        self.full = self.in_flight >= calls
        self._let_in()

    def waits_at(self, gate: Advances) -> None:
        """Remember that *gate* has a call waiting for room among these calls."""
        self._waiting[gate] = None

    def _free(self, now: float, permit: Permit) -> None:
        self._cap.release_on_behalf_of(permit)
        if self.full:
            if self.more_to_come:
                self.full_for += now - self._full_since
                self._full_since = now
            self.full = self._cap.borrowed_tokens >= self.calls
        self._let_in()

    def _let_in(self) -> None:
        # Each gate goes to the back after its turn, so that none is served first for ever.
        for gate in list(self._waiting):
            if self.full:
                return
            del self._waiting[gate]
            gate.advance()
        if self._feed is not None and not self.full:
            self._feed.wake()


class Admits(Protocol):
    """A gate, as far as its permits are concerned."""

    limiter: RateLimiter
    clock: Callable[[], float]

    def advance(self, now: float | None = None) -> None:
        """Hand out what may start now."""

    def judge_health(
        self,
        outcome: Outcome | None,
        now: float,
        item: object,
        canary: int,
        callers: CallerLimits | None,
    ) -> FailureRow | None:
        """Learn from a call whether the endpoint answers; ``None`` for one that was cut off."""
        ...


@define(eq=False)
class Permit:
    """The right to make one call. It ends exactly once, by ``report``, ``abandon`` or ``undo``.

    Attributes:
        at: When it was granted.
        admission_wait: Seconds waited for room or pace.
        cooldown_wait: Seconds waited because the scope was cooling.
        canary: The number of the canary that it is, if its endpoint did not answer; else 0.
        counted: The same call as the caller's own limits count it, if there are any.
    """

    _gate: Admits
    _callers: CallerLimits | None
    _send: Send
    at: float
    admission_wait: float = 0.0
    cooldown_wait: float = 0.0
    canary: int = 0
    counted: CallersSend | None = field(default=None, init=False)
    _hint: ServerHint | None = field(default=None, init=False)
    _item: object = field(default=None, kw_only=True, alias="item")

    def observe(self, hint: ServerHint) -> None:
        """Remember what a successful reply reported about limits, for the report to come."""
        self._hint = hint

    def report(
        self,
        outcome: Outcome,
        now: float,
        *,
        hint: ServerHint | None = None,
        usage: TokenUsage | None = None,
    ) -> FailureRow | None:
        """End the call at *now*: settle what it took, learn from it, let the next one start.

        Returns:
            For a failure of the connection or the server the row of failures that it belongs to,
            which says whether it counts for the item or is an outage's; else ``None``.
        """
        gate = self._gate
        tokens = usage or {}
        gate.limiter.on_result(
            now,
            self._send,
            outcome,
            hint or self._hint,
            tokens.get("input_tokens"),
            tokens.get("output_tokens"),
        )
        # Before another is let in: the caller's room may go to the next waiter at once.
        row = gate.judge_health(
            outcome, now, self if self._item is None else self._item, self.canary, self._callers
        )
        if self._callers is not None:
            self._callers.end(now, self, usage)
        gate.advance(now)
        return row

    def abandon(self) -> None:
        """End a call that was cancelled and may have reached the server."""
        gate = self._gate
        now = gate.clock()
        gate.limiter.on_cancel(now, self._send)
        if self.canary:
            gate.judge_health(None, now, self._item, self.canary, self._callers)
        if self._callers is not None:
            self._callers.end(now, self, None)
        gate.advance(now)

    def undo(self) -> None:
        """Give back a permit of which no byte has left."""
        gate = self._gate
        now = gate.clock()
        gate.limiter.on_release(now, self._send)
        if self.canary:
            gate.judge_health(None, now, self._item, self.canary, self._callers)
        if self._callers is not None:
            self._callers.undo(now, self)
        gate.advance(now)
