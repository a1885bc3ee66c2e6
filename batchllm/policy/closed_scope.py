"""A scope that is closed for all workers after a refusal, and the one call that tests it."""

from __future__ import annotations

from math import inf
from typing import Any, Final

from attrs import define

__all__ = ["ClosedScope"]

_PATIENCE: Final = 5.0
"""Seconds without a refusal after which a canary counts as accepted, if its worker is there:
answers may take minutes, and refusals come within a second or so."""
_LOST: Final = 10.0
"""Seconds without a word of the canary's worker after which another gets one."""
_REFUSED: Final = 1.0
"""Seconds after a refused canary until the next, unless its worker asks for more."""
_AGAIN: Final = 0.25
"""Seconds until a worker asks again that waits for the canary of another."""


@define(eq=False)
class ClosedScope:
    """The pause that all workers keep together. Live state.

    Attributes:
        open: Whether it is over, or there was none.
    """

    open: bool = True
    _until: float = -inf
    _canary: str | None = None
    """The worker that has it."""
    _due: float = -inf
    """The last instant at which the canary may start."""
    _heard: float = -inf
    """When the canary's worker was last heard of."""

    def on_report(self, now: float, worker: str, closed_for: float, canary: bool | None) -> None:
        """Take in what *worker* reports: a pause that it keeps, and what became of its canary."""
        if worker == self._canary:
            self._heard = now
            if canary is not None:
                self._canary = None
                self.open |= canary
                if not canary:  # until its worker has understood the refusal, and says for how long
                    self._until = max(self._until, now + _REFUSED)
        if closed_for > 0 and now + closed_for > self._until:
            self.open, self._canary, self._until = False, None, now + closed_for

    def wait(self, now: float, worker: str) -> float:
        """Return the seconds until *worker* may ask again; 0 if it may go, perhaps as the canary.

        Without a refusal for so long the scope opens.
        """
        if now < self._until:
            return self._until - now
        if self._canary is None:
            return 0.0
        if now - max(self._heard, self._due) > _LOST:
            self._canary = None
            return 0.0
        if self._heard > self._due + _PATIENCE:
            self.open, self._canary = True, None
            return 0.0
        return _AGAIN

    def on_canary(self, worker: str, due: float) -> None:
        """Note that *worker* got the canary, which starts at *due* at the latest."""
        self._canary, self._due, self._heard = worker, due, due

    def dump(self) -> list[Any]:
        """Return the state, as the class takes it."""
        return [self.open, self._until, self._canary, self._due, self._heard]
