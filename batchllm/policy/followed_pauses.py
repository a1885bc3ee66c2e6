"""The pauses of a scope whose authority decides on them, for this worker and all others.

What its calls met is reported (``leased_bucket.py``); a pause comes back with the answer.
"""

from __future__ import annotations

from math import inf
from typing import Final

from attrs import define, field

from batchllm.policy.cooldown import Cause, Pauses, State
from batchllm.policy.events import CooldownEnded, EpisodeStarted, GateEvent, PauseLengthened
from batchllm.policy.leases import Pause

__all__ = ["FollowedPauses"]

_LONGER: Final = 0.25
"""Seconds by which the end of a pause has to move to be reported: each answer says it anew, from
the moment at which it came."""


@define(eq=False)
class FollowedPauses(Pauses):
    """The pauses of one worker of a shared quota. Live state."""

    _announced: bool = field(default=False, init=False)

    @property
    def free(self) -> bool:
        """Return whether nothing pauses."""
        return self.state is State.OPEN

    @property
    def consecutive(self) -> int:
        """Return whether a refusal is being answered: the others' are not known here."""
        return int(not self.free)

    def next_time(self, now: float) -> float:
        """Return the earliest instant for the next start; ``inf`` while parked."""
        if self.state is State.PARKED:
            return inf
        return max(now, self.until) if self.state is State.CLOSED else now

    def on_send(self, now: float) -> bool:
        """Note a start, which ends no pause by itself."""
        return False

    def on_ok(self, sent_at: float) -> None:
        """Note a success, which ends no pause by itself."""

    def refused(self, now: float, sent_at: float, wait: float | None, cause: Cause) -> bool:
        """Note a refusal, which begins no pause by itself."""
        return False

    def reopen(self, now: float) -> None:
        """Leave the parked state."""
        if self.parked is not None:
            self.parked = None
            self.state = State.OPEN

    def follow(self, now: float, pause: Pause | None) -> list[GateEvent]:
        """Take in what holds all workers back; returns what that is to be reported as."""
        if self.state is State.PARKED:
            return []
        if pause is None:
            return self._open(now)
        until, cause = now + pause.seconds, Cause(pause.cause)
        self.state = State.CLOSED
        before, self.until, self.cause = self.until, until, cause
        if not pause.seconds:
            return []
        if not self._announced:
            self._announced, self.begun = True, now
            self.episodes += 1
            return [EpisodeStarted(at=now, cause=cause, until=until, hinted=pause.hinted)]
        if until <= before + _LONGER:
            return []
        return [PauseLengthened(at=now, cause=cause, until=until, hinted=pause.hinted)]

    def _open(self, now: float) -> list[GateEvent]:
        announced, self._announced, self.state = self._announced, False, State.OPEN
        if not announced or self.cause is None:
            return []
        return [CooldownEnded(at=now, cause=self.cause, length=now - self.begun)]
