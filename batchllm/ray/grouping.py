"""Groups of results: each is written within a quarter of a second, at most 256 together. Pure."""

from __future__ import annotations

from math import inf
from typing import Final, Generic, TypeVar

from attrs import define, field

__all__ = ["GROUP_SECONDS", "MOST_IN_GROUP", "Grouping"]

MOST_IN_GROUP: Final = 256
GROUP_SECONDS: Final = 0.25
"""Seconds of answers that are paid for again if a worker dies. Writing and flushing a group takes
some milliseconds, on a disk in the network some tens, so that it could not be much less."""

K = TypeVar("K")
V = TypeVar("V")


@define(eq=False)
class Grouping(Generic[K, V]):
    """Gathers what is to be written, by the file that gets it."""

    _waiting: dict[K, list[V]] = field(factory=dict, init=False)
    _count: int = field(default=0, init=False)
    _due: float = field(default=inf, init=False)

    def add(self, now: float, key: K, value: V) -> None:
        """Add a value for the file *key*."""
        self._waiting.setdefault(key, []).append(value)
        self._count += 1
        if self._count == 1:
            self._due = now + GROUP_SECONDS
        if self._count >= MOST_IN_GROUP:
            self._due = now

    @property
    def due(self) -> float:
        """Return when to write; never if there is nothing."""
        return self._due

    def take(self) -> dict[K, list[V]]:
        """Return everything that waits, and begin the next group."""
        taken, self._waiting = self._waiting, {}
        self._count, self._due = 0, inf
        return taken
