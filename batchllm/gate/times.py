"""The waits at a gate: what held the next call back, and how much of each was a pause."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import define, field

from batchllm.gate.lane import Waiter
from batchllm.policy import OUTAGE

__all__ = ["COOLDOWN", "WaitTimes"]

COOLDOWN: Final = "cooldown"
_CAUSES: Final = ("calls", "quota", COOLDOWN, OUTAGE)


@define(eq=False)
class WaitTimes:
    """Adds up waits, in seconds; every method takes the instant at which something changes."""

    _held: dict[str, float] = field(factory=lambda: dict.fromkeys(_CAUSES, 0.0), init=False)
    held_by: str | None = field(default=None, init=False)
    """The cause that holds the next call back now; ``None`` if none waits."""
    _held_since: float = field(default=0.0, init=False)
    _paused_since: float | None = field(default=None, init=False)
    _calm_since: float | None = field(default=None, init=False)

    def hold(self, now: float, cause: str | None) -> None:
        """Note what holds the next call back from *now* on."""
        if self.held_by is not None:
            before = self._held.get(self.held_by, 0.0)
            self._held[self.held_by] = before + now - self._held_since
        self.held_by, self._held_since = cause, now

    def held(self, now: float) -> dict[str, float]:
        """Return the seconds for which calls waited, by cause."""
        held = dict(self._held)
        if self.held_by is not None:
            held[self.held_by] = held.get(self.held_by, 0.0) + now - self._held_since
        return held

    def pause(self, now: float, waiters: Iterable[Waiter], *, paused: bool) -> None:
        """Note whether the scope is paused from *now* on, and book a pause that ends.

        Args:
            now: When it begins or ends.
            waiters: The calls that wait; a pause that ends is booked to each.
            paused: Whether it begins, or goes on.
        """
        if paused:
            if self._paused_since is None:
                self._paused_since = now
        elif self._paused_since is not None:
            for waiter in waiters:
                waiter.cooled += now - max(self._paused_since, waiter.since)
            self._paused_since, self._calm_since = None, now

    def split(self, waiter: Waiter, now: float) -> tuple[float, float]:
        """Return for how long *waiter* waited for room or pace, and for a pause to end."""
        waited = now - waiter.since
        cooled = waiter.cooled
        if self._paused_since is not None:  # the canary waits only while the scope is paused
            cooled += now - max(self._paused_since, waiter.since)
        cooled = min(waited, cooled)
        return waited - cooled, cooled

    def calm_for(self, seconds: float, now: float) -> bool:
        """Return whether no pause ended in the last *seconds*."""
        return self._calm_since is None or now - self._calm_since >= seconds
