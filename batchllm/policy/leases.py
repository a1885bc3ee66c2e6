"""Messages between the workers of one shared quota and its authority.

A worker asks for *slots*: instants at which it may start one call each. The answer is a *lease*,
whose instants are counted from the moment of the answer, so that no clocks are compared. With its
next request the worker reports what its calls took, and whether the server refused any.
"""

from __future__ import annotations

from attrs import field, frozen

from batchllm.core import CallCost
from batchllm.policy.bucket import Limit, Settlement

__all__ = ["Correction", "Lease", "LeaseReport", "LeaseRequest", "Quota"]


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
class LeaseReport:
    """The findings of a worker since its last request.

    Attributes:
        corrections: For slots whose calls took something else than was booked.
        found: Limits that the server reported.
        closed_for: Seconds for which the server is not to be called after a refusal.
        canary: Whether the call that tests a closed scope was accepted; ``None`` if none ended.
    """

    corrections: tuple[Correction, ...] = ()
    found: tuple[Limit, ...] = ()
    closed_for: float = 0.0
    canary: bool | None = None


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
class Lease:
    """The answer: slots for the first of the calls that were asked for.

    Attributes:
        number: Of the request.
        at: The authority's clock at the answer; for reports only.
        opens: Seconds from the answer to the instant of each slot, in the order of the costs.
        hold: Seconds after its instant for which a slot is good.
        again_in: Seconds before which no further request for slots has an effect.
        canary: Whether it is the one call that tests a closed scope.
        free: Whether nothing is limited and the scope is open, so that no slots are needed.
        limits: Those in force, declared and reported.
        used: The share of each that is taken.
        workers: How many ask at present.
    """

    number: int
    at: float
    hold: float
    opens: tuple[float, ...] = ()
    again_in: float = 0.0
    canary: bool = False
    free: bool = False
    limits: tuple[Limit, ...] = ()
    used: tuple[float, ...] = ()
    workers: int = 1
