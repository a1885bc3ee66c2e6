"""The fates of connections, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, Final

from attrs import define, field, frozen

from batchllm.transport.connection import Event

__all__ = ["ConnectionCounts", "ConnectionStats"]

_REASONS: Final[Mapping[Event, str]] = {
    Event.LAST: "closed by the server after a reply",
    Event.SURPLUS: "surplus bytes",
    Event.STALE: "closed while idle",
    Event.EOF: "closed by the server",
    Event.LOST: "broken",
    Event.GARBAGE: "not HTTP",
    Event.LEFT: "cancelled",
    Event.EXPIRED: "expired",
}


@frozen(kw_only=True)
class ConnectionStats:
    """The connections of one client on one event loop, or of several together.

    Attributes:
        opened: Connections made.
        reused: Requests that went out on a connection that had answered before.
        replayed: Requests sent again since a re-used connection ended before the first byte.
        discarded: Connections closed, by reason. Those that are closed when all work is done are
            not among them.
        open: Connections at this moment.
        connect_seconds: Seconds that the quickest of them took to be made, with its name and its
            TLS; of several clients, those of the slowest. 0 if none was made.
    """

    opened: int = 0
    reused: int = 0
    replayed: int = 0
    discarded: Mapping[str, int] = field(factory=dict)
    open: int = 0
    connect_seconds: float = 0.0

    @classmethod
    def sum_of(cls, several: Iterable[ConnectionStats]) -> ConnectionStats:
        """Return the sums over *several*."""
        parts = list(several)
        discarded: Counter[str] = Counter()
        for part in parts:
            discarded.update(part.discarded)
        return cls(
            opened=sum(part.opened for part in parts),
            reused=sum(part.reused for part in parts),
            replayed=sum(part.replayed for part in parts),
            discarded=dict(discarded),
            open=sum(part.open for part in parts),
            connect_seconds=max((part.connect_seconds for part in parts), default=0.0),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers by name, as ``get_stats()`` shows them."""
        return {
            "opened": self.opened,
            "reused": self.reused,
            "replayed": self.replayed,
            "discarded": dict(self.discarded),
            "open": self.open,
            "connect_seconds": self.connect_seconds,
        }


@define(eq=False)
class ConnectionCounts:
    """Counts while they run; :meth:`snapshot` gives the value."""

    opened: int = 0
    reused: int = 0
    replayed: int = 0
    open: int = 0
    quickest: float = inf
    discarded: Counter[Event] = field(factory=Counter)

    def on_opened(self, seconds: float) -> None:
        """Count a connection that took *seconds* to be made."""
        self.opened += 1
        self.open += 1
        self.quickest = min(self.quickest, seconds)

    def snapshot(self) -> ConnectionStats:
        """Return the counts of this moment."""
        reasons: Counter[str] = Counter()
        for event, count in self.discarded.items():
            reasons[_REASONS.get(event, event.name.lower())] += count
        return ConnectionStats(
            opened=self.opened,
            reused=self.reused,
            replayed=self.replayed,
            discarded=dict(reasons),
            open=self.open,
            connect_seconds=self.quickest if self.opened else 0.0,
        )
