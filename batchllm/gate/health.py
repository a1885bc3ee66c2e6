"""The health of one gate's endpoint: the breaker, and what depends on its verdict.

While the endpoint does not answer, the breaker and not the order of arrival decides who may start,
and items whose calls failed wait for the verdict whether these failures were an outage's.
"""

from __future__ import annotations

import math
from typing import Final

import anyio
from attrs import define, evolve, field

from batchllm.core import Outcome
from batchllm.gate.callers import CallerLimits
from batchllm.gate.lane import Waiter
from batchllm.gate.queue import WaitQueue
from batchllm.policy import (
    OUTAGE,
    FailureRow,
    GateSnapshot,
    OutageBreaker,
    RateLimiter,
    State,
    Verdict,
)

__all__ = ["Health"]

_LOOK_AGAIN: Final = 1.0
"""Seconds between looks at whether anything is under way that will decide."""
_QUIET: Final = 2
"""Looks at a scope in which nothing happens, after which nothing will decide."""

_NO_ANSWER: Final = frozenset({Outcome.TRANSIENT, Outcome.TIMEOUT})
_OK: Final = Outcome.OK  # looked up once: Python 3.11 takes 0.4 µs, at every call
_UNKNOWN: Final = Outcome.UNKNOWN


@define(eq=False)
class Health:
    """Decides who may call an endpoint that does not answer, and whether failures count.

    Args:
        breaker: Judges the row of failures.
        limiter: Decides when a call may start as far as the quota is concerned.
        queue: The calls that wait at the gate.
    """

    breaker: OutageBreaker
    _limiter: RateLimiter
    _queue: WaitQueue
    _undecided: dict[anyio.Event, FailureRow] = field(factory=dict, init=False)

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
        """Learn from the end of one call; *outcome* is ``None`` for one that was cut off.

        *reason* is what it failed with, in words; *unconnected* says that no connection could be
        made.

        Returns:
            The row of failures that it belongs to, if it is one.
        """
        if outcome is _OK and self.breaker.calm and not self._undecided:
            return None  # nearly every call: it changes nothing
        row: FailureRow | None = None
        if outcome in _NO_ANSWER:
            left = self._untried_left(callers)
            row = self.breaker.on_failure(
                now, item, canary, untried_left=left, unconnected=unconnected, reason=reason
            )
        elif outcome is None or outcome is _UNKNOWN:
            self.breaker.on_silence(now, canary)
        else:
            self.breaker.on_answer(now, canary)
        if self._undecided:
            self._wake(self._untried_left(callers))
        return row

    async def is_given_back(self, row: FailureRow, callers: CallerLimits | None) -> bool:
        """Wait until it is decided whether the failures of *row* are an outage's.

        Without untried items or failures to connect, or with nothing under way, there is nothing to
        wait for: then they are not.

        Args:
            row: What ``judge`` returned.
            callers: Those of the call.
        """
        quiet = 0
        while self._is_open(row, self._untried_left(callers)) and quiet < _QUIET:
            decided = anyio.Event()
            self._undecided[decided] = row
            try:
                with anyio.move_on_after(_LOOK_AGAIN):
                    await decided.wait()
            finally:
                self._undecided.pop(decided, None)
            quiet = 0 if self.busy else quiet + 1
        return row.verdict is Verdict.GIVEN_BACK

    @property
    def busy(self) -> bool:
        """Return whether calls of the scope are under way or waiting."""
        return self._limiter.in_flight > 0 or bool(self._queue)

    def turns_away(self, now: float) -> bool:
        """Return whether no call may wait: parked, or given up and no canary is due."""
        breaker = self.breaker
        if self._limiter.parked is not None:
            return True
        return breaker.down and breaker.next_time(now, 0) > now

    def unanswered(self, now: float) -> bool:
        """Return whether a call would only wait for an endpoint that does not answer."""
        breaker = self.breaker
        return breaker.open and breaker.next_time(now, 0) > now

    def holds(self, now: float) -> bool:
        """Return whether the breaker lets no call start now."""
        breaker = self.breaker
        return not breaker.free and breaker.next_time(now, self._limiter.in_flight) > now

    def choose(self, now: float) -> tuple[Waiter | None, float]:
        """Choose as ``WaitQueue.choose`` does, as far as the breaker lets calls through."""
        breaker = self.breaker
        if breaker.free:
            return self._queue.choose(now)
        at = breaker.next_time(now, self._limiter.in_flight)
        if at > now:
            self._queue.call_up(now)
            return None, min(at, breaker.give_up_at)
        if not breaker.open:
            return self._queue.choose(now)
        return self._choose_canary(now)

    def _choose_canary(self, now: float) -> tuple[Waiter | None, float]:
        at = self._queue.call_up(now)
        canary = self._queue.first_untried()
        if canary is None:
            return None, at
        ours = self._limiter.next_time(now, canary.cost)
        theirs = now if canary.callers is None else canary.callers.next_time(now, canary.cost)
        if max(ours, theirs) <= now:
            return canary, now
        if theirs > now and canary.callers is not None:
            canary.callers.waits_at(self._queue.gate)
        return None, max(ours, theirs)

    def snapshot(self, of_limiter: GateSnapshot) -> GateSnapshot:
        """Return the limiter's snapshot with the state of the endpoint, if it does not answer."""
        if not self.breaker.open or self._limiter.parked is not None:
            return of_limiter
        until = self.breaker.until
        ends = until < math.inf
        return evolve(
            of_limiter,
            state=State.CLOSED if ends else State.CANARY,
            cause=OUTAGE,
            until=until if ends else None,
        )

    def _untried_left(self, callers: CallerLimits | None) -> bool:
        return self._queue.untried > 0 or (callers is not None and callers.more_to_come)

    def _wake(self, untried_left: bool) -> None:
        for decided, row in self._undecided.items():
            if not self._is_open(row, untried_left):
                decided.set()

    def _is_open(self, row: FailureRow, untried_left: bool) -> bool:
        """Return whether it may still be found that *row* is an outage's."""
        return row.verdict is Verdict.PENDING and (untried_left or self.breaker.suspects(row))
