"""The gate of one quota scope: where calls wait until they may start.

What may start, and when, is decided by a ``RateLimiter``, which is pure. The gate is its shell on
the event loop: one queue of waiters, of which only the first watches the clock (``planning.py``).
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from threading import get_ident

import anyio

from batchllm.core import CallCost, QuotaScope, RateLimitConfig, explain_arguments
from batchllm.gate.callers import CallerLimits
from batchllm.gate.lane import Refusal, Waiter
from batchllm.gate.permit import Permit
from batchllm.gate.planning import Planner
from batchllm.gate.queue import oversize
from batchllm.gate.settings import check_gate, limiter_of_gate
from batchllm.gate.turned_away import (
    closed_meanwhile,
    endpoint_down,
    parked_scope,
    too_large,
    two_loops,
)
from batchllm.policy import (
    FailureRow,
    GateEvent,
    GateSnapshot,
    Learned,
    Limit,
    OutageBreaker,
    RateLimiter,
    Settlement,
)

__all__ = ["Gate"]


@explain_arguments()
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
        limiter: Decides in place of one that is made from the arguments above.
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
        limiter: RateLimiter | None = None,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        declared = check_gate(
            "Gate",
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
        self.limiter = limiter or limiter_of_gate(
            declared,
            calls=calls,
            rate_limit=rate_limit,
            park_after=park_after,
            settlement=settlement,
            scope=scope,
            seed=seed,
            learn_calls=learn_calls,
            learned=learned,
        )
        self._breaker = OutageBreaker(math.inf if outage_after is None else outage_after)
        planner = self._planner = Planner(self.limiter, self._breaker, clock, self)
        self._queue, self._health, self._times = planner.queue, planner.health, planner.times
        self._listeners: list[Callable[[Gate, GateEvent], None]] = []
        self._thread: int | None = None

    def __repr__(self) -> str:
        limiter = self.limiter
        what = "every scope" if self.scope is None else str(self.scope)
        return f"<Gate of {what}: {limiter.in_flight} in flight, {len(self._queue)} waiting>"

    @property
    def closed(self) -> bool:
        """Return whether the scope pauses, is being tried, does not answer, or is parked."""
        return self._planner.closed

    @property
    def gave_up(self) -> bool:
        """Return whether waiting is of no use: the scope is parked, or its endpoint is down."""
        return self.limiter.parked is not None or self._breaker.down

    @property
    def parked(self) -> bool:
        """Return whether the scope is parked until its quota returns."""
        return self.limiter.parked is not None

    @property
    def unanswered(self) -> bool:
        """Return whether a call would only wait for an endpoint that does not answer.

        It is false at the moments when a call is needed to find out whether it answers again.
        """
        return self._health.unanswered(self.clock())

    def calm_for(self, seconds: float) -> bool:
        """Return whether no call waits and the scope has not paused in the last *seconds*."""
        if self._queue or self.closed:
            return False
        return self._times.calm_for(seconds, self.clock())

    @property
    def waiting(self) -> int:
        """Calls that wait for a permit."""
        return len(self._queue)

    def counts_tokens(self, callers: CallerLimits | None = None) -> bool:
        """Return whether a limit on tokens is in force, so that a call states how many it takes."""
        if self.limiter.counts_tokens:
            return True
        return callers is not None and callers.limiter is not None and callers.limiter.counts_tokens

    def learned(self) -> Learned | None:
        """Return what the gate found out about its quota, for a later one to start from."""
        return self.limiter.learned(self.clock())

    def snapshot(self) -> GateSnapshot:
        """Return what the gate knows and does now."""
        return self._health.snapshot(self.limiter.snapshot(self.clock()))

    def held_back(self) -> dict[str, float]:
        """Return the seconds for which calls waited, by what held the next one back.

        ``"calls"`` is the cap on calls in flight, of the scope or of the caller, ``"quota"`` a
        limit or the pace of one that is being learned, ``"cooldown"`` a pause, ``"outage"`` an
        endpoint that does not answer, ``"shared"`` a limit that is kept together with other
        processes, ``"shared_unreachable"`` such a limit while its authority cannot be reached.
        """
        return self._times.held(self.clock())

    def add_listener(self, listener: Callable[[Gate, GateEvent], None]) -> None:
        """Have *listener* called with each event of the gate, synchronously."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[Gate, GateEvent], None]) -> None:
        """Undo ``add_listener``."""
        self._listeners.remove(listener)

    @property
    def starts_cold(self) -> bool:
        """Return whether calls in flight become more by time alone, until something is known."""
        return self.limiter.starts_cold

    def on_connected(self, seconds: float) -> None:
        """Note that a connection takes *seconds* to be made: a cold start goes no faster.

        Call it as soon as that is known: a cold start is over before the first answer may come.
        """
        self.limiter.on_connected(seconds)

    def set_calls(self, calls: int | None) -> None:
        """Change the scope's own cap on calls in flight; ``None`` is no cap."""
        self.limiter.set_calls(calls)
        self._planner.advance()

    def reopen(self) -> None:
        """Leave the parked state by trying one call."""
        self.limiter.reopen(self.clock())
        self._planner.advance()

    def admit_nowait(
        self,
        cost: CallCost,
        callers: CallerLimits | None = None,
        *,
        item: object = None,
        refusal: Refusal | None = None,
        now: float | None = None,
    ) -> Permit | None:
        """Return a permit if one is to be had now, without overtaking a waiter; else ``None``.

        Args:
            cost: What the call takes.
            callers: The caller's own limits; the call counts against them, too.
            item: Whose call it is; by default each call stands for itself.
            refusal: Of the item's last call at this gate.
            now: Of the event loop's clock, if the caller has just looked.

        Raises:
            ConfigError: Calls of another event loop are in flight or wait here.
        """
        # Event loops that run at once are in threads of their own, and to ask for the thread takes
        # a thirtieth of the time that it takes to ask for the loop.
        if (thread := get_ident()) != self._thread:
            self._move_to(thread)
        return self._planner.try_now(
            cost, callers, item, refusal, self.clock() if now is None else now
        )

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
        self._check(cost, callers)
        permit = self.admit_nowait(cost, callers, item=item, refusal=refusal)
        if permit is not None:
            return permit
        now = self.clock()
        waiter = Waiter(cost, callers, priority, now, item=item, untried=untried, refusal=refusal)
        self._queue.join(waiter, now)
        try:
            await self._wait(waiter)
        except BaseException:
            self._planner.leave(waiter)
            raise
        if waiter.permit is None:
            self._planner.leave(waiter)
            self._check(cost, callers)
            raise closed_meanwhile(self.scope)
        return waiter.permit

    def _move_to(self, thread: int) -> None:
        """Serve the event loop of *thread* from now on.

        A permit that ends on one loop cannot wake a call that waits on another.
        """
        if self._health.busy:
            raise two_loops(self.scope)
        self._thread = thread

    async def _wait(self, waiter: Waiter) -> None:
        self._planner.advance()
        while waiter.waiting and not self._health.turns_away(self.clock()):
            with waiter.scope:
                await waiter.woken.wait()
            if waiter.waiting:
                waiter.renew()
                self._planner.advance()

    @property
    def shares(self) -> bool:
        """Return whether its limits are kept together with other processes."""
        return self.limiter.shares

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Keep up what calls need for the length of the block: nothing, unless it is shared."""
        yield

    def announce(self, event: GateEvent) -> None:
        """Pass *event* on to the listeners."""
        for listener in list(self._listeners):
            listener(self, event)

    def _check(self, cost: CallCost, callers: CallerLimits | None) -> None:
        """Raise if a call of this cost can neither start nor wait."""
        parked = self.limiter.parked
        if parked is not None:
            raise parked_scope(self.scope, parked)
        if self._health.turns_away(self.clock()):
            raise endpoint_down(self.scope)
        limit = oversize(self.limiter, callers, cost)
        if limit is not None:
            raise too_large(limit, cost)

    async def is_given_back(self, row: FailureRow, callers: CallerLimits | None = None) -> bool:
        """Wait until it is decided whether the failures of *row* were an outage's.

        Args:
            row: What the report of a permit returned.
            callers: Those of the permit.

        Returns:
            Whether attempts that failed in it do not count for their items.
        """
        return await self._health.is_given_back(row, callers)
