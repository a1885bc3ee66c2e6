"""The cap of one caller of gates, a run or a pool, on its calls over all quota scopes."""

from __future__ import annotations

import math
from typing import Protocol

import anyio
from attrs import define, field

from batchllm.core import CallCost, Outcome, TokenUsage
from batchllm.policy import GateSnapshot, RateLimiter, Send

__all__ = ["Advances", "CallerLimits", "Taken", "Wakes"]


class Advances(Protocol):
    """A gate, as far as its callers are concerned."""

    def advance(self) -> None:
        """Hand out what may start now."""


class Wakes(Protocol):
    """A part of a run that starts further calls when there is room for them."""

    def wake(self) -> None:
        """Look again whether there is room."""


@define(eq=False)
class Taken:
    """A call's place among those of its caller; it is what borrows the token of the cap.

    Attributes:
        limiter: The caller's own limits, which may be changed while the call is in flight.
        send: What the call took from them.
    """

    limiter: RateLimiter | None = None
    send: Send | None = None


@define(eq=False)
class CallerLimits:
    """An exact cap on calls in flight, and limits of the caller's own.

    The cap is a ``CapacityLimiter`` whose tokens are taken without waiting, at the moment at
    which a gate grants a permit: cap, pace, pause and ledger are one decision, and a call that
    waits, waits in one place, the queue of its gate.

    Args:
        calls: The cap.
        limiter: Declared limits that hold over all scopes together; ``None`` if there are none.
        feed: Woken when a call is free that no gate has a waiter for.

    Attributes:
        more_to_come: Whether there are items that did not come to any gate yet.
        full_for: Seconds during which the cap was reached and there were more to come.
    """

    _calls: int
    limiter: RateLimiter | None = None
    _feed: Wakes | None = None
    more_to_come: bool = field(default=False, init=False)
    full_for: float = field(default=0.0, init=False)
    _cap: anyio.CapacityLimiter = field(init=False)
    _full_since: float = field(default=0.0, init=False)
    _waiting: dict[Advances, None] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._cap = anyio.CapacityLimiter(self._calls)

    @property
    def calls(self) -> int:
        """The cap."""
        return self._calls

    @property
    def in_flight(self) -> int:
        """Calls that hold a permit."""
        return self._cap.borrowed_tokens

    @property
    def full(self) -> bool:
        """Return whether the cap is reached."""
        return self._cap.borrowed_tokens >= self._calls

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

    def take(self, now: float, cost: CallCost) -> Taken:
        """Count a call that starts now; ``next_time`` has allowed it."""
        limiter = self.limiter
        taken = Taken() if limiter is None else Taken(limiter, limiter.on_send(now, cost))
        self._cap.acquire_on_behalf_of_nowait(taken)
        if self.full:
            self._full_since = now
        return taken

    def end(self, now: float, taken: Taken, usage: TokenUsage | None) -> None:
        """Count a call that ended, with the tokens it took if they are known."""
        if taken.limiter is not None and taken.send is not None:
            tokens = usage or {}
            taken.limiter.on_result(
                now,
                taken.send,
                Outcome.OK,
                input_tokens=tokens.get("input_tokens"),
                output_tokens=tokens.get("output_tokens"),
            )
        self._free(now, taken)

    def undo(self, now: float, taken: Taken) -> None:
        """Forget a call that never left."""
        if taken.limiter is not None and taken.send is not None:
            taken.limiter.on_release(now, taken.send)
        self._free(now, taken)

    def resize(self, calls: int) -> None:
        """Change the cap; calls in flight are not touched."""
        self._calls = self._cap.total_tokens = calls
        self._let_in()

    def waits_at(self, gate: Advances) -> None:
        """Remember that *gate* has a waiter that lacks room among these calls."""
        self._waiting[gate] = None

    def _free(self, now: float, taken: Taken) -> None:
        if self.more_to_come and self.in_flight == self._calls:
            self.full_for += now - self._full_since
        self._cap.release_on_behalf_of(taken)
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
