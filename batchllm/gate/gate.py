"""The gate of one quota scope: where calls wait until they may start.

What may start, and when, is decided by a ``GateMind``, which is pure. The gate is its body on the
event loop: one line of waiters, of whom only the first watches the clock. Whatever changes the
picture (a reply, a cancelled waiter, a new cap) re-plans the line at once, synchronously, by
handing out permits and setting the first waiter's deadline. There is no lock: between two awaits
nothing changes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

import anyio
from attrs import define

from batchllm.core import (
    CallCost,
    Outcome,
    QuotaScope,
    RateLimitConfig,
    ScopeParkedError,
    ServerHint,
    TokenUsage,
)
from batchllm.gate.callers import CallerLimits, Taken
from batchllm.gate.settings import cooldown_policy, per_minute
from batchllm.policy import (
    CooldownEnded,
    EpisodeStarted,
    GateEvent,
    GateMind,
    GateSnapshot,
    Learned,
    Limit,
    RetryBudget,
    ScopeParked,
    Send,
    Settlement,
)

__all__ = ["Gate", "Permit"]

_LOOK_AHEAD = 64
_MOST_OVERTAKES = 200


@define(eq=False)
class Permit:
    """The right to make one call. It ends exactly once, by ``report``, ``abandon`` or ``undo``.

    Attributes:
        at: When it was granted.
        admission_wait: Seconds waited for room or pace.
        cooldown_wait: Seconds waited because the scope was cooling.
    """

    _gate: Gate
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


@define(eq=False)
class _Waiter:
    cost: CallCost
    callers: CallerLimits | None
    priority: int
    since: float
    woken: anyio.Event
    scope: anyio.CancelScope
    permit: Permit | None = None
    overtaken: int = 0
    cooled: float = 0.0


class Gate:
    """Paces the calls of one quota scope.

    Every run makes the gates that it needs. Make one yourself, and pass it as ``gate=``, to have
    several runs and pools of one event loop share their limits, or to declare a scope's limits.

    Args:
        requests_per_minute: A known quota, never exceeded.
        tokens_per_minute: A known quota on input and output tokens together.
        limits: Known quotas of any kind, such as ``Limit("requests", 10_000, per=86_400)``.
        calls: A known cap on calls in flight.
        rate_limit: A fixed policy for limits that come without a hint; ``None`` adapts.
        retry_ratio: Retries per first attempt that the scope may see in the long run; beyond it
            calls pause until one succeeds. ``None`` sets no bound.
        park_after: A wait longer than this, in seconds, parks the scope; ``None`` never does.
        settlement: How the provider books tokens: ``"refund"`` what was reserved too much,
            ``"keep"`` it (Azure), or count ``"input_only"`` (Gemini).
        learned: What an earlier gate of the scope had learned.
        scope: The quota scope that it stands for; ``None`` for every one that is met.
        seed: Makes the jitter of pauses repeatable.
        mind: Decides in place of one that is made from the arguments above.
        clock: Seconds on the event loop's clock.
    """

    def __init__(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        limits: Iterable[Limit] = (),
        calls: int | None = None,
        rate_limit: RateLimitConfig | None = None,
        park_after: float | None = 120.0,
        retry_ratio: float | None = 0.1,
        settlement: Settlement = "refund",
        learned: Learned | None = None,
        scope: QuotaScope | None = None,
        seed: int | None = None,
        mind: GateMind | None = None,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self.scope = scope
        self.clock = clock
        self.mind = mind or GateMind(
            limits=(*per_minute(requests_per_minute, tokens_per_minute), *limits),
            calls=calls,
            cooldown=cooldown_policy(rate_limit),
            park_after=math.inf if park_after is None else park_after,
            settlement=settlement,
            learned=learned,
            rng=random.Random(seed),
        )
        self._retries = None if retry_ratio is None else RetryBudget(retry_ratio)
        self._line: list[_Waiter] = []
        self._listeners: list[Callable[[Gate, GateEvent], None]] = []
        self._closed_since: float | None = None

    def __repr__(self) -> str:
        mind = self.mind
        what = "every scope" if self.scope is None else str(self.scope)
        return f"<Gate of {what}: {mind.in_flight} in flight, {len(self._line)} waiting>"

    @property
    def closed(self) -> bool:
        """Whether the scope is cooling down, being tried, or parked."""
        return self.mind.cooling

    @property
    def waiting(self) -> int:
        """Calls that wait for a permit."""
        return len(self._line)

    def snapshot(self) -> GateSnapshot:
        """What the gate knows and does now."""
        return self.mind.snapshot(self.clock())

    def add_listener(self, listener: Callable[[Gate, GateEvent], None]) -> None:
        """Have *listener* called with each event of the gate, synchronously."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[Gate, GateEvent], None]) -> None:
        """Undo ``add_listener``."""
        self._listeners.remove(listener)

    def count_first(self, now: float) -> None:
        """An item made its first attempt: that earns a share of a retry."""
        if self._retries is not None:
            self._retries.deposit(now)

    def count_retry(self, cost: float) -> None:
        """A call will be repeated; with nothing left to pay for it, the scope pauses.

        No item fails for that: a pause ends with one call that tries, and its success goes on.
        """
        now = self.clock()
        if self._retries is not None and not self._retries.withdraw(now, cost):
            self.mind.on_breaker(now)
            self.advance(now)

    def set_calls(self, calls: int | None) -> None:
        """Change the scope's own cap on calls in flight; ``None`` is no cap."""
        self.mind.set_calls(calls)
        self.advance()

    def reopen(self) -> None:
        """Leave the parked state by trying one call."""
        self.mind.reopen(self.clock())
        self.advance()

    def admit_nowait(self, cost: CallCost, callers: CallerLimits | None = None) -> Permit | None:
        """A permit if one is to be had now, without overtaking anyone; else ``None``."""
        if self._line or (callers is not None and callers.full):
            return None
        now = self.clock()
        return self._grant(now, cost, callers) if self._may_start(now, cost, callers) else None

    async def admit(
        self, cost: CallCost, callers: CallerLimits | None = None, *, priority: int = 0
    ) -> Permit:
        """Wait for a permit.

        Args:
            cost: What the call takes.
            callers: The caller's own limits; the call counts against them, too.
            priority: Waiters with a higher number go first.

        Raises:
            ScopeParkedError: The scope is parked, now or while waiting; or *cost* is more than
                its quota can ever give.
        """
        self._refuse_hopeless(cost, callers)
        permit = self.admit_nowait(cost, callers)
        if permit is not None:
            return permit
        waiter = _Waiter(cost, callers, priority, self.clock(), anyio.Event(), anyio.CancelScope())
        self._join(waiter)
        try:
            await self._wait(waiter)
        except BaseException:
            self._leave(waiter)
            raise
        if waiter.permit is None:
            self._leave(waiter)
            self._refuse_hopeless(cost, callers)
            msg = f"the quota scope {self.scope} was closed while a call was waiting for it"
            raise ScopeParkedError(msg)
        return waiter.permit

    async def _wait(self, waiter: _Waiter) -> None:
        self.advance()
        while waiter.permit is None and self.mind.parked is None:
            with waiter.scope:
                await waiter.woken.wait()
            if waiter.permit is None:
                waiter.woken = anyio.Event()
                waiter.scope = anyio.CancelScope()
                self.advance()

    def advance(self, now: float | None = None) -> None:
        """Re-plan the line: hand out what may start now, and set the alarm for what comes next."""
        if now is None:
            now = self.clock()
        while self._line:
            chosen, at = self._choose(now)
            if chosen is None:
                self._line[0].scope.deadline = at
                break
            self._line.remove(chosen)
            chosen.permit = self._grant(now, chosen.cost, chosen.callers)
            waited = now - chosen.since
            chosen.permit.cooldown_wait = min(waited, chosen.cooled)
            chosen.permit.admission_wait = waited - chosen.permit.cooldown_wait
            chosen.woken.set()
        if self.mind.has_events:
            self._tell(now)

    def _choose(self, now: float) -> tuple[_Waiter | None, float]:
        """Who may start now; else ``None`` and when somebody may.

        The first in line is due. Where it does not fit, a smaller one behind it may go before
        it, so that the room is used, but it is overtaken 200 times at most.
        """
        head = self._line[0]
        at = self._next_time(now, head.cost, head.callers)
        if at <= now:
            return head, now
        if head.overtaken >= _MOST_OVERTAKES or self.mind.cooling:
            return None, at
        seen = {(head.cost, id(head.callers))}
        for waiter in self._line[1:_LOOK_AHEAD]:
            kind = (waiter.cost, id(waiter.callers))
            if kind in seen:
                continue
            seen.add(kind)
            theirs = self._next_time(now, waiter.cost, waiter.callers)
            if theirs <= now:
                if head.callers is waiter.callers:
                    head.overtaken += 1
                return waiter, now
            at = min(at, theirs)
        return None, at

    def _next_time(self, now: float, cost: CallCost, callers: CallerLimits | None) -> float:
        at = self.mind.next_time(now, cost)
        if callers is None or at == math.inf:
            return at
        theirs = callers.next_time(now, cost)
        if theirs == math.inf:
            callers.waits_at(self)
        return max(at, theirs)

    def _may_start(self, now: float, cost: CallCost, callers: CallerLimits | None) -> bool:
        return self._next_time(now, cost, callers) <= now

    def _grant(self, now: float, cost: CallCost, callers: CallerLimits | None) -> Permit:
        send = self.mind.on_send(now, cost)
        theirs = None if callers is None else callers.take(now, cost)
        return Permit(self, callers, send, theirs, now)

    def _tell(self, now: float) -> None:
        for event in self.mind.drain_events():
            if isinstance(event, EpisodeStarted) and self._closed_since is None:
                self._closed_since = now
            elif isinstance(event, CooldownEnded) and self._closed_since is not None:
                for waiter in self._line:
                    waiter.cooled += now - max(self._closed_since, waiter.since)
                self._closed_since = None
            elif isinstance(event, ScopeParked):
                for waiter in self._line:
                    waiter.woken.set()
            for listener in list(self._listeners):
                listener(self, event)

    def _join(self, waiter: _Waiter) -> None:
        place = len(self._line)
        while place and self._line[place - 1].priority < waiter.priority:
            place -= 1
        self._line.insert(place, waiter)

    def _leave(self, waiter: _Waiter) -> None:
        if waiter.permit is not None:
            waiter.permit.undo()
        elif waiter in self._line:
            self._line.remove(waiter)
            self.advance()

    def _refuse_hopeless(self, cost: CallCost, callers: CallerLimits | None) -> None:
        parked = self.mind.parked
        if parked is not None:
            msg = (
                f"the quota scope {self.scope} is parked ({parked.cause}); "
                "run the rest again when its quota is back"
            )
            raise ScopeParkedError(msg)
