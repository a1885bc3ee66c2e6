"""The record of one scope's pauses: an event when one begins, grows or ends."""

from __future__ import annotations

from attrs import define

from batchllm.policy.cooldown import Cause, Pauses
from batchllm.policy.events import CooldownEnded, EpisodeStarted, GateEvent, PauseLengthened

__all__ = ["PauseLog"]


@define(eq=False)
class PauseLog:
    """Writes down what happens to the pauses of one scope.

    Args:
        pauses: Those it writes about.
        events: Where it writes.
    """

    pauses: Pauses
    events: list[GateEvent]

    @property
    def _cause(self) -> Cause:
        return self.pauses.cause or Cause.THROTTLED

    def started(self, now: float, until: float, *, hinted: bool) -> None:
        """Note that refusals were understood, and that calls pause *until* then."""
        started = EpisodeStarted(at=now, cause=self._cause, until=until, hinted=hinted)
        self.events.append(started)

    def lengthened(self, now: float, *, hinted: bool) -> None:
        """Note that the pause has become longer."""
        until = self.pauses.until
        longer = PauseLengthened(at=now, cause=self._cause, until=until, hinted=hinted)
        self.events.append(longer)

    def ended(self, now: float) -> None:
        """Note that calls go on, if refusals had stopped them."""
        cause = self.pauses.cause
        if cause is not None:
            length = now - self.pauses.begun
            self.events.append(CooldownEnded(at=now, cause=cause, length=length))
