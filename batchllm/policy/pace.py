"""The mind of one gate: everything that decides when the next call of a quota scope may start.

It joins the declared limits, the cooldown, the search for an undeclared quota, the ramp of a cold
start and the cap on calls in flight, so that the gate, a simulation and a benchmark run the same
code. It is pure: ``now`` is seconds on any monotonic clock, chance comes from the ``rng`` given.

    mind = GateMind(
        limits=(),             # iterable of Limit: declared, never exceeded
        calls=None,            # cap on calls in flight; None is no cap
        cooldown=CooldownPolicy(),
        park_after=120.0,      # seconds; a longer hint parks the scope
        rng=random.Random(),
        learned=None,          # Learned: what an earlier run found out, as ages
        settlement="refund",   # how the provider books tokens: "refund", "keep", "input_only"
        ramp=5,                # calls in flight at a cold start; None starts without a ramp
        breaker_after=20,      # failures of connection or server in a row; None is never
        adapt=None,            # ConcurrencySearch: learn the best number of calls in flight
    )

One call, without waiting in between:

    limit = mind.oversize(cost)            # the Limit that this cost can never pass, or None
    at = mind.next_time(now, cost)         # <= now: send. Later: ask again then. inf: ask again
                                           # after the next on_*() of any call (or it is oversize,
                                           # or the scope is parked: mind.parked)
    send = mind.on_send(now, cost)         # -> Send; only if next_time(now, cost) <= now
    mind.on_result(now, send, outcome, hint=None, input_tokens=None, output_tokens=None)
    mind.on_cancel(now, send)              # instead: its bytes may have left; nothing is given back
    mind.on_release(now, send)             # instead: its bytes never left; all is given back

Each ``Send`` ends by exactly one of the last three; a second one raises ``ValueError``. ``outcome``
is an ``Outcome`` or its string, ``hint`` a ``ServerHint | None``; token counts are what the
provider reported. All are synchronous and never raise for what a server said.

    mind.free           # True: next_time is now whatever the cost, as long as calls allow
    mind.in_flight      # calls sent and not ended
    mind.calls          # the cap, or None
    mind.set_calls(n)   # int | None, from now on; calls in flight are not touched
    mind.limits         # the limits in force; mind.set_limits(limits) declares others
    mind.counts_tokens  # True: one of them counts tokens, so costs have to tell them
    mind.parked         # Parked(cause, until) | None; `until` is an instant of `now`, or None
    mind.reopen(now)    # leave the parked state through a canary
    mind.on_breaker(now)           # the retry budget is empty: gate and canary
    mind.snapshot(now)  # -> GateSnapshot: state, cause, until, in_flight, calls, pace, lo, hi,
                        #    episodes, throttled, refused_share, sends, consecutive
    mind.learned(now)   # -> Learned | None, to hand to the next run
    mind.has_events     # True: there are some
    mind.drain_events() # -> list[GateEvent], oldest first, and forgets them:
                        #    EpisodeStarted(at, cause, until, hinted), CooldownEnded(at, cause,
                        #    length), BracketMoved(at, pace, lo, hi), ScopeParked(at, cause, until)

Laws: while the scope cools nothing is sent, then one canary, and only when it has not been refused
does the line move again, paced; admission takes every dimension or none.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from random import Random
from typing import Final

from batchllm.core import CallCost, Outcome, ServerHint
from batchllm.policy.admission import Admission
from batchllm.policy.bucket import Limit, Settlement
from batchllm.policy.concurrency_search import ConcurrencySearch
from batchllm.policy.cooldown import Cause, Cooldown, CooldownPolicy, Parked, State
from batchllm.policy.gate_news import (
    BracketMoved,
    CooldownEnded,
    EpisodeStarted,
    GateEvent,
    GateSnapshot,
    ScopeParked,
    Send,
)
from batchllm.policy.quota_search import Learned, QuotaSearch
from batchllm.policy.ramp import Ramp

__all__ = ["FIRST_CALLS", "GateMind"]

FIRST_CALLS: Final = 5
"""Calls in flight at a cold start: as many as a run has by default, which so needs no ramp."""
_DEAD: Final = 10.0
"""Seconds that calls have to fail, one and all, before the endpoint counts as dead."""
_MEMORY: Final = 86_400.0
"""Seconds after which what an earlier run learned is not trusted any more."""


class GateMind:
    """Decides for one quota scope when the next call may start; see the module's page.

    Args:
        limits: Declared limits; they are never exceeded in any window.
        calls: The cap on calls in flight; ``None`` is no cap.
        cooldown: How to pause after a refusal, and how to go on.
        park_after: Seconds; a server that asks for a longer pause parks the scope.
        rng: Where the spread of pauses comes from.
        learned: What an earlier run found out.
        settlement: How the provider books tokens that were reserved and not used.
        ramp: Calls in flight at a cold start with an unknown quota; ``None`` for no ramp.
        breaker_after: Failures of the connection or server in a row that pause the scope;
            ``None`` for never.
        adapt: Learns how many calls in flight serve best, within ``calls``; for servers that
            queue instead of refusing.
    """

    __slots__ = (
        "_adapt",
        "_admission",
        "_breaker_after",
        "_calls",
        "_canary",
        "_cap",
        "_cooldown",
        "_events",
        "_failing_since",
        "_failures",
        "_park_after",
        "_ramp",
        "_search",
        "_searching",
        "counts_tokens",
        "free",
        "in_flight",
        "overloaded",
        "sends",
        "throttled",
    )  # fmt: skip

    def __init__(
        self,
        *,
        limits: Iterable[Limit] = (),
        calls: int | None = None,
        cooldown: CooldownPolicy | None = None,
        park_after: float = 120.0,
        rng: Random,
        learned: Learned | None = None,
        settlement: Settlement = "refund",
        ramp: int | None = FIRST_CALLS,
        breaker_after: int | None = 20,
        adapt: ConcurrencySearch | None = None,
    ) -> None:
        policy = cooldown or CooldownPolicy()
        self._searching = policy.canaries
        self._adapt = adapt
        known = learned if learned is not None and learned.age <= _MEMORY else None
        self._admission = Admission(limits, settlement=settlement)
        self._cooldown = Cooldown(policy, park_after=park_after, rng=rng)
        self._search = QuotaSearch(learned=known)
        self._park_after = park_after
        self._breaker_after = breaker_after
        unknown = self._search.pace is None and not self._admission.limits_requests
        self._ramp = Ramp(ramp) if ramp is not None and unknown else None
        self._events: list[GateEvent] = []
        self._canary: Send | None = None
        self._failures = 0
        self._failing_since = 0.0
        self.in_flight = 0
        self.sends = 0
        self.throttled = 0
        self.overloaded = 0
        self.set_calls(calls)

    # -- asking ------------------------------------------------------------------------------

    @property
    def calls(self) -> int | None:
        """The cap on calls in flight."""
        return self._calls

    @property
    def parked(self) -> Parked | None:
        """Why and until when the scope waits for no one, if it is parked."""
        return self._cooldown.parked

    @property
    def cooling(self) -> bool:
        """Whether the scope pauses, tries a canary or is parked."""
        return self._cooldown.state is not State.OPEN

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits in force, declared and told by the server."""
        return self._admission.limits

    def oversize(self, cost: CallCost) -> Limit | None:
        """The limit that *cost* can never pass, if there is one."""
        return self._admission.oversize(cost)

    def next_time(self, now: float, cost: CallCost) -> float:
        """The earliest instant when a call of *cost* may start; ``inf`` until there is news."""
        if self.in_flight >= self._cap:
            return inf
        if self.free:
            return now
        return self._planned(now, cost)

    def _planned(self, now: float, cost: CallCost) -> float:
        at = max(self._cooldown.next_time(now), self._search.next_time(now))
        if self._ramp is not None:
            at = max(at, self._ramp.next_time(now, self.in_flight))
        if self._admission.empty or at == inf:
            return at
        admitted = self._admission.next_time(now, cost)
        if self._park_after < admitted - now < inf and not self.in_flight:
            spent = self._admission.spent_until(now, cost)
            if spent - now > self._park_after:
                self._park(now, Cause.QUOTA_SPENT, spent)
                return inf
        return max(at, admitted)

    # -- telling -----------------------------------------------------------------------------

    def on_send(self, now: float, cost: CallCost) -> Send:
        """Note that a call starts at *now*; ``next_time`` has allowed it."""
        self.in_flight += 1
        self.sends += 1
        mark = self._search.on_send(now, cost.requests)
        if self.free:
            return Send(now, cost, mark, False, None)
        if self._search.moved:
            self._tell_bracket(now)
        paused = self._cooldown.state is not State.OPEN
        canary = self._cooldown.on_send(now)
        if paused and not canary:
            self._resumed(now)
        admitted = None if self._admission.empty else self._admission.take(now, cost)
        send = Send(now, cost, mark, canary, admitted)
        if canary:
            self._canary = send
            self._search.on_canary(now)
        self._refresh()
        return send

    def on_result(
        self,
        now: float,
        send: Send,
        outcome: Outcome | str,
        hint: ServerHint | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
    ) -> None:
        """Note how a call ended, what the server told, and the tokens that it reported."""
        self._end(send)
        if send.admitted is not None:
            self._admission.settle(send.admitted, _actual(send.cost, input_tokens, output_tokens))
        told = hint is not None and self._learn(now, send, hint)
        if outcome == Outcome.OK:
            self._failures = 0
            if self._adapt is not None:
                self._adapt.on_ok(now, send.sent_at, self.in_flight + 1)
                self._recap()
            if not self.free or self._cooldown.troubled:
                self._succeeded(now, send)
            return
        self._failed(now, send, Outcome(outcome), hint, told)
        self._refresh()

    def on_cancel(self, now: float, send: Send) -> None:
        """Note that a call was cancelled; what it reserved stays used."""
        self._end(send)
        if send.admitted is not None:
            self._admission.settle(send.admitted, None)
        self._lose_canary(now, send)

    def on_release(self, now: float, send: Send) -> None:
        """Note that a call never left; what it reserved is free again."""
        self._end(send)
        self.sends -= 1
        self._search.on_release(send.mark, send.cost.requests)
        if send.admitted is not None:
            self._admission.release(send.admitted)
        self._lose_canary(now, send)

    def on_breaker(self, now: float) -> None:
        """Pause and go on with a canary, because calls fail for no lack of quota."""
        if self._cooldown.on_breaker(now, now):
            self._tell_episode(now, hinted=False)
        self._refresh()

    def set_calls(self, calls: int | None) -> None:
        """Cap the calls in flight from now on."""
        self._calls = calls
        self._recap()
        self._refresh()

    def set_limits(self, limits: Iterable[Limit]) -> None:
        """Declare other limits from now on; what was sent stays counted."""
        self._admission.declare(limits)
        self._refresh()

    def reopen(self, now: float) -> None:
        """Leave the parked state; the next call is a canary."""
        self._cooldown.reopen(now)
        self._refresh()

    # -- reading -----------------------------------------------------------------------------

    def snapshot(self, now: float) -> GateSnapshot:
        """Where the gate stands at *now*."""
        search, cooldown = self._search, self._cooldown
        known = search.pace is not None
        return GateSnapshot(
            state=cooldown.state,
            cause=cooldown.cause if cooldown.state is not State.OPEN else None,
            until=cooldown.until if cooldown.until > now else None,
            in_flight=self.in_flight,
            calls=self._calls,
            pace=search.pace,
            lo=search.lo if known else None,
            hi=search.hi if known else None,
            limits=self._admission.limits,
            used=self._admission.used(now),
            episodes=cooldown.episodes,
            consecutive=cooldown.consecutive,
            sends=self.sends,
            throttled=self.throttled,
            overloaded=self.overloaded,
            refused_share=(self.throttled + self.overloaded) / max(1, self.sends),
        )

    def learned(self, now: float) -> Learned | None:
        """What to hand to the next run of this scope; ``None`` where nothing was found."""
        return self._search.learned(now)

    @property
    def has_events(self) -> bool:
        """Whether there is something to drain."""
        return bool(self._events)

    def drain_events(self) -> list[GateEvent]:
        """What happened since this was last called, oldest first."""
        events, self._events = self._events, []
        return events

    # -- inside ------------------------------------------------------------------------------

    def _recap(self) -> None:
        self._cap = inf if self._calls is None else self._calls
        if self._adapt is not None:
            self._cap = min(self._cap, self._adapt.limit)

    def _end(self, send: Send) -> None:
        if send.ended:
            msg = "This call has ended already; a gate hears of the end of each call once."
            raise ValueError(msg)
        send.ended = True
        self.in_flight -= 1

    def _learn(self, now: float, send: Send, hint: ServerHint) -> bool:
        """Take in what a reply told; whether it made a limit known that was not known before."""
        admitted = send.admitted or self._admission.unbooked
        told = [
            self._admission.observe(limit, now, send.sent_at, admitted) for limit in hint.limits
        ]
        self._refresh()
        return any(told)

    def _succeeded(self, now: float, send: Send) -> None:
        if self._ramp is not None and not self._ramp.on_ok(now, self._cap, now - send.sent_at):
            self._ramp = None
        if self._cooldown.on_ok(send.sent_at, canary=send.canary):
            self._resumed(now)
        self._refresh()

    def _failed(
        self, now: float, send: Send, outcome: Outcome, hint: ServerHint | None, told: bool
    ) -> None:
        wait = hint.wait if hint is not None else None
        if outcome is Outcome.EXHAUSTED or (hint is not None and hint.exhausted):
            self._park(now, Cause.EXHAUSTED, None if wait is None else now + wait)
        elif outcome is Outcome.THROTTLED:
            self._throttled(now, send, wait, told)
        elif outcome is Outcome.OVERLOADED:
            self.overloaded += 1
            parked = self.parked
            if self._cooldown.on_overloaded(now, send.sent_at, wait):
                self._tell_episode(now, hinted=wait is not None)
            self._tell_parked(now, parked)
        elif outcome in (Outcome.TRANSIENT, Outcome.TIMEOUT):
            self._broken(now, send)
        else:
            self._failures = 0  # whatever was wrong with it, it was an answer
            if self._cooldown.on_answer(canary=send.canary):
                self._resumed(now)

    def _throttled(self, now: float, send: Send, wait: float | None, told: bool) -> None:
        self.throttled += 1
        if self._adapt is not None:
            self._adapt.on_refused(now, send.sent_at)
            self._recap()
        isolated = (
            wait is None
            and self._cooldown.state is State.OPEN
            and self._search.isolated(send.sent_at)
        )
        self._search.on_refused(send.sent_at, send.mark, send.cost.requests)
        if isolated:
            return
        parked = self.parked
        if self._cooldown.on_throttled(now, send.sent_at, wait):
            self._ramp = None
            # A number that was told or declared needs no search.
            if self._searching and not told and not self._admission.limits_requests:
                self._search.on_episode(send.sent_at, send.mark)
            self._tell_episode(now, hinted=wait is not None)
        self._tell_parked(now, parked)

    def _broken(self, now: float, send: Send) -> None:
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        breaking = send.canary and self._cooldown.cause is Cause.BREAKER
        if breaking or (self._looks_dead(now) and self._cooldown.state is State.OPEN):
            if self._cooldown.on_breaker(now, send.sent_at):
                self._tell_episode(now, hinted=False)
        elif self._cooldown.on_answer(canary=send.canary):
            self._resumed(now)

    def _looks_dead(self, now: float) -> bool:
        """Whether nothing has succeeded for so many calls and so long that it is not the items."""
        after = self._breaker_after
        return after is not None and self._failures >= after and now - self._failing_since >= _DEAD

    def _resumed(self, now: float) -> None:
        canary, self._canary = self._canary, None
        if canary is not None:
            self._search.on_resume(now, canary.sent_at, canary.mark)
            if self._searching and self._search.pace is None:
                self._ramp = Ramp(FIRST_CALLS)  # no pace holds the line: no herd, as at the start
        cause = self._cooldown.cause
        if cause is not None:
            length = now - self._cooldown.begun
            self._events.append(CooldownEnded(at=now, cause=cause, length=length))
        if self._search.moved:
            self._tell_bracket(now)

    def _lose_canary(self, now: float, send: Send) -> None:
        if send.canary and self._canary is send:
            self._canary = None
            self._cooldown.on_canary_lost(now)
        self._refresh()

    def _park(self, now: float, cause: Cause, until: float | None) -> None:
        parked = self.parked
        self._cooldown.park(cause, until)
        self._tell_parked(now, parked)
        self._refresh()

    def _tell_episode(self, now: float, *, hinted: bool) -> None:
        cooldown = self._cooldown
        cause = cooldown.cause or Cause.THROTTLED
        event = EpisodeStarted(at=now, cause=cause, until=cooldown.until, hinted=hinted)
        self._events.append(event)

    def _tell_parked(self, now: float, before: Parked | None) -> None:
        parked = self.parked
        if parked is not None and before is None:
            self._events.append(ScopeParked(at=now, cause=parked.cause, until=parked.until))

    def _tell_bracket(self, now: float) -> None:
        search = self._search
        search.moved = False
        if search.pace is not None:
            move = BracketMoved(at=now, pace=search.pace, lo=search.lo, hi=search.hi)
            self._events.append(move)

    def _refresh(self) -> None:
        self.counts_tokens = self._admission.counts_tokens
        self.free = (
            self._cooldown.free
            and self._search.pace is None
            and self._ramp is None
            and self._admission.empty
        )


def _actual(cost: CallCost, given: int | None, produced: int | None) -> CallCost | None:
    if given is None and produced is None:
        return None
    return CallCost(
        cost.requests,
        cost.input_tokens if given is None else given,
        cost.output_tokens if produced is None else produced,
    )
