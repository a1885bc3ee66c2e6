"""The slots of a lease as their worker keeps them, by its own clock."""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

from attrs import define, frozen

from batchllm.core import CallCost
from batchllm.policy.leases import CallEnd, Lease

__all__ = ["LeaseCounts", "Slot", "Wakes", "slot_of"]


class Wakes(Protocol):
    """The task that asks for leases."""

    def wake(self) -> None:
        """Look whether more slots are needed; cheap, as every call without a slot says so."""

    def hurry(self) -> None:
        """Ask at once, whether or not slots are to be had: there is something to report."""


@define(eq=False)
class Slot:
    """The right to start one call within a stretch of time. Live state."""

    opens: float
    closes: float
    cost: CallCost
    at: float
    canary: bool
    end: CallEnd
    """The report of its call; how it ended is filled in then."""


@frozen(kw_only=True)
class LeaseCounts:
    """The counts of a worker's leases.

    Attributes:
        leases: Answers of the authority.
        slots: Slots that they had.
        used: Of these, the ones in which a call started.
        late: Of these, the ones that were over before the answer was there.
        asking_seconds: Seconds from the requests to the answers, summed.
    """

    leases: int = 0
    slots: int = 0
    used: int = 0
    late: int = 0
    asking_seconds: float = 0.0


def slot_of(lease: Lease, place: int, cost: CallCost, asked_at: float, now: float) -> Slot:
    """Return one slot of a lease that was asked for at *asked_at* and came at *now*.

    The answer was given between the two: a slot opens by the latest reading of its instant and
    closes by the earliest.
    """
    opens = lease.opens[place]
    return Slot(
        now + opens,
        asked_at + opens + lease.hold,
        cost,
        lease.at + opens,
        lease.canary,
        _end(lease, place, opens),
    )


def _end(lease: Lease, place: int, opens: float) -> CallEnd:
    """Return what is reported of a slot in which no call starts."""
    at = lease.at + opens
    if lease.mark < 0:
        return CallEnd(how="unsent", at=at)
    behind = lease.mark + bisect_right(lease.opens, opens)
    mark, others = lease.mark + place, lease.others + place
    return CallEnd(how="unsent", at=at, mark=mark, others=others, end=behind)
