"""The pauses of a fixed policy: exact lengths, no canary, a slow start in one line."""

from __future__ import annotations

from math import inf
from random import Random
from typing import Final

from attrs import define, field

from batchllm.policy.cooldown import Cause, CooldownPolicy, Pauses, State, overload_pause

__all__ = ["FixedCooldown"]

_OVERLOAD_LONGEST: Final = 60.0
"""Seconds that no pause after an overload exceeds: as long as it has always been here."""


@define(eq=False)
class FixedCooldown(Pauses):
    """The pauses of one scope by the user's own policy. Live state.

    Args:
        policy: How long, and how to go on.
        rng: Where the jitter of pauses after an overload comes from.
    """

    policy: CooldownPolicy
    rng: Random
    _in_a_row: dict[Cause, int] = field(factory=dict[Cause, int], init=False)
    _next_start: float = field(default=-inf, init=False)
    _started: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._started = self.policy.slow_start_items + 1

    @property
    def free(self) -> bool:
        """Return whether nothing holds a call back and nothing will until a call fails."""
        return self.state is State.OPEN and self._started > self.policy.slow_start_items

    @property
    def consecutive(self) -> int:
        """Refusals in a row, each of a call that was sent after the last pause."""
        return max(self._in_a_row.values(), default=0)

    def next_time(self, now: float) -> float:
        """Return the earliest instant for the next start; ``inf`` while parked."""
        match self.state:
            case State.OPEN:
                return max(now, self._next_start)
            case State.CLOSED:
                return max(now, self.until)
            case _:
                return inf

    def on_send(self, now: float) -> bool:
        """Note a start; returns whether it ended a pause."""
        resumed = self.state is State.CLOSED
        if resumed:
            self.state = State.OPEN
            self._next_start = -inf
        if self._started <= self.policy.slow_start_items:
            self._started += 1
            delay = self.policy.slow_start_delay(self._started)
            self._next_start = max(self._next_start, now) + delay
        return resumed

    def on_ok(self, sent_at: float) -> None:
        """Note a success: only one that began after the pause ends the row of refusals."""
        if self._in_a_row and sent_at >= self.until:
            self._in_a_row.clear()

    def refused(self, now: float, sent_at: float, wait: float | None, cause: Cause) -> bool:
        """Note a refusal that asked to wait *wait* seconds; returns whether a pause begins."""
        if self.state is State.PARKED:
            return False
        if sent_at < self.until:
            # A late refusal of an old call: what the server asks for holds, nothing else.
            if wait is not None and now + wait > self.until:
                self._close(now + wait)
            return False
        new = self.state is State.OPEN
        in_a_row = self._in_a_row[cause] = self._in_a_row.get(cause, 0) + 1
        if cause is Cause.THROTTLED and in_a_row >= self.policy.refused_in_a_row:
            self.park(Cause.CANARIES_REFUSED, None)
            return False
        if wait is None:
            overloaded = cause is Cause.OVERLOADED
            pause = (
                overload_pause(in_a_row, self.rng, _OVERLOAD_LONGEST)
                if overloaded
                else self.policy.pause(in_a_row)
            )
        else:
            pause = wait
        self._close(max(self.until, now + pause))
        self.cause = cause
        if new:
            self.begun = now
            self.episodes += 1
        return new

    def reopen(self, now: float) -> None:
        """Leave the parked state, with a slow start."""
        if self.parked is not None:
            self.parked = None
            self._in_a_row.clear()
            self._close(now)

    def _close(self, until: float) -> None:
        self.until = until
        self.state = State.CLOSED
        self._started = 0
