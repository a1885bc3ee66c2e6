"""The answer of one scope to how calls end: by the user's own policy, or by what its server does.

One of the two has the say: with a fixed policy the adaptive pace still counts what is sent, but is
never shown a refusal, nor is it where an authority decides for several workers. Either way the
scope is parked, with one event, as soon as waiting is no use.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

from batchllm.core import Outcome, ServerHint
from batchllm.policy.adaptive import AdaptivePace
from batchllm.policy.cooldown import Cause, Cooldown, Parked
from batchllm.policy.events import GateEvent, ScopeParked, Send
from batchllm.policy.fixed_cooldown import FixedCooldown
from batchllm.policy.followed_pauses import FollowedPauses
from batchllm.policy.pause_log import PauseLog

__all__ = ["REFUSED", "UNANSWERED", "Refusals"]

REFUSED: Final = frozenset({Outcome.THROTTLED, Outcome.OVERLOADED, Outcome.EXHAUSTED})
UNANSWERED: Final = frozenset({Outcome.TRANSIENT, Outcome.TIMEOUT, Outcome.UNKNOWN})
"""Ends that say nothing of a quota: not refused, but no proof that a call was accepted either."""


@define(eq=False)
class Refusals:
    """The pauses of one scope, whichever policy decides on them. Live state, for one clock.

    Args:
        adaptive: The pace, which also decides on pauses where *fixed* is ``None``.
        fixed: The user's own policy, or the pauses of an authority.
        park_after: Seconds; a scope is parked if a server asks for a longer pause.
        events: Where it reports what happened.

    Attributes:
        throttled: Calls that a quota refused.
        overloaded: Calls that an overloaded server refused.
    """

    adaptive: AdaptivePace
    fixed: FixedCooldown | FollowedPauses | None
    park_after: float
    events: list[GateEvent]
    throttled: int = field(default=0, init=False)
    overloaded: int = field(default=0, init=False)
    _fixed_pauses: PauseLog | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        fixed = self.fixed
        self._fixed_pauses = None if fixed is None else PauseLog(fixed, self.events)

    @property
    def cooldown(self) -> Cooldown | FixedCooldown | FollowedPauses:
        """The pauses of the one that decides."""
        return self.fixed or self.adaptive.cooldown

    @property
    def room(self) -> float:
        """Return the calls in flight below which nothing holds one back until one fails."""
        return self.adaptive.room if self.fixed is None or self.fixed.free else 0

    def next_time(self, now: float, in_flight: int) -> float:
        """Return the earliest instant for the next start; ``inf`` if only an event can show it."""
        at = self.adaptive.next_time(now, in_flight)
        return at if self.fixed is None else max(at, self.fixed.next_time(now))

    def on_send(self, now: float, send: Send) -> None:
        """Note that *send* starts, which may end a pause."""
        if self.fixed is not None and self._fixed_pauses is not None and self.fixed.on_send(now):
            self._fixed_pauses.ended(now)
        self.adaptive.on_send(now, send)

    def on_result(
        self,
        now: float,
        send: Send,
        outcome: Outcome,
        hint: ServerHint | None,
        *,
        explained: bool,
    ) -> None:
        """Note how *send* ended.

        Args:
            now: When.
            send: The call.
            outcome: Its end.
            hint: What the server reported with it.
            explained: Whether a refusal came with a limit that was not known before.
        """
        wait = hint.wait if hint is not None else None
        if outcome is Outcome.EXHAUSTED or (hint is not None and hint.exhausted):
            self.adaptive.on_lost(now, send, left=True)
            self.park(now, Cause.EXHAUSTED, None if wait is None else now + wait)
        elif outcome not in REFUSED:
            if outcome is Outcome.OK:
                self.on_ok(send)
            self.adaptive.on_accepted(now, send, proven=outcome not in UNANSWERED)
        elif hint is not None and hint.names_parallel_cap:
            self.throttled += 1
            if self.adaptive.on_capped(now, send):
                self.park(now, Cause.NOTHING_ACCEPTED, None)
        elif outcome is Outcome.THROTTLED:
            self.throttled += 1
            self.adaptive.calls.on_refused(now, send.sent_at)
            self.on_refused(now, send, wait, Cause.THROTTLED, explained=explained)
        else:
            self.overloaded += 1
            self.on_refused(now, send, wait, Cause.OVERLOADED, explained=explained)

    def on_ok(self, send: Send) -> None:
        """Note a success, which may end a row of refusals."""
        if self.fixed is not None:
            self.fixed.on_ok(send.sent_at)

    def on_refused(
        self, now: float, send: Send, wait: float | None, cause: Cause, *, explained: bool
    ) -> None:
        """Note that *send* was refused.

        Args:
            now: When.
            send: The call.
            wait: Seconds that the server asked to wait.
            cause: Why.
            explained: Whether the refusal came with a limit that was not known before.
        """
        if wait is not None and wait > self.park_after:
            self.adaptive.on_lost(now, send, left=True)
            self.park(now, Cause.HINT_TOO_LONG, now + wait)
            return
        parked = self.cooldown.parked
        if self.fixed is None or self._fixed_pauses is None:
            self.adaptive.on_refused(now, send, wait, cause, explained=explained)
        else:
            self.adaptive.on_lost(now, send, left=True)
            if self.fixed.refused(now, send.sent_at, wait, cause):
                self._fixed_pauses.started(now, self.fixed.until, hinted=wait is not None)
        self._report_parked(now, parked)

    def park(self, now: float, cause: Cause, until: float | None) -> None:
        """Wait no longer, or not before *until*."""
        parked = self.cooldown.parked
        self.cooldown.park(cause, until)
        self._report_parked(now, parked)

    def reopen(self, now: float) -> None:
        """Leave the parked state."""
        if self.fixed is not None:
            self.fixed.reopen(now)
        else:
            self.adaptive.reopen(now)

    def _report_parked(self, now: float, before: Parked | None) -> None:
        parked = self.cooldown.parked
        if parked is not None and before is None:
            self.events.append(ScopeParked(at=now, cause=parked.cause, until=parked.until))
