"""The cap of one caller of gates, a run or a pool, on its calls over all quota scopes."""

from __future__ import annotations

import math
from typing import Protocol, TypeAlias

import anyio
from attrs import define, field

from batchllm.core import CallCost, Outcome, TokenUsage
from batchllm.policy import GateSnapshot, RateLimiter, Send

__all__ = ["Advances", "CallerLimits", "CallersSend", "Wakes"]

CallersSend: TypeAlias = tuple[RateLimiter, Send]
"""A call and the limiter that counts it: limits may be changed while it is in flight."""


class Advances(Protocol):
    """A gate, as far as its callers are concerned."""

    def advance(self) -> None:
        """Hand out what may start now."""


class Wakes(Protocol):
    """A part of a run that starts further calls when there is room for them."""

    def wake(self) -> None:
        """Look again whether there is room."""


class Borrower(Protocol):
    """A permit, as far as its caller's limits are concerned."""

    counted: CallersSend | None


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
        in_flight: Calls that hold a permit; kept, as is ``full``, since every call asks for them
            several times.
        full: Whether the cap is reached.
        more_to_come: Whether there are items that did not come to any gate yet.
        full_for: Seconds during which the cap was reached and there were more to come.
    """

    calls: int
    limiter: RateLimiter | None = None
    _feed: Wakes | None = None
    in_flight: int = field(default=0, init=False)
    full: bool = field(default=False, init=False)
    more_to_come: bool = field(default=False, init=False)
    full_for: float = field(default=0.0, init=False)
    _cap: anyio.CapacityLimiter = field(init=False)
    _full_since: float = field(default=0.0, init=False)
    _waiting: dict[Advances, None] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._cap = anyio.CapacityLimiter(self.calls)

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

    def take(self, now: float, cost: CallCost, permit: Borrower) -> CallersSend | None:
        """Count the call of *permit*, which starts now; ``next_time`` has allowed it."""
        self._cap.acquire_on_behalf_of_nowait(permit)
        self.in_flight += 1
        if self.in_flight >= self.calls:
            self.full, self._full_since = True, now
        return None if self.limiter is None else (self.limiter, self.limiter.on_send(now, cost))

    def end(self, now: float, permit: Borrower, usage: TokenUsage | None) -> None:
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

    def undo(self, now: float, permit: Borrower) -> None:
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

    def _free(self, now: float, permit: Borrower) -> None:
        self._cap.release_on_behalf_of(permit)
        self.in_flight -= 1
        if self.full:
            if self.more_to_come:
                self.full_for += now - self._full_since
                self._full_since = now
            self.full = self.in_flight >= self.calls
        if self._waiting:
            self._let_in()
        elif self._feed is not None and not self.full:
            self._feed.wake()

    def _let_in(self) -> None:
        # Each gate goes to the back after its turn, so that none is served first for ever.
        for gate in list(self._waiting):
            if self.full:
                return
            del self._waiting[gate]
            gate.advance()
        if self._feed is not None and not self.full:
            self._feed.wake()
