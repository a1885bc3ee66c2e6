"""The protocol of a server with a quota, and its answer to one arrival."""

from typing import NamedTuple, Protocol


class Verdict(NamedTuple):
    """The server's decision on one request.

    Attributes:
        accepted: Whether the request is served.
        wait_hint: Seconds to wait that the refusal names, if it names any.
        delay: Seconds that an accepted request waits before it is served.
    """

    accepted: bool
    wait_hint: float | None = None
    delay: float = 0.0


ACCEPTED = Verdict(True)
"""Shared, since most verdicts are this one and a simulated hour has up to a million of them."""


class QuotaServer(Protocol):
    """A quota that a client cannot see. Times are seconds and must not go backwards."""

    notes_departures: bool
    """True if `depart` changes anything, so that a simulation may leave it out otherwise."""

    def arrive(self, now: float, tokens: float = 0.0, work: float = 0.0) -> Verdict:
        """Decide on a request of `tokens` whose answer takes `work` seconds to make."""
        ...

    def depart(self, now: float) -> None:
        """Note that an accepted request has been answered."""
        ...

    def sustained(self, begin: float, end: float) -> float:
        """Return how many requests the quota allows between two instants, bursts left out."""
        ...
