"""The plan of one gate: which call starts now, and when to look again.

Whatever changes the state (a reply, a waiter that leaves, a new cap) has the queue planned anew at
once, synchronously, by handing out permits and setting the one waiter's deadline that watches the
clock. There is no lock: between two awaits nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from attrs import define, field

from batchllm.core import CallCost
from batchllm.gate.callers import CallerLimits
from batchllm.gate.health import Health
from batchllm.gate.lane import Refusal, Waiter
from batchllm.gate.permit import Permit
from batchllm.gate.queue import WaitQueue
from batchllm.gate.times import COOLDOWN, WaitTimes
from batchllm.policy import (
    OUTAGE,
    EndpointDown,
    GateEvent,
    OutageBreaker,
    RateLimiter,
    ScopeParked,
)

__all__ = ["Planner"]


class Announces(Protocol):
    """A gate, as far as events are concerned."""

    def announce(self, event: GateEvent) -> None:
        """Pass *event* on to those who listen."""


@define(eq=False)
class Planner:
    """Hands out the permits of one gate.

    Args:
        limiter: Decides when a call may start as far as the quota is concerned.
        breaker: Decides whether the endpoint answers.
        clock: Seconds on the event loop's clock.
        gate: Passes events on.
    """

    limiter: RateLimiter
    breaker: OutageBreaker
    clock: Callable[[], float]
    _gate: Announces
    queue: WaitQueue = field(init=False)
    health: Health = field(init=False)
    times: WaitTimes = field(factory=WaitTimes, init=False)
    _alarm: Waiter | None = field(default=None, init=False)
    """The waiter that watches the clock; the same one as long as it waits."""

    def __attrs_post_init__(self) -> None:
        self.queue = WaitQueue(self.limiter, self)
        self.health = Health(self.breaker, self.limiter, self.queue)

    @property
    def closed(self) -> bool:
        """Return whether the scope pauses, is being tried, does not answer, or is parked."""
        return self.limiter.cooling or self.breaker.open

    def try_now(
        self,
        cost: CallCost,
        callers: CallerLimits | None,
        item: object,
        refusal: Refusal | None,
        now: float,
    ) -> Permit | None:
        """Return a permit if one is to be had now, without overtaking a waiter; else ``None``."""
        if callers is not None and callers.full:
            return None
        if not self.queue.empty and self.queue.has_ready(now):
            return None
        if refusal is not None and refusal.not_before > now:
            return None
        # While the endpoint does not answer the canary is chosen among those that wait.
        if self.breaker.open or self.limiter.next_time(now, cost) > now:
            return None
        if not self.breaker.free and self.health.holds(now):
            return None
        # That they are not full is known, and few have limits of their own.
        own = None if callers is None else callers.limiter
        if own is not None and own.next_time(now, cost) > now:
            return None
        permit = self._grant(now, cost, callers, item)
        if self.limiter.events:
            self._send_events(now)
        return permit

    def advance(self, now: float | None = None) -> None:
        """Re-plan the queue: hand out what may start now, and set the alarm for what comes next."""
        if now is None:
            now = self.clock()
        cause: str | None = None
        if now >= self.breaker.give_up_at:
            self.breaker.look(now)
        while not self.queue.empty:
            # The breaker is asked here and not by the method: this is the way of every call.
            if self.breaker.free:
                chosen, at = self.queue.choose(now)
            else:
                chosen, at = self.health.choose(now)
            if chosen is None:
                self._watch(at)
                cause = self._cause(now, at)
                break
            self._give_up_place(chosen)
            if chosen.too_large is None:
                chosen.permit = self._grant(now, chosen.cost, chosen.callers, chosen.item)
                waits = self.times.split(chosen, now)
                chosen.permit.admission_wait, chosen.permit.cooldown_wait = waits
            chosen.woken.set()
        if cause is not None or self.times.held_by is not None:
            self.times.hold(now, cause)
        if self.limiter.events or self.breaker.events:
            self._send_events(now)

    def leave(self, waiter: Waiter) -> None:
        """Take a waiter out that got nothing, or does not want what it got."""
        if waiter.permit is not None:
            waiter.permit.undo()
            return
        self._give_up_place(waiter)
        self.advance()

    def _watch(self, at: float) -> None:
        """Have one waiter, the same as long as it waits, look again at *at*."""
        alarm = self._alarm
        if alarm is None:
            alarm = self._alarm = next(iter(self.queue))
        if alarm.scope.deadline != at:
            alarm.scope.deadline = at

    def _cause(self, now: float, at: float) -> str:
        if self.breaker.open:
            return OUTAGE
        if self.limiter.cooling:
            return COOLDOWN
        if self.limiter.shares:
            head = next(iter(self.queue))
            shared = self.limiter.lease_cause(now, head.cost)
            if shared is not None and (head.callers is None or not head.callers.full):
                return shared
        return "calls" if at == math.inf else "quota"

    def _grant(
        self, now: float, cost: CallCost, callers: CallerLimits | None, item: object
    ) -> Permit:
        send = self.limiter.on_send(now, cost)
        permit = Permit(self, callers, send, now, item)
        if callers is not None:
            permit.counted = callers.take(now, cost, permit)
        if self.breaker.open:
            permit.canary = self.breaker.on_send(now)
        return permit

    def _send_events(self, now: float) -> None:
        events = [*self.limiter.drain_events(), *self.breaker.drain_events()]
        self.times.pause(now, self.queue, paused=self.closed)
        for event in events:
            if isinstance(event, ScopeParked | EndpointDown):
                for waiter in self.queue:
                    waiter.woken.set()
            self._gate.announce(event)

    def _give_up_place(self, waiter: Waiter) -> None:
        self.queue.leave(waiter)
        if waiter is self._alarm:
            self._alarm = None
