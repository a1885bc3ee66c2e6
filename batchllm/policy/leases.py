"""Messages between the workers of one shared quota and its authority.

A worker asks for *slots*: instants at which it may start one call each. The answer is a *lease*,
whose instants are counted from the moment of the answer, so that no clocks are compared. With its
next request the worker reports what its calls took, and how those ended from which the authority
learns the pace of a quota.
"""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from batchllm.core import CallCost
from batchllm.policy.bucket import Limit, Settlement

__all__ = [
    "CallEnd",
    "Correction",
    "EndOfCall",
    "Lease",
    "LeaseReport",
    "LeaseRequest",
    "Pause",
    "Quota",
]


EndOfCall = Literal["accepted", "unproven", "refused", "overloaded", "capped", "lost", "unsent"]


@frozen(kw_only=True)
class Quota:
    """The limits that all workers of one gate keep together.

    Attributes:
        limits: Declared ones; none to keep what others have declared.
        settlement: How the provider books tokens that were reserved and not used.
        hold: Seconds after a slot's instant for which its call may still start.
    """

    limits: tuple[Limit, ...] = ()
    settlement: Settlement = "refund"
    hold: float = 0.5


@frozen
class Correction:
    """The difference between what a slot was booked for and what its call took.

    Attributes:
        at: The slot's instant on the authority's clock.
        input_tokens: Taken beyond what was booked; negative for less.
        output_tokens: The same.
    """

    at: float
    input_tokens: int
    output_tokens: int


@frozen(kw_only=True)
class CallEnd:
    """The end of one call, from which the authority learns.

    Attributes:
        how: ``"unproven"`` is an end that says nothing of a quota, such as a timeout, ``"capped"``
            a refusal that names a cap on parallel calls, ``"lost"`` a call that was cut off, and
            ``"unsent"`` a slot in which none started.
        at: The slot's instant on the authority's clock.
        mark: The number of its slot; -1 if the authority did not count it.
        others: Calls that were in flight when it was booked.
        end: The number behind the last slot of the same instant.
        wait: Seconds that the server asked to wait.
        ago: Seconds since the call ended.
        explained: Whether a refusal came with a limit that was not known before.
    """

    how: EndOfCall
    at: float
    mark: int = -1
    others: int = 0
    end: int = 0
    wait: float | None = None
    ago: float = 0.0
    explained: bool = False


@frozen(kw_only=True)
class LeaseReport:
    """The findings of a worker since its last request.

    Attributes:
        corrections: For slots whose calls took something else than was booked.
        found: Limits that the server reported.
        ends: Of calls from which the authority learns a pace.
        closed_for: Seconds for which a fixed policy of the user's pauses after a refusal.
    """

    corrections: tuple[Correction, ...] = ()
    found: tuple[Limit, ...] = ()
    ends: tuple[CallEnd, ...] = ()
    closed_for: float = 0.0


@frozen(kw_only=True)
class LeaseRequest:
    """A worker's request for slots.

    Attributes:
        worker: Its name, which no other has.
        number: Counts its requests; a report counts once, however often its number comes.
        scope: Whose quota it is, if one store keeps several.
        quota: What the worker declares.
        costs: What the calls that wait take, in their order; a slot is asked for each.
        report: What it learned.
    """

    worker: str
    number: int
    scope: str = ""
    quota: Quota = field(factory=Quota)
    costs: tuple[CallCost, ...] = ()
    report: LeaseReport = field(factory=LeaseReport)


@frozen(kw_only=True)
class Pause:
    """The reason why no worker gets slots, or only one does.

    Attributes:
        cause: A ``Cause``.
        seconds: Until one call may go alone; 0 while a refusal is judged, or such a call tried.
        hinted: Whether the server said how long to wait.
        refused_for: Seconds since a call was refused, if none was answered since; else 0.
    """

    cause: str
    seconds: float = 0.0
    hinted: bool = False
    refused_for: float = 0.0


@frozen(kw_only=True)
class Lease:
    """The answer: slots for the first of the calls that were asked for.

    Attributes:
        number: Of the request.
        at: The authority's clock at the answer; for reports only.
        opens: Seconds from the answer to the instant of each slot, in the order of the costs.
        hold: Seconds after its instant for which a slot is good.
        again_in: Seconds before which no further request for slots has an effect.
        mark: The number of the first slot, whose call's end is to be reported, as are those of the
            others; -1 if only refusals are.
        others: Calls that were in flight when it was booked.
        canary: Whether it is the one call that tests a closed scope.
        pause: What holds all workers back.
        rate: Calls per second that the server was measured to accept; ``None`` while unknown.
        limits: Those in force, declared and reported.
        used: The share of each that is taken.
        workers: How many ask at present.
    """

    number: int
    at: float
    hold: float
    opens: tuple[float, ...] = ()
    again_in: float = 0.0
    mark: int = -1
    others: int = 0
    canary: bool = False
    pause: Pause | None = None
    rate: float | None = None
    limits: tuple[Limit, ...] = ()
    used: tuple[float, ...] = ()
    workers: int = 1
