"""The right to make one call, and the limits of the caller that makes it.

A caller of gates is a run or a pool; its limits hold over all the quota scopes that it calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeAlias

from attrs import define, field

from batchllm.core import CallCost, Outcome, ServerHint, TokenUsage
from batchllm.policy import FailureRow, RateLimiter, Send

__all__ = ["Advances", "CallerLimits", "Permit"]

CallersSend: TypeAlias = tuple[RateLimiter, Send]
"""What a call took, and from which limiter: limits may be changed while it is in flight."""


class Advances(Protocol):
    """A gate, as far as its callers are concerned."""

    def advance(self) -> None:
        """Hand out what may start now."""


@define(eq=False)
class CallerLimits:
    """An exact cap on calls in flight, and limits of the caller's own.

    Attributes:
        calls: The cap.
        limiter: Declared limits that hold over all scopes together; ``None`` where there are none.
        in_flight: Calls that hold a permit.
        more_to_come: Whether there are items that did not come to any gate yet.
        full_for: Seconds during which the cap was reached and there were more to come.
        on_free: Called when a call is free that no gate has a waiter for.
    """

    calls: int
    limiter: RateLimiter | None = None
    in_flight: int = field(default=0, init=False)
    more_to_come: bool = field(default=False, init=False)
    full_for: float = field(default=0.0, init=False)
    _full_since: float = field(default=0.0, init=False)
    on_free: Callable[[], None] | None = field(default=None, init=False)
    _waiting: dict[Advances, None] = field(factory=dict, init=False)

    @property
    def full(self) -> bool:
        """Whether the cap is reached."""
        return self.in_flight >= self.calls

    def next_time(self, now: float, cost: CallCost) -> float:
        """When a call may start as far as the caller is concerned; infinity while it is full."""
        if self.full:
            return math.inf
        return now if self.limiter is None else self.limiter.next_time(now, cost)

    def take(self, now: float, cost: CallCost) -> CallersSend | None:
        """Count a call that starts now."""
        self.in_flight += 1
        if self.in_flight == self.calls:
            self._full_since = now
        return None if self.limiter is None else (self.limiter, self.limiter.on_send(now, cost))

    def end(self, now: float, taken: CallersSend | None, usage: TokenUsage | None) -> None:
        """Count a call that ended, with the tokens it took where they are known."""
        if taken is not None:
            limiter, send = taken
            tokens = usage or {}
            limiter.on_result(
                now,
                send,
                Outcome.OK,
                input_tokens=tokens.get("input_tokens"),
                output_tokens=tokens.get("output_tokens"),
            )
        self._free(now)

    def undo(self, now: float, taken: CallersSend | None) -> None:
        """Forget a call that never left."""
        if taken is not None:
            limiter, send = taken
            limiter.on_release(now, send)
        self._free(now)

    def resize(self, calls: int) -> None:
        """Change the cap; calls in flight are not touched."""
        self.calls = calls
        self._wake()
        if self.on_free is not None and not self.full:
            self.on_free()

    def waits_at(self, gate: Advances) -> None:
        """Remember that *gate* has someone waiting for room among these calls."""
        self._waiting[gate] = None

    def _free(self, now: float) -> None:
        if self.in_flight == self.calls and self.more_to_come:
            self.full_for += now - self._full_since
        self.in_flight -= 1
        if self._waiting:
            self._wake()
        if self.on_free is not None and not self.full:
            self.on_free()

    def _wake(self) -> None:
        # Each gate goes to the back after its turn, so that none is served first for ever.
        for gate in list(self._waiting):
            if self.full:
                return
            del self._waiting[gate]
            gate.advance()


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
    """

    _gate: Admits
    _callers: CallerLimits | None
    _send: Send
    _taken: CallersSend | None
    at: float
    admission_wait: float = 0.0
    cooldown_wait: float = 0.0
    canary: int = 0
    _hint: ServerHint | None = None
    _item: object = field(default=None, kw_only=True, alias="item")

    def observe(self, hint: ServerHint) -> None:
        """Remember what a successful reply told about limits, for the report to come."""
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
        # Before anyone is let in: the caller's room may go to the next waiter at once.
        row = gate.judge_health(
            outcome, now, self if self._item is None else self._item, self.canary, self._callers
        )
        if self._callers is not None:
            self._callers.end(now, self._taken, usage)
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
            self._callers.end(now, self._taken, None)
        gate.advance(now)

    def undo(self) -> None:
        """Give back a permit of which no byte has left."""
        gate = self._gate
        now = gate.clock()
        gate.limiter.on_release(now, self._send)
        if self.canary:
            gate.judge_health(None, now, self._item, self.canary, self._callers)
        if self._callers is not None:
            self._callers.undo(now, self._taken)
        gate.advance(now)
