"""The rate limiter of one gate: everything that decides when the next call of a scope may start.

It joins the parts below, so that the gate, a simulation and a benchmark run the same code. It is
pure: ``now`` is seconds on any monotonic clock, chance comes from the ``rng``.

    limit = limiter.oversize(cost)     # the Limit that this cost can never pass, or None
    at = limiter.next_time(now, cost)  # <= now: send. Later: ask again then. inf: ask again
                                       # after the next on_*() of any call (or it is oversize,
                                       # or the scope is parked: limiter.parked)
    send = limiter.on_send(now, cost)  # only if next_time(now, cost) <= now
    limiter.on_result(now, send, outcome, hint, input_tokens, output_tokens)
    limiter.on_cancel(now, send)       # instead: its bytes may have left; nothing is given back
    limiter.on_release(now, send)      # instead: its bytes never left; all is given back

Each ``Send`` ends by exactly one of the last three. ``docs/design/rate-limiter.md`` has the whole.

Laws: while the scope pauses nothing is sent, then one canary, and only if it is not refused do the
others follow, paced; admission takes every dimension or none; without a hint, no pause is longer
than 24 s, or the scope is parked with a cause.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from random import Random
from typing import Final

from batchllm.core import CallCost, Outcome, ServerHint
from batchllm.policy.adaptive import AdaptivePace
from batchllm.policy.admission import Admission, Admitted, actual_cost
from batchllm.policy.bucket import Limit, Settlement
from batchllm.policy.call_cap import CallCap
from batchllm.policy.concurrency_search import ConcurrencySearch
from batchllm.policy.cooldown import Cause, CooldownPolicy, Parked, State
from batchllm.policy.events import GateEvent, GateSnapshot, Send, adoption_event
from batchllm.policy.fixed_cooldown import FixedCooldown
from batchllm.policy.followed_pauses import FollowedPauses
from batchllm.policy.learned import Learned
from batchllm.policy.leased_bucket import LeasedBucket
from batchllm.policy.refusals import REFUSED, UNANSWERED, Refusals
from batchllm.policy.reservations import Reservations
from batchllm.policy.sharing import Sharing

__all__ = ["RateLimiter"]

_OK: Final = Outcome.OK  # looked up once: Python 3.11 takes 0.4 µs, and every call asks for it


class RateLimiter:
    """Decides for one quota scope when the next call may start; see the module's page.

    Args:
        limits: Declared limits; they are never exceeded in any window.
        calls: The cap on calls in flight; ``None`` is no cap.
        cooldown: A fixed policy for refusals; ``None`` adapts.
        park_after: Seconds of a hint, or without an accepted call, beyond which a scope is parked.
        rng: Where the spread of pauses comes from.
        learned: What an earlier run found out.
        settlement: How the provider books tokens that were reserved and not used.
        cold_start: Whether an unknown quota is met with few calls in flight at first.
        adapt: Learns how many calls in flight serve best below *calls*, where a server queues.
        own_address: Whether the scope is at a provider's own address, where a reported limit that
            names no period is one of a minute.
        leased: What this worker may take of limits that it shares with others.

    Attributes:
        events: What happened and was not drained yet.
        room: Calls in flight below which no part has to be asked whether one may start.
    """

    __slots__ = (
        "_adaptive", "_admission", "_cap", "_findings", "_last", "_leased", "_refusals",
        "_reserved", "_sharing", "counts_tokens", "events", "in_flight", "room", "sends",
    )  # fmt: skip

    def __init__(
        self,
        *,
        limits: Iterable[Limit] = (),
        calls: int | None = None,
        cooldown: CooldownPolicy | None = None,
        park_after: float = 900.0,
        rng: Random,
        learned: Learned | None = None,
        settlement: Settlement = "refund",
        cold_start: bool = True,
        adapt: ConcurrencySearch | None = None,
        own_address: bool = False,
        leased: LeasedBucket | None = None,
    ) -> None:
        known = learned if learned is not None and learned.recent else None
        self._leased = leased
        self._admission = Admission(
            limits, settlement=settlement, own_address=own_address, leased=leased
        )
        # What is not known of a shared quota its authority learns from all workers.
        cold = cold_start and leased is None and not self._admission.limits_requests
        self._cap = CallCap(calls, adapt)
        self._adaptive = AdaptivePace(rng, park_after, self._cap, known, cold)
        self.events, self._findings = self._adaptive.events, self._adaptive.findings
        fixed = None if cooldown is None else FixedCooldown(cooldown, rng)
        follows = FollowedPauses() if leased is not None and fixed is None else None
        self._refusals = Refusals(self._adaptive, fixed or follows, park_after, self.events)
        self._sharing = None if leased is None else Sharing(leased, follows, self._refusals)
        self._reserved = Reservations(self._admission, self._adaptive)
        self._last: Send | None = None
        self.in_flight = 0
        self.sends = 0
        self._refresh()

    # -- asking ------------------------------------------------------------------------------

    @property
    def calls(self) -> int | None:
        """The cap on calls in flight."""
        return self._cap.declared

    @property
    def parked(self) -> Parked | None:
        """Return why and until when the scope waits no longer, if it is parked."""
        return self._refusals.cooldown.parked

    @property
    def cooling(self) -> bool:
        """Return whether the scope pauses, tests a canary or is parked."""
        return self._refusals.cooldown.state is not State.OPEN

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits in force, declared and reported by the server."""
        return self._admission.limits

    @property
    def shares(self) -> bool:
        """Return whether its limits are kept together with other processes."""
        return self._leased is not None

    def lease_cause(self, now: float, cost: CallCost) -> str | None:
        """Return why *cost* waits, if it waits for a share of a quota kept with others."""
        return None if self._leased is None else self._leased.cause(now, cost)

    def may_start(self, now: float) -> float:
        """Return how many calls could start now or soon if every limit had room for them."""
        if self.in_flight >= self._cap.limit:
            return 0
        if not self.cooling:
            return self._cap.limit - self.in_flight
        return 1 if self._refusals.next_time(now, self.in_flight) <= now else 0

    def closed_for(self, now: float) -> float:
        """Return for how many seconds it pauses by itself: by a fixed policy of the user's."""
        cooldown = self._refusals.cooldown
        if not isinstance(cooldown, FixedCooldown) or cooldown.state is not State.CLOSED:
            return 0.0
        return max(0.0, cooldown.until - now)

    def oversize(self, cost: CallCost) -> Limit | None:
        """Return the limit that *cost* can never pass, if there is one."""
        return self._admission.oversize(cost)

    def next_time(self, now: float, cost: CallCost) -> float:
        """Return the earliest instant when a call of *cost* may start; ``inf`` until an event."""
        if self.in_flight >= self._cap.limit:
            return inf
        if self.in_flight < self.room:
            return now
        at = self._refusals.next_time(now, self.in_flight)
        if self.events or (self.room and at <= now):
            self._refresh()  # a cold start has opened another place
        if self._admission.empty or at == inf:
            return at
        return self._admitted_time(now, cost, at)

    def _admitted_time(self, now: float, cost: CallCost, at: float) -> float:
        if self._leased is not None and now < at and self.oversize(cost) is None:
            return at  # a slot that was asked for before would be over by then
        admitted = self._admission.next_time(now, cost)
        park_after = self._refusals.park_after
        if park_after < admitted - now < inf and not self.in_flight:
            spent = self._admission.spent_until(now, cost)
            if spent - now > park_after:
                self._refusals.park(now, Cause.QUOTA_SPENT, spent)
                self._refresh()
                return inf
        return max(at, admitted)

    # -- calls -------------------------------------------------------------------------------

    def on_send(self, now: float, cost: CallCost) -> Send:
        """Note that a call starts at *now*; ``next_time`` has allowed it."""
        mark = self._adaptive.log.on_send(now)
        send = self._last = Send(now, cost, mark, self.in_flight, self._last)
        self.in_flight += 1
        self.sends += 1
        # Booked even if nothing is limited: what a reply says is left counts from its own call.
        send.admitted = self._admission.take(now, cost)
        if self.room:
            self._adaptive.on_free_send(send)
        else:
            self._refusals.on_send(now, send)
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
        """Note how a call ended, what the server reported, and the tokens that it took."""
        admitted = self._end(send)
        if admitted.reservations:
            self._admission.settle(admitted, actual_cost(send.cost, input_tokens, output_tokens))
        adopted = hint is not None and self._observe(now, send.sent_at, admitted, hint)
        ended = outcome if isinstance(outcome, Outcome) else Outcome(outcome)
        if ended is _OK:  # of parts that need not know of it none is asked: nearly every call
            self._admission.on_accepted(now, send.sent_at)
            if self._cap.search is not None:
                self._cap.on_ok(now, send.sent_at, self.in_flight + 1)
            exhausted = hint is not None and hint.exhausted
            if self.room or not (exhausted or self._reserved.named or self._sharing is not None):
                if self._refusals.fixed is not None:
                    self._refusals.on_ok(send)
                self._adaptive.on_accepted(now, send)
                if not self.room or (self.room < inf and self._adaptive.cold_start is None):
                    self._refresh()  # the answer may have ended the cold start
                return
        elif ended in REFUSED:
            self._admission.on_refused(now, send.sent_at)
        elif ended not in UNANSWERED:
            self._admission.on_accepted(now, send.sent_at)
        explained = adopted or self._admission.explains(hint)
        if self._sharing is not None:
            self._sharing.on_result(now, send, ended, hint, explained=explained)
        hint = self._reserved.on_result(now, send, ended, hint)
        self._refusals.on_result(now, send, ended, hint, explained=explained)
        self._refresh()

    def on_cancel(self, now: float, send: Send) -> None:
        """Note that a call was cancelled; what it reserved stays used."""
        self._admission.settle(self._end(send), None)
        if self._sharing is not None:
            self._sharing.on_cancel(now, send)
        self._adaptive.on_lost(now, send, left=True)
        self._refresh()

    def on_release(self, now: float, send: Send) -> None:
        """Note that a call never left; what it reserved is free again."""
        self._admission.release(self._end(send))
        self.sends -= 1
        self._adaptive.on_lost(now, send, left=False)
        self._refresh()

    @property
    def starts_cold(self) -> bool:
        """Return whether calls in flight become more by time alone, until something is known."""
        return self._adaptive.cold_start is not None

    def on_connected(self, seconds: float) -> None:
        """Note that a connection to the server takes *seconds* to be made."""
        self._adaptive.on_connected(seconds)

    def set_calls(self, calls: int | None) -> None:
        """Cap the calls in flight from now on."""
        self._cap.declare(calls)
        self._refresh()

    def set_limits(self, limits: Iterable[Limit]) -> None:
        """Declare other limits from now on; what was sent stays counted."""
        self._admission.declare(limits)
        self._refresh()

    def reopen(self, now: float) -> None:
        """Leave the parked state; the next call is a canary."""
        self._refusals.reopen(now)
        if self._leased is not None:
            self._leased.try_again(now)
        self._refresh()

    # -- reading -----------------------------------------------------------------------------

    def snapshot(self, now: float) -> GateSnapshot:
        """Return the state of the gate at *now*."""
        refusals, search = self._refusals, self._findings.search
        cooldown, refused = refusals.cooldown, refusals.throttled + refusals.overloaded
        return GateSnapshot(
            state=cooldown.state,
            cause=cooldown.cause if cooldown.state is not State.OPEN else None,
            until=cooldown.until if cooldown.until > now else None,
            in_flight=self.in_flight,
            calls=self._cap.declared,
            pace=search.pace,
            rate=search.rate if self._leased is None else self._leased.rate,
            cap=self._findings.cap.believed,
            limits=self._admission.limits,
            used=self._admission.used(now),
            episodes=cooldown.episodes,
            consecutive=cooldown.consecutive,
            sends=self.sends,
            throttled=refusals.throttled,
            overloaded=refusals.overloaded,
            refused_share=refused / max(1, self.sends),
            reported_cap=self._admission.parallel_cap,
        )

    def learned(self, now: float) -> Learned | None:
        """Return what to hand to the next run of this scope; ``None`` if nothing was found."""
        return self._findings.search.learned(now)

    def drain_events(self) -> list[GateEvent]:
        """Return what happened since this was last called, oldest first."""
        events = self.events.copy()
        self.events.clear()
        return events

    def on_lease(self, now: float) -> None:
        """Note that the authority of a shared quota has answered, or does not."""
        self._admission.recount()
        if self._sharing is not None:
            self._sharing.on_lease(now)
        self._refresh()

    # -- inside ------------------------------------------------------------------------------

    def _end(self, send: Send) -> Admitted:
        """Note that a call has ended; returns what it had reserved."""
        if send.ended or send.admitted is None:
            msg = "This call has ended already; a gate is notified once of the end of each call."
            raise ValueError(msg)
        send.ended = True
        self.in_flight -= 1
        return send.admitted

    def _observe(self, now: float, sent_at: float, admitted: Admitted, hint: ServerHint) -> bool:
        """Take in what a reply reported; returns whether a limit became known by it."""
        adopted = [self._admission.observe(each, now, sent_at, admitted) for each in hint.limits]
        self.events += [adoption_event(now, *one) for one in self._admission.drain_adopted()]
        self._cap.report(self._admission.parallel_cap)
        if self.room:
            self._refresh()
        return any(adopted)

    def _refresh(self) -> None:
        self.counts_tokens = self._admission.counts_tokens
        # The way of nearly every call: a cold start that few are made in lasts as long as the run.
        self.room = self._refusals.room if self._admission.empty else 0
