"""The right to make one call, and the report that ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define

from batchllm.core import Outcome, ServerHint, TokenUsage
from batchllm.gate.callers import CallerLimits, Taken
from batchllm.policy import RateLimiter, Send

__all__ = ["Permit"]


class Admits(Protocol):
    """A gate, as far as its permits are concerned."""

    mind: RateLimiter
    clock: Callable[[], float]

    def advance(self, now: float | None = None) -> None:
        """Hand out what may start now."""


@define(eq=False)
class Permit:
    """The right to make one call. It ends exactly once, by ``report``, ``abandon`` or ``undo``.

    Attributes:
        at: When it was granted.
        admission_wait: Seconds waited for room or pace.
        cooldown_wait: Seconds waited because the scope was cooling.
    """

    _gate: Admits
    _callers: CallerLimits | None
    _send: Send
    _taken: Taken | None
    at: float
    admission_wait: float = 0.0
    cooldown_wait: float = 0.0
    _hint: ServerHint | None = None

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
    ) -> None:
        """End the call at *now*: settle what it took, learn from it, let the next one start."""
        gate = self._gate
        tokens = usage or {}
        gate.mind.on_result(
            now,
            self._send,
            outcome,
            hint or self._hint,
            tokens.get("input_tokens"),
            tokens.get("output_tokens"),
        )
        if self._callers is not None:
            self._callers.end(now, self._taken, usage)
        gate.advance(now)

    def abandon(self) -> None:
        """End a call that was cancelled and may have reached the server."""
        gate = self._gate
        now = gate.clock()
        gate.mind.on_cancel(now, self._send)
        if self._callers is not None:
            self._callers.end(now, self._taken, None)
        gate.advance(now)

    def undo(self) -> None:
        """Give back a permit of which no byte has left."""
        gate = self._gate
        now = gate.clock()
        gate.mind.on_release(now, self._send)
        if self._callers is not None:
            self._callers.undo(now, self._taken)
        gate.advance(now)
