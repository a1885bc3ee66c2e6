"""The reports of a rate limiter: events, a snapshot, and the record of a call in flight."""

from __future__ import annotations

from typing import Final, TypeAlias

from attrs import frozen

from batchllm.core import CallCost
from batchllm.policy.admission import Admitted
from batchllm.policy.bucket import Limit
from batchllm.policy.cooldown import Cause, State

__all__ = [
    "OUTAGE",
    "CapLearned",
    "CapReported",
    "CooldownEnded",
    "EndpointDown",
    "EpisodeStarted",
    "GateEvent",
    "GateSnapshot",
    "LimitAdopted",
    "OutageEnded",
    "OutageStarted",
    "PaceLearned",
    "PauseLengthened",
    "ScopeParked",
    "Send",
    "adoption_event",
]

OUTAGE: Final = "outage"
"""The cause of a pause that is not a limit's: the endpoint does not answer."""


@frozen(kw_only=True)
class EpisodeStarted:
    """The scope pauses until *until*; *hinted* if the server asked for that."""

    at: float
    cause: Cause
    until: float
    hinted: bool


@frozen(kw_only=True)
class PauseLengthened:
    """A pause goes on until *until*, since the call that tested the scope failed again.

    *cause* is a ``Cause`` or ``OUTAGE``.
    """

    at: float
    cause: str
    until: float
    hinted: bool


@frozen(kw_only=True)
class CooldownEnded:
    """The scope goes on after a pause of *length* seconds."""

    at: float
    cause: Cause
    length: float


@frozen(kw_only=True)
class PaceLearned:
    """The server was measured to accept *rate* calls a second."""

    at: float
    rate: float


@frozen(kw_only=True)
class CapLearned:
    """The server was found to take *calls* at a time; ``None`` if that proved wrong."""

    at: float
    calls: int | None


@frozen(kw_only=True)
class LimitAdopted:
    """From now on *limit* is in force, which was not declared; *source* says how it is known."""

    at: float
    limit: Limit
    source: str


@frozen(kw_only=True)
class CapReported:
    """The server reported that it takes *calls* at a time; *source* says where."""

    at: float
    calls: int
    source: str


@frozen(kw_only=True)
class OutageStarted:
    """The last *failures* calls, since *since*, got no answer; a canary goes at *until*.

    *reason* is what the last of them failed with, in words.
    """

    at: float
    since: float
    failures: int
    until: float
    reason: str = ""


@frozen(kw_only=True)
class OutageEnded:
    """The endpoint answers again, *length* seconds after the first failure."""

    at: float
    length: float


@frozen(kw_only=True)
class EndpointDown:
    """The endpoint is given up after *length* seconds; *answered* says if it ever answered.

    *reason* is what the last call failed with, in words.
    """

    at: float
    length: float
    answered: bool
    reason: str = ""


@frozen(kw_only=True)
class ScopeParked:
    """Waiting does not help, or not before *until*."""

    at: float
    cause: Cause
    until: float | None


GateEvent: TypeAlias = (
    EpisodeStarted
    | PauseLengthened
    | CooldownEnded
    | PaceLearned
    | CapLearned
    | LimitAdopted
    | CapReported
    | OutageStarted
    | OutageEnded
    | EndpointDown
    | ScopeParked
)


def adoption_event(now: float, adopted: Limit | int, source: str) -> LimitAdopted | CapReported:
    """Return the event of a limit that is in force from *now* on; a number caps calls in flight."""
    if isinstance(adopted, int):
        return CapReported(at=now, calls=adopted, source=source)
    return LimitAdopted(at=now, limit=adopted, source=source)


@frozen(kw_only=True)
class GateSnapshot:
    """The state of a gate. Instants are of the caller's clock, paces in calls per second.

    ``cause`` is a ``Cause``, or ``OUTAGE`` while the endpoint does not answer. ``used`` is the
    share of each of ``limits`` that is taken now; ``rate`` is what the server was
    measured to accept, ``pace`` what is sent now, ``cap`` the learned number of calls in flight,
    ``reported_cap`` the one that the server reported.
    """

    state: State
    cause: str | None
    until: float | None
    in_flight: int
    calls: int | None
    pace: float | None
    rate: float | None
    cap: int | None
    limits: tuple[Limit, ...]
    used: tuple[float, ...]
    episodes: int
    consecutive: int
    sends: int
    throttled: int
    overloaded: int
    refused_share: float
    reported_cap: int | None = None


class Send:
    """One call in flight, as its rate limiter knows it.

    Attributes:
        mark: Its number among the sends of the scope.
        others: Calls that were in flight beside it when it was sent.
        end: The mark behind it; of the first send of an instant, the one behind the last.
    """

    __slots__ = (
        "_first", "admitted", "canary", "cost", "end", "ended", "mark", "others", "sent_at",
    )  # fmt: skip

    def __init__(
        self,
        sent_at: float,
        cost: CallCost,
        mark: int,
        others: int,
        last: Send | None,
        canary: bool = False,
        admitted: Admitted | None = None,
    ) -> None:
        self.sent_at = sent_at
        self.cost = cost
        self.mark = mark
        self.others = others
        self.canary = canary
        self.admitted = admitted
        self.ended = False
        self.end = mark + 1
        # `None` for the first itself: a call that refers to itself, and with it what it reserved,
        # would be left for the garbage collector to find, at every call.
        self._first: Send | None = None
        if last is not None and last.sent_at == sent_at:
            self._first = last._first or last
            self._first.end = self.end

    @property
    def end_of_instant(self) -> int:
        """The mark behind the last send of the same instant."""
        return self.end if self._first is None else self._first.end
