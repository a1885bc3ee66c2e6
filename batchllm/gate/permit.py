"""The right to make one call, which ends exactly once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, field

from batchllm.core import Outcome, ServerHint, TokenUsage
from batchllm.gate.callers import CallerLimits, CallersSend
from batchllm.policy import FailureRow, RateLimiter, Send

__all__ = ["Permit"]


class Judges(Protocol):
    """The health of an endpoint, as far as permits are concerned."""

    def judge(
        self,
        outcome: Outcome | None,
        now: float,
        item: object,
        canary: int,
        callers: CallerLimits | None,
        reason: str = "",
        unconnected: bool = False,
    ) -> FailureRow | None:
        """Learn from a call whether the endpoint answers; ``None`` for one that was cut off."""
        ...


class Admits(Protocol):
    """The planner of a gate, as far as its permits are concerned."""

    limiter: RateLimiter
    clock: Callable[[], float]

    @property
    def health(self) -> Judges:
        """The judge of the endpoint."""
        ...

    def advance(self, now: float | None = None) -> None:
        """Hand out what may start now."""


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
    _item: object = None
    admission_wait: float = 0.0
    cooldown_wait: float = 0.0
    canary: int = 0
    counted: CallersSend | None = field(default=None, init=False)
    _hint: ServerHint | None = field(default=None, init=False)

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
        reason: str = "",
        unconnected: bool = False,
    ) -> FailureRow | None:
        """End the call at *now*: settle what it took, learn from it, let the next one start.

        *reason* is what a failed one failed with, in words, for the log of an outage;
        *unconnected* says that it failed since no connection could be made.

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
        row = gate.health.judge(
            outcome,
            now,
            self if self._item is None else self._item,
            self.canary,
            self._callers,
            reason,
            unconnected,
        )
        if self._callers is not None:
            self._callers.end(now, self, usage)
        gate.advance(now)
        return row

    def abandon(self) -> None:
        """End a call that was cancelled and may have reached the server."""
        self._end_unanswered(sent=True)

    def undo(self) -> None:
        """Give back a permit of which no byte has left."""
        self._end_unanswered(sent=False)

    def _end_unanswered(self, *, sent: bool) -> None:
        gate, callers = self._gate, self._callers
        now = gate.clock()
        if sent:
            gate.limiter.on_cancel(now, self._send)
        else:
            gate.limiter.on_release(now, self._send)
        if self.canary:  # or the endpoint would wait for its answer for ever
            gate.health.judge(None, now, self._item, self.canary, callers)
        if callers is not None and sent:
            callers.end(now, self, None)
        elif callers is not None:
            callers.undo(now, self)
        gate.advance(now)
