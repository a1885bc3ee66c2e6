"""What one caller of gates, a run or a pool, may have in flight over all its quota scopes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeAlias

from attrs import define, field

from batchllm.core import CallCost, Outcome, TokenUsage
from batchllm.policy import RateLimiter, Send

__all__ = ["Advances", "CallerLimits", "Taken"]

Taken: TypeAlias = tuple[RateLimiter, Send]
"""What a call took, and from which mind: limits may be changed while it is in flight."""


class Advances(Protocol):
    """A gate, as far as its callers are concerned."""

    def advance(self) -> None:
        """Hand out what may start now."""


@define(eq=False)
class CallerLimits:
    """An exact cap on calls in flight, and limits of the caller's own.

    Attributes:
        calls: The cap.
        mind: Declared limits that hold over all scopes together; ``None`` where there are none.
        in_flight: Calls that hold a permit.
        more_to_come: Whether there are items that did not come to any gate yet.
        full_for: Seconds during which the cap was reached and there were more to come.
        on_free: Called when a call is free that no gate has a waiter for.
    """

    calls: int
    mind: RateLimiter | None = None
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
        return now if self.mind is None else self.mind.next_time(now, cost)

    def take(self, now: float, cost: CallCost) -> Taken | None:
        """Count a call that starts now."""
        self.in_flight += 1
        if self.in_flight == self.calls:
            self._full_since = now
        return None if self.mind is None else (self.mind, self.mind.on_send(now, cost))

    def end(self, now: float, taken: Taken | None, usage: TokenUsage | None) -> None:
        """Count a call that ended, with the tokens it took where they are known."""
        if taken is not None:
            mind, send = taken
            tokens = usage or {}
            mind.on_result(
                now,
                send,
                Outcome.OK,
                input_tokens=tokens.get("input_tokens"),
                output_tokens=tokens.get("output_tokens"),
            )
        self._free(now)

    def undo(self, now: float, taken: Taken | None) -> None:
        """Forget a call that never left."""
        if taken is not None:
            mind, send = taken
            mind.on_release(now, send)
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
