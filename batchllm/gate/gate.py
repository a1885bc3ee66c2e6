"""The gate of one quota scope: where calls wait until they may start.

What may start, and when, is decided by a ``RateLimiter``, which is pure. The gate is its shell on
the event loop: one queue of waiters, of which only the first watches the clock. Whatever changes
the state (a reply, a cancelled waiter, a new cap) re-plans the queue at once, synchronously, by
handing out permits and setting the first waiter's deadline. There is no lock: between two awaits
nothing changes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from functools import partial
from threading import get_ident
from typing import Final

import anyio
from attrs import evolve

from batchllm.core import (
    CallCost,
    CallTooLargeError,
    ConfigError,
    Outcome,
    QuotaScope,
    RateLimitConfig,
    ScopeParkedError,
)
from batchllm.gate.callers import CallerLimits
from batchllm.gate.health import Health
from batchllm.gate.lane import Refusal, Waiter
from batchllm.gate.line import Line, oversize
from batchllm.gate.permit import Permit
from batchllm.gate.settings import check_gate, cooldown_policy, per_minute
from batchllm.policy import (
    OUTAGE,
    ConcurrencySearch,
    EndpointDown,
    FailureRow,
    GateEvent,
    GateSnapshot,
    Learned,
    Limit,
    OutageBreaker,
    RateLimiter,
    ScopeParked,
    Settlement,
    State,
    is_own_address,
)

__all__ = ["Gate"]

_CAUSES: Final = ("calls", "quota", "cooldown", OUTAGE)


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
        park_after: Seconds without an accepted call, or of a wait that the server asks for, that
            park the scope; ``None`` never does.
        outage_after: Seconds without any answer after which the endpoint is given up (60 if it
            never gave one); ``None`` never does.
        settlement: How the provider books tokens: ``"refund"`` what was reserved too much,
            ``"keep"`` it (Azure), or count ``"input_only"`` (Gemini).
        learn_calls: Whether to learn how many calls at once serve best, within *calls*: for
            servers that queue instead of refusing, such as vLLM or Ollama.
        learned: What an earlier gate of the scope had learned.
        scope: The quota scope that it stands for; ``None`` for every one that is met.
        seed: Makes the jitter of pauses repeatable.
        mind: Decides in place of one that is made from the arguments above.
        clock: Seconds on the event loop's clock.

    Raises:
        ConfigError: An argument has a value that cannot work; it is named, with what to give.
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
        outage_after: float | None = 600.0,
        settlement: Settlement = "refund",
        learn_calls: bool = False,
        learned: Learned | None = None,
        scope: QuotaScope | None = None,
        seed: int | None = None,
        mind: RateLimiter | None = None,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        limits = check_gate(
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            limits=limits,
            calls=calls,
            rate_limit=rate_limit,
            park_after=park_after,
            outage_after=outage_after,
            settlement=settlement,
            learn_calls=learn_calls,
            learned=learned,
            scope=scope,
            seed=seed,
        )
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
            own_address=scope is not None and is_own_address(scope.base_url),
        )
        self._breaker = OutageBreaker(math.inf if outage_after is None else outage_after)
        self._health = Health(self._breaker)
        self._line: Line[Permit] = Line(self.mind, self)
        self._alarm: Waiter[Permit] | None = None
        self._listeners: list[Callable[[Gate, GateEvent], None]] = []
        self._closed_since: float | None = None
        self._calm_since: float | None = None
        self._held: dict[str, float] = dict.fromkeys(_CAUSES, 0.0)
        self._held_by: str | None = None
        self._held_since = 0.0
        self._thread: int | None = None

    def __repr__(self) -> str:
        mind = self.mind
        what = "every scope" if self.scope is None else str(self.scope)
        return f"<Gate of {what}: {mind.in_flight} in flight, {len(self._line)} waiting>"

    @property
    def closed(self) -> bool:
        """Return whether the scope pauses, is being tried, does not answer, or is parked."""
        return self.mind.cooling or self._breaker.open

    @property
    def gave_up(self) -> bool:
        """Return whether waiting is of no use: the scope is parked, or its endpoint is down."""
        return self.mind.parked is not None or self._breaker.down

    @property
    def parked(self) -> bool:
        """Return whether the scope is parked until its quota returns."""
        return self.mind.parked is not None

    @property
    def unanswered(self) -> bool:
        """Return whether a call would only wait for an endpoint that does not answer.

        It is false at the moments when a call is needed to find out whether it answers again.
        """
        breaker = self._breaker
        return breaker.open and breaker.next_time(now := self.clock(), 0) > now

    def calm_for(self, seconds: float) -> bool:
        """Return whether no call waits and the scope has not paused in the last *seconds*."""
        if self._line or self.closed:
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

    def learned(self) -> Learned | None:
        """Return what the gate found out about its quota, for a later one to start from."""
        return self.mind.learned(self.clock())

    def snapshot(self) -> GateSnapshot:
        """What the gate knows and does now."""
        snapshot = self.mind.snapshot(self.clock())
        if not self._breaker.open or self.mind.parked is not None:
            return snapshot
        until = self._breaker.until
        return evolve(
            snapshot,
            state=State.CLOSED if until < math.inf else State.CANARY,
            cause=OUTAGE,
            until=until if until < math.inf else None,
        )

    def held_back(self) -> dict[str, float]:
        """Seconds during which somebody waited, by what held the next call back.

        ``"calls"`` is the cap on calls in flight, of the scope or of the caller, ``"quota"`` a
        limit or the pace of one that is being learned, ``"cooldown"`` a pause, ``"outage"`` an
        endpoint that does not answer.
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

    def set_calls(self, calls: int | None) -> None:
        """Change the scope's own cap on calls in flight; ``None`` is no cap."""
        self.mind.set_calls(calls)
        self.advance()

    def reopen(self) -> None:
        """Leave the parked state by trying one call."""
        self.mind.reopen(self.clock())
        self.advance()

    def admit_nowait(
        self,
        cost: CallCost,
        callers: CallerLimits | None = None,
        *,
        item: object = None,
        refusal: Refusal | None = None,
    ) -> Permit | None:
        """Return a permit if one is to be had now, without overtaking anyone; else ``None``.

        Args:
            cost: What the call takes.
            callers: The caller's own limits; the call counts against them, too.
            item: Whose call it is; by default each call stands for itself.
            refusal: Of the item's last call at this gate.

        Raises:
            ConfigError: Calls of another event loop are in flight or wait here.
        """
        # Event loops that run at once are in threads of their own, and to ask for the thread takes
        # a thirtieth of the time that it takes to ask for the loop.
        if (thread := get_ident()) != self._thread:
            self._move_to(thread)
        if callers is not None and callers.full:
            return None
        now = self.clock()
        if self._line and self._line.has_ready(now):
            return None
        if refusal is not None and refusal.not_before > now:
            return None
        # While the endpoint does not answer the canary is chosen among those that wait.
        if self._breaker.open or not self._may_start(now, cost, callers):
            return None
        permit = self._grant(now, cost, callers, item)
        if self.mind.has_events:
            self._tell(now)
        return permit

    async def admit(
        self,
        cost: CallCost,
        callers: CallerLimits | None = None,
        *,
        priority: int = 0,
        item: object = None,
        untried: bool = True,
        refusal: Refusal | None = None,
    ) -> Permit:
        """Wait for a permit.

        Args:
            cost: What the call takes.
            callers: The caller's own limits; the call counts against them, too.
            priority: Waiters with a higher number go first.
            item: Whose call it is; by default each call stands for itself.
            untried: Whether no call of the item was made before: such a call tries an endpoint
                that did not answer.
            refusal: Of the item's last call at this gate; it goes first, but not before its time.

        Raises:
            ScopeParkedError: The scope is parked, or its endpoint is down, now or while waiting.
            CallTooLargeError: *cost* is more than a limit can ever give.
            ConfigError: Calls of another event loop are in flight or wait here.
        """
        self._refuse_hopeless(cost, callers)
        permit = self.admit_nowait(cost, callers, item=item, refusal=refusal)
        if permit is not None:
            return permit
        now = self.clock()
        waiter: Waiter[Permit] = Waiter(cost, callers, priority, now)
        waiter.item, waiter.untried, waiter.refusal = item, untried, refusal
        self._line.join(waiter, now)
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

    def _move_to(self, thread: int) -> None:
        """Serve the event loop of *thread* from now on.

        A permit that ends on one loop cannot wake a call that waits on another.
        """
        if self._busy():
            what = "every scope" if self.scope is None else str(self.scope)
            msg = (
                f"the Gate of {what} is used by two event loops at once; give each loop (each "
                "thread, each run_batch_sync) a Gate of its own, with its share of the limits, or "
                "run the batches in one loop"
            )
            raise ConfigError(msg)
        self._thread = thread

    async def _wait(self, waiter: Waiter[Permit]) -> None:
        self.advance()
        while waiter.waiting and not self._turns_away():
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
        self._breaker.look(now)
        while self._line:
            if self._breaker.free:
                chosen, at = self._line.choose(now)
            else:
                chosen, at = self._choose_spared(now)
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
        if self.mind.has_events or self._breaker.has_events:
            self._tell(now)

    def _watch(self, at: float) -> None:
        """Have one waiter, the same as long as it waits, look again at *at*."""
        alarm = self._alarm
        if alarm is None:
            alarm = self._alarm = next(iter(self._line))
        if alarm.scope.deadline != at:
            alarm.scope.deadline = at

    def _hand_out(self, waiter: Waiter[Permit], now: float) -> Permit:
        permit = self._grant(now, waiter.cost, waiter.callers, waiter.item)
        waited = now - waiter.since
        cooled = waiter.cooled
        if self._closed_since is not None:  # the canary waits only while the scope cools
            cooled += now - max(self._closed_since, waiter.since)
        permit.cooldown_wait = min(waited, cooled)
        permit.admission_wait = waited - permit.cooldown_wait
        return permit

    def _cause(self, at: float) -> str:
        if self._breaker.open:
            return OUTAGE
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
        breaker = self._breaker
        if not breaker.free and breaker.next_time(now, self.mind.in_flight) > now:
            return False
        return callers is None or callers.next_time(now, cost) <= now

    def _grant(
        self, now: float, cost: CallCost, callers: CallerLimits | None, item: object
    ) -> Permit:
        send = self.mind.on_send(now, cost)
        theirs = None if callers is None else callers.take(now, cost)
        permit = Permit(self, callers, send, theirs, now, item=item)
        if self._breaker.open:
            permit.canary = self._breaker.on_send(now)
        return permit

    def _tell(self, now: float) -> None:
        events = [*self.mind.drain_events(), *self._breaker.drain_events()]
        self._note_closed(now)
        for event in events:
            if isinstance(event, ScopeParked | EndpointDown):
                for waiter in self._line:
                    waiter.woken.set()
            for listener in list(self._listeners):
                listener(self, event)

    def _note_closed(self, now: float) -> None:
        """Book the pause of those that wait, as it begins and as it ends."""
        if self.closed:
            if self._closed_since is None:
                self._closed_since = now
        elif self._closed_since is not None:
            for waiter in self._line:
                waiter.cooled += now - max(self._closed_since, waiter.since)
            self._closed_since, self._calm_since = None, now

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
        if self._turns_away():
            msg = (
                f"the endpoint of {self.scope} does not answer, and was given up; run the rest "
                "again when it can be reached"
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

    # -- the endpoint: does it answer at all? ---------------------------------------------------

    def judge_health(
        self,
        outcome: Outcome | None,
        now: float,
        item: object,
        canary: int,
        callers: CallerLimits | None,
    ) -> FailureRow | None:
        """Learn from a call whether the endpoint answers; ``None`` for one that was cut off.

        Returns:
            The row of failures that the call belongs to, if it is a failure of the endpoint.
        """
        return self._health.judge(outcome, now, item, canary, partial(self._untried_left, callers))

    async def is_given_back(self, row: FailureRow, callers: CallerLimits | None = None) -> bool:
        """Wait until it is decided whether the failures of *row* were an outage's.

        Args:
            row: What the report of a permit returned.
            callers: Those of the permit.

        Returns:
            Whether attempts that failed in it do not count for their items.
        """
        return await self._health.is_given_back(
            row, partial(self._untried_left, callers), self._busy
        )

    def _untried_left(self, callers: CallerLimits | None) -> bool:
        return self._line.untried > 0 or (callers is not None and callers.more_to_come)

    def _busy(self) -> bool:
        return self.mind.in_flight > 0 or bool(self._line)

    def _turns_away(self) -> bool:
        """Return whether nobody may wait: parked, or given up and no canary is due."""
        if self.mind.parked is not None:
            return True
        breaker = self._breaker
        return breaker.down and breaker.next_time(now := self.clock(), 0) > now

    def _choose_spared(self, now: float) -> tuple[Waiter[Permit] | None, float]:
        """As ``Line.choose``, for an endpoint that does not answer or has just come back."""
        breaker = self._breaker
        at = breaker.next_time(now, self.mind.in_flight)
        if at > now:
            self._line.call_up(now)
            return None, min(at, breaker.give_up_at)
        if not breaker.open:
            return self._line.choose(now)
        at = self._line.call_up(now)
        canary = self._line.first_untried()
        if canary is None:
            return None, at
        ours = self.mind.next_time(now, canary.cost)
        theirs = now if canary.callers is None else canary.callers.next_time(now, canary.cost)
        if max(ours, theirs) <= now:
            return canary, now
        if theirs > now and canary.callers is not None:
            canary.callers.waits_at(self)
        return None, max(ours, theirs)
