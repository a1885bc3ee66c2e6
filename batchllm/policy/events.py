"""What a gate reports: events, a snapshot, and the record of one call in flight."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from attrs import frozen

from batchllm.core import CallCost
from batchllm.policy.admission import Admitted
from batchllm.policy.bucket import Limit
from batchllm.policy.cooldown import Cause, State

__all__ = [
    "OUTAGE",
    "BracketMoved",
    "CooldownEnded",
    "EndpointDown",
    "EpisodeStarted",
    "GateEvent",
    "GateSnapshot",
    "LimitAdopted",
    "LimitSource",
    "OutageEnded",
    "OutageStarted",
    "PauseLengthened",
    "ScopeParked",
    "Send",
]

OUTAGE: Final = "outage"
"""The cause of a pause that is not a limit's: the endpoint does not answer."""

LimitSource: TypeAlias = Literal["header", "error body", "learned"]
"""Where a limit that nobody declared is known from."""


@frozen(kw_only=True)
class EpisodeStarted:
    """The scope pauses until *until*; *hinted* when the server asked for that."""

    at: float
    cause: Cause
    until: float
    hinted: bool


@frozen(kw_only=True)
class PauseLengthened:
    """A pause under way lasts until *until* now; *cause* is a ``Cause`` or ``OUTAGE``."""

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
class BracketMoved:
    """The search knows more: it paces at *pace* calls a second, *lo* is proven, *hi* refused."""

    at: float
    pace: float
    lo: float
    hi: float


@frozen(kw_only=True)
class ScopeParked:
    """Waiting does not help, or not before *until*."""

    at: float
    cause: Cause
    until: float | None


@frozen(kw_only=True)
class LimitAdopted:
    """From now on *limit* is in force, which was not declared but known from *source*."""

    at: float
    limit: Limit
    source: LimitSource


@frozen(kw_only=True)
class OutageStarted:
    """The last *failures* items, since *since*, got no answer; a canary goes at *until*."""

    at: float
    since: float
    failures: int
    until: float


@frozen(kw_only=True)
class OutageEnded:
    """The endpoint answers again, *length* seconds after the first failure."""

    at: float
    length: float


@frozen(kw_only=True)
class EndpointDown:
    """The endpoint is given up after *length* seconds; *answered* says if it ever answered."""

    at: float
    length: float
    answered: bool


GateEvent: TypeAlias = (
    EpisodeStarted
    | PauseLengthened
    | CooldownEnded
    | BracketMoved
    | LimitAdopted
    | OutageStarted
    | OutageEnded
    | EndpointDown
    | ScopeParked
)


@frozen(kw_only=True)
class GateSnapshot:
    """Where a gate stands. Instants are of the caller's clock, paces in calls per second.

    ``used`` is the share of each of ``limits`` that is taken now. ``cause`` is a ``Cause``, or
    ``OUTAGE`` while the endpoint does not answer.
    """

    state: State
    cause: str | None
    until: float | None
    in_flight: int
    calls: int | None
    pace: float | None
    lo: float | None
    hi: float | None
    limits: tuple[Limit, ...]
    used: tuple[float, ...]
    episodes: int
    consecutive: int
    sends: int
    throttled: int
    overloaded: int
    refused_share: float


class Send:
    """One call in flight, as its gate knows it."""

    __slots__ = ("admitted", "canary", "cost", "ended", "mark", "sent_at")

    def __init__(
        self, sent_at: float, cost: CallCost, mark: int, canary: bool, admitted: Admitted | None
    ) -> None:
        self.sent_at = sent_at
        self.cost = cost
        self.mark = mark
        self.canary = canary
        self.admitted = admitted
        self.ended = False
