"""Overloads that pause no call: a server that refuses some calls and takes the others.

A first overload is judged as any refusal is, and nothing is sent meanwhile. A server that answers
three calls in a hundred with 503 would so be asked for nothing most of the time. Once it was seen
to take other calls beside those it refuses, overloads are therefore not judged again while most
calls are taken: each of those items waits by itself.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

__all__ = ["OverloadLeaks"]

_MOST: Final = 4.0
"""Overloads in a row that are not judged: by chance one in 625 of a server that refuses 20 %."""
_EARNED: Final = 0.5
"""Overloads that one accepted call pays for, so that at most a third of all is let pass."""


@define(eq=False)
class OverloadLeaks:
    """Decides whether an overload is judged. Live state.

    Attributes:
        known: Whether the server was found to refuse single calls for overload.
    """

    _left: float = field(default=0.0, init=False)
    known: bool = field(default=False, init=False)

    def on_accepted(self) -> None:
        """Note an accepted call."""
        if self.known:
            self._left = min(_MOST, self._left + _EARNED)

    def on_judged(self, *, leak: bool) -> None:
        """Note what refusals were found to mean: single calls leaked, or none was taken."""
        self.known = leak
        self._left = _MOST if leak else 0.0

    def forgives(self) -> bool:
        """Note an overload; return whether it pauses no call."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
