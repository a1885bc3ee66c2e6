"""The answer of one scope to refusals: by the user's own policy, or by what its server does.

One of the two has the say: with a fixed policy the adaptive pace still counts what is sent, but is
never shown a refusal, nor is it where an authority decides for several workers. Either way the
scope is parked, with one event, as soon as waiting is no use.
"""

from __future__ import annotations

from attrs import define

from batchllm.policy.adaptive import AdaptivePace
from batchllm.policy.cooldown import Cause, Cooldown, Parked
from batchllm.policy.events import CooldownEnded, EpisodeStarted, GateEvent, ScopeParked, Send
from batchllm.policy.fixed_cooldown import FixedCooldown
from batchllm.policy.followed_pauses import FollowedPauses

__all__ = ["Refusals"]


@define(eq=False)
class Refusals:
    """The pauses of one scope, whichever policy decides on them. Live state, for one clock.

    Args:
        adaptive: The pace, which also decides on pauses where *fixed* is ``None``.
        fixed: The user's own policy, or the pauses of an authority.
        park_after: Seconds; a scope is parked if a server asks for a longer pause.
        events: Where it reports what happened.
    """

    adaptive: AdaptivePace
    fixed: FixedCooldown | FollowedPauses | None
    park_after: float
    events: list[GateEvent]

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
        fixed = self.fixed
        if fixed is not None and fixed.on_send(now) and fixed.cause is not None:
            length = now - fixed.begun
            self.events.append(CooldownEnded(at=now, cause=fixed.cause, length=length))
        self.adaptive.on_send(now, send)

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
        if self.fixed is None:
            self.adaptive.on_refused(now, send, wait, cause, explained=explained)
        else:
            self.adaptive.on_lost(now, send, left=True)
            if self.fixed.refused(now, send.sent_at, wait, cause):
                until, hinted = self.fixed.until, wait is not None
                started = EpisodeStarted(at=now, cause=cause, until=until, hinted=hinted)
                self.events.append(started)
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
