"""The gate of one quota scope: where calls wait until they may start.

What may start, and when, is decided by a ``RateLimiter``, which is pure. The gate is its body on the
event loop: one line of waiters, of whom only the first watches the clock. Whatever changes the
picture (a reply, a cancelled waiter, a new cap) re-plans the line at once, synchronously, by
handing out permits and setting the first waiter's deadline. There is no lock: between two awaits
nothing changes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from typing import Final

import anyio

from batchllm.core import (
    CallCost,
    CallTooLargeError,
    QuotaScope,
    RateLimitConfig,
    ScopeParkedError,
)
from batchllm.gate.callers import CallerLimits
from batchllm.gate.lane import Waiter
from batchllm.gate.line import Line, oversize
from batchllm.gate.permit import Permit
from batchllm.gate.settings import cooldown_policy, per_minute
from batchllm.policy import (
    ConcurrencySearch,
    CooldownEnded,
    EpisodeStarted,
    GateEvent,
    RateLimiter,
    GateSnapshot,
    Learned,
    Limit,
    RetryBudget,
    ScopeParked,
    Settlement,
)

__all__ = ["Gate"]

_CAUSES: Final = ("calls", "quota", "cooldown")


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
        learn_calls: Whether to learn how many calls at once serve best, within *calls*: for
            servers that queue instead of refusing, such as vLLM or Ollama.
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
        park_after: float | None = 900.0,
        retry_ratio: float | None = 0.1,
        settlement: Settlement = "refund",
        learn_calls: bool = False,
        learned: Learned | None = None,
        scope: QuotaScope | None = None,
        seed: int | None = None,
        mind: RateLimiter | None = None,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self.scope = scope
        self.clock = clock
        self.mind = mind or RateLimiter(
            limits=(*per_minute(requests_per_minute, tokens_per_minute), *limits),
            calls=calls,
            cooldown=cooldown_policy(rate_limit),
            park_after=math.inf if park_after is None else park_after,
            settlement=settlement,
            learned=learned,
            adapt=ConcurrencySearch() if learn_calls else None,
            rng=random.Random(seed),
        )
        self._retries = None if retry_ratio is None else RetryBudget(retry_ratio)
        self._line: Line[Permit] = Line(self.mind, self)
        self._alarm: Waiter[Permit] | None = None
        self._listeners: list[Callable[[Gate, GateEvent], None]] = []
        self._closed_since: float | None = None
        self._calm_since: float | None = None
        self._held: dict[str, float] = dict.fromkeys(_CAUSES, 0.0)
        self._held_by: str | None = None
        self._held_since = 0.0

    def __repr__(self) -> str:
        mind = self.mind
        what = "every scope" if self.scope is None else str(self.scope)
        return f"<Gate of {what}: {mind.in_flight} in flight, {len(self._line)} waiting>"

    @property
    def closed(self) -> bool:
        """Whether the scope is cooling down, being tried, or parked."""
        return self.mind.cooling

    def calm_for(self, seconds: float) -> bool:
        """Whether nobody waits and the scope has not paused in the last *seconds*."""
        if self._line or self.mind.cooling:
            return False
        return self._calm_since is None or self.clock() - self._calm_since >= seconds

    @property
    def waiting(self) -> int:
        """Calls that wait for a permit."""
        return len(self._line)

    def counts_tokens(self, callers: CallerLimits | None = None) -> bool:
        """Whether a limit on tokens is in force, so that a call has to say how many it takes."""
        if self.mind.counts_tokens:
            return True
        return callers is not None and callers.mind is not None and callers.mind.counts_tokens

    def snapshot(self) -> GateSnapshot:
        """What the gate knows and does now."""
        return self.mind.snapshot(self.clock())

    def held_back(self) -> dict[str, float]:
        """Seconds during which somebody waited, by what held the next call back.

        ``"calls"`` is the cap on calls in flight, of the scope or of the caller, ``"quota"`` a
        limit or the pace of one that is being learned, ``"cooldown"`` a pause.
        """
        held = dict(self._held)
        if self._held_by is not None:
            held[self._held_by] += self.clock() - self._held_since
        return held

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
        if not self._may_start(now, cost, callers):
            return None
        permit = self._grant(now, cost, callers)
        if self.mind.has_events:
            self._tell(now)
        return permit

    async def admit(
        self, cost: CallCost, callers: CallerLimits | None = None, *, priority: int = 0
    ) -> Permit:
        """Wait for a permit.

        Args:
            cost: What the call takes.
            callers: The caller's own limits; the call counts against them, too.
            priority: Waiters with a higher number go first.

        Raises:
            ScopeParkedError: The scope is parked, now or while waiting.
            CallTooLargeError: *cost* is more than a limit can ever give.
        """
        self._refuse_hopeless(cost, callers)
        permit = self.admit_nowait(cost, callers)
        if permit is not None:
            return permit
        waiter: Waiter[Permit] = Waiter(cost, callers, priority, self.clock())
        self._line.join(waiter)
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

    async def _wait(self, waiter: Waiter[Permit]) -> None:
        self.advance()
        while waiter.waiting and self.mind.parked is None:
            with waiter.scope:
                await waiter.woken.wait()
            if waiter.waiting:
                waiter.renew()
                self.advance()

    def advance(self, now: float | None = None) -> None:
        """Re-plan the line: hand out what may start now, and set the alarm for what comes next."""
        if now is None:
            now = self.clock()
        cause: str | None = None
        while self._line:
            chosen, at = self._line.choose(now)
            if chosen is None:
                self._watch(at)
                cause = self._cause(at)
                break
            self._give_up_place(chosen)
            if chosen.too_large is None:
                chosen.permit = self._hand_out(chosen, now)
            chosen.woken.set()
        if cause is not None or self._held_by is not None:
            self._note_hold(now, cause)
        if self.mind.has_events:
            self._tell(now)

    def _watch(self, at: float) -> None:
        """Have one waiter, the same as long as it waits, look again at *at*."""
        alarm = self._alarm
        if alarm is None:
            alarm = self._alarm = next(iter(self._line))
        if alarm.scope.deadline != at:
            alarm.scope.deadline = at

    def _hand_out(self, waiter: Waiter[Permit], now: float) -> Permit:
        permit = self._grant(now, waiter.cost, waiter.callers)
        waited = now - waiter.since
        cooled = waiter.cooled
        if self._closed_since is not None:  # the canary waits only while the scope cools
            cooled += now - max(self._closed_since, waiter.since)
        permit.cooldown_wait = min(waited, cooled)
        permit.admission_wait = waited - permit.cooldown_wait
        return permit

    def _cause(self, at: float) -> str:
        if self.mind.cooling:
            return "cooldown"
        return "calls" if at == math.inf else "quota"

    def _note_hold(self, now: float, cause: str | None) -> None:
        if self._held_by is not None:
            self._held[self._held_by] += now - self._held_since
        self._held_by, self._held_since = cause, now

    def _may_start(self, now: float, cost: CallCost, callers: CallerLimits | None) -> bool:
        if self.mind.next_time(now, cost) > now:
            return False
        return callers is None or callers.next_time(now, cost) <= now

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
                self._closed_since, self._calm_since = None, now
            elif isinstance(event, ScopeParked):
                for waiter in self._line:
                    waiter.woken.set()
            for listener in list(self._listeners):
                listener(self, event)

    def _leave(self, waiter: Waiter[Permit]) -> None:
        if waiter.permit is not None:
            waiter.permit.undo()
            return
        self._give_up_place(waiter)
        self.advance()

    def _give_up_place(self, waiter: Waiter[Permit]) -> None:
        self._line.leave(waiter)
        if waiter is self._alarm:
            self._alarm = None

    def _refuse_hopeless(self, cost: CallCost, callers: CallerLimits | None) -> None:
        parked = self.mind.parked
        if parked is not None:
            msg = (
                f"the quota scope {self.scope} is parked ({parked.cause}); "
                "run the rest again when its quota is back"
            )
            raise ScopeParkedError(msg)
        limit = oversize(self.mind, callers, cost)
        if limit is not None:
            what = limit.dimension.replace("_", " ")
            msg = (
                f"the call needs {limit.cost_of(cost):,} {what}, and the limit of "
                f"{limit.amount:,} per {limit.per:g} s lets at most {limit.enforced[0]:,} pass at "
                "once; make the prompt or max_tokens smaller, or raise the limit"
            )
            raise CallTooLargeError(msg)
