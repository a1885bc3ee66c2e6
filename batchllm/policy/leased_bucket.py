"""A worker's side of a shared quota: slots in which its calls may start, and what they took.

It stands beside the other buckets of admission. Without a slot that is good for it no call starts,
whatever becomes of the authority: a gate that cannot be reached holds calls back and never opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from attrs import define, evolve

from batchllm.core import CallCost
from batchllm.policy.bucket import Limit
from batchllm.policy.lease_reports import LeaseReports
from batchllm.policy.lease_slots import LeaseCounts, Slot, Wakes, slot_of
from batchllm.policy.leases import EndOfCall, Lease, LeaseRequest, Pause, Quota

__all__ = ["CUT_OFF", "SHARED", "LeaseCounts", "LeasedBucket", "LeasedReservation"]

SHARED: Final = "shared"
"""The cause of waits for a share of a quota that is kept together with others."""
CUT_OFF: Final = "shared_unreachable"
"""The cause of such waits while the authority cannot be reached."""
_LEAD: Final = 0.25
"""Seconds before the last slot's instant at which more are asked for; the way there and back has
to be shorter."""
_FOR_LONG: Final = 30.0
"""Seconds from which on a wait is one for a stock, such as a day's, so that a scope may park."""
_ENDS_WITHIN: Final = 0.5
"""Seconds within which ends are reported, while others may wait for the places of those calls."""


@define(eq=False)
class LeasedReservation:
    """The slot of one call until the call ends; ``None`` if it needed none."""

    bucket: LeasedBucket
    slot: Slot | None
    cost: CallCost
    settled: bool = False
    reported: bool = False

    def settle(self, actual: CallCost | None) -> None:
        """End the call, which cost *actual*; ``None`` where that is unknown."""
        self.bucket.settle(self, actual)

    def release(self) -> None:
        """Take the call back, whose bytes never left."""
        self.bucket.release(self)


class LeasedBucket:
    """Keeps the share of a quota that an authority gives to this worker. Live state.

    Args:
        worker: A name that no other worker has.
        scope: Whose quota it is, if a store keeps several.
        quota: What is declared.
        need: Woken when a call waits for a slot.

    Attributes:
        limits: Those in force, for all workers together.
        used: The share of each that is taken by all.
        pause: What holds all workers back, as the authority said last.
        rate: Calls per second that the server was measured to accept from all.
        workers: How many ask at present, as the authority said last.
        cut_off: Whether the authority cannot be reached; its owner sets it.
    """

    __slots__ = (
        "_again_at", "_asked_at", "_late", "_leases", "_need", "_quota", "_reports", "_scope",
        "_slots", "_spent", "_taken", "_total", "_tries_since", "_worker", "cut_off", "limits",
        "pause", "rate", "used", "workers",
    )  # fmt: skip

    def __init__(self, worker: str, scope: str, quota: Quota, need: Wakes) -> None:
        self._worker, self._scope, self._quota, self._need = worker, scope, quota, need
        self.limits: tuple[Limit, ...] = quota.limits
        self.used: tuple[float, ...] = (0.0,) * len(quota.limits)
        self.pause: Pause | None = None
        self.rate: float | None = None
        self.cut_off = False
        self.workers = 1
        self._slots: list[Slot] = []
        self._reports = LeaseReports()
        self._tries_since = -inf
        self._again_at = self._asked_at = -inf
        self._leases = self._total = self._taken = self._late = 0
        self._spent = 0.0

    # -- as a bucket -------------------------------------------------------------------------

    @property
    def counts_tokens(self) -> bool:
        """Return whether anything beside requests is limited."""
        return any(limit.dimension != "requests" for limit in self.limits)

    def oversize(self, cost: CallCost) -> Limit | None:
        """Return the limit that *cost* can never pass, if there is one."""
        for limit in self.limits:
            if self._taken_of(limit, cost) > limit.enforced[0]:
                return limit
        return None

    def next_time(self, now: float, cost: CallCost) -> float:
        """Return when *cost* may start; ``inf`` until the next lease, which is asked for."""
        self._expire(now)
        for slot in self._slots:
            if self._fits(slot, cost):
                return max(now, slot.opens)
        if self.oversize(cost) is None:
            self._need.wake()
            if self._again_at - now > _FOR_LONG:
                return self._again_at
        return inf

    def take(self, now: float, cost: CallCost) -> LeasedReservation:
        """Start a call of *cost* at *now*, which is ``next_time`` or later."""
        for place, slot in enumerate(self._slots):
            if slot.opens <= now and self._fits(slot, cost):
                del self._slots[place]
                self._taken += 1
                return LeasedReservation(self, slot, cost)
        # The call was made without asking.
        return LeasedReservation(self, None, cost)

    def settle(self, reservation: LeasedReservation, actual: CallCost | None) -> None:
        """End a call that cost *actual*; ``None`` where that is unknown and all is kept."""
        slot = self._end(reservation)
        if slot is None:
            return
        took, booked = reservation.cost, slot.cost
        if actual is not None:
            keeps = self._quota.settlement == "keep"
            took = CallCost(
                1,
                max(actual.input_tokens, took.input_tokens if keeps else 0),
                max(actual.output_tokens, took.output_tokens if keeps else 0),
            )
        self._correct(slot.at, booked, took)

    def release(self, reservation: LeasedReservation) -> None:
        """Take back a call whose bytes provably never left: its slot is free again."""
        slot = self._end(reservation)
        if slot is not None:
            self._taken -= 1
            self._slots.append(slot)
            self._slots.sort(key=lambda each: each.opens)

    def on_end(
        self,
        now: float,
        reservation: LeasedReservation,
        how: EndOfCall,
        *,
        wait: float | None = None,
        explained: bool = False,
    ) -> None:
        """Note how the server took a call, for all workers' sake.

        A refusal is reported at once. Slots that are left may be used until the authority says
        that the scope is closed: what becomes of their calls shows what the refusal means.
        """
        slot, refused = reservation.slot, how in ("refused", "overloaded")
        if slot is None or reservation.reported or (slot.end.mark < 0 and not refused):
            return
        reservation.reported = True
        self._reports.end(now, evolve(slot.end, how=how, wait=wait, explained=explained))
        if refused or slot.canary:
            self._reports.urgent = True
            self._need.hurry()

    # -- as a worker -------------------------------------------------------------------------

    def cause(self, now: float, cost: CallCost) -> str | None:
        """Return why *cost* may not start, if it is for want of a slot."""
        if self.next_time(now, cost) <= now:
            return None
        return CUT_OFF if self.cut_off else SHARED

    def restart(self, now: float) -> None:
        """Forget the slots, since another event loop goes on, whose clock may be another."""
        self._give_back(now)
        self._reports.restart(now)
        self._again_at = self._asked_at = self._tries_since = -inf

    def refused_for(self, now: float) -> float:
        """Return the seconds since when nothing was accepted, since this worker began to try."""
        if self.pause is None:
            return 0.0
        return min(self.pause.refused_for, now - self._tries_since)

    def try_again(self, now: float) -> None:
        """Note that this worker begins to try anew, whatever was refused before."""
        self._tries_since = now

    def counts(self) -> LeaseCounts:
        """Return what the leases came to so far."""
        return LeaseCounts(
            leases=self._leases,
            slots=self._total,
            used=self._taken,
            late=self._late,
            asking_seconds=self._spent,
        )

    def on_found(self, limit: Limit) -> None:
        """Note a limit that the server reported, for all workers."""
        self._reports.find(limit)

    @property
    def again_at(self) -> float:
        """The instant before which no request for slots has an effect."""
        return self._again_at

    def due(self, now: float, demand: Sequence[CallCost], beat: float) -> float:
        """Return when to ask next, if nothing changes.

        Args:
            now: Seconds on the worker's clock.
            demand: What the calls that wait take.
            beat: Seconds between two requests of a worker that needs no slot.
        """
        if self._reports.urgent:
            return now
        heartbeat = self._asked_at + (min(beat, _ENDS_WITHIN) if self._reports.has_ends else beat)
        left = sum(slot.closes >= now for slot in self._slots)
        if left >= len(demand) and not self._lacking(now, demand):
            return heartbeat
        lead = self._slots[-1].opens - _LEAD if self._slots else now
        return min(heartbeat, max(lead, self._again_at))

    def ask(self, now: float, demand: Sequence[CallCost], closed_for: float) -> LeaseRequest:
        """Return the request to be sent at *now*.

        Args:
            now: Seconds on the worker's clock.
            demand: What the calls that wait take, in their order.
            closed_for: Seconds for which this worker pauses after a refusal.
        """
        self._expire(now)
        self._asked_at = now
        number, report = self._reports.next(now, closed_for)
        return LeaseRequest(
            worker=self._worker,
            number=number,
            scope=self._scope,
            quota=self._quota,
            costs=() if now < self._again_at else tuple(self._lacking(now, demand)),
            report=report,
        )

    def on_lease(self, request: LeaseRequest, lease: Lease, asked_at: float, now: float) -> None:
        """Take in the answer to *request*, which was sent at *asked_at* and came at *now*."""
        if not self._reports.on_answer(lease.number):
            return  # an answer that comes twice
        self._leases += 1
        self._spent += now - asked_at
        self.limits, self.used = lease.limits, lease.used
        self.pause, self.rate, self.workers = lease.pause, lease.rate, lease.workers
        if self._tries_since == -inf:
            self._tries_since = now
        if request.costs:
            self._again_at = now + lease.again_in
        for place, (cost, _) in enumerate(zip(request.costs, lease.opens, strict=False)):
            slot = slot_of(lease, place, cost, asked_at, now)
            self._total += 1
            if slot.closes < slot.opens:
                self._late += 1
                self._lose(now, slot)
            else:
                self._slots.append(slot)
        self._slots.sort(key=lambda each: each.opens)

    # -- inside ------------------------------------------------------------------------------

    def _lacking(self, now: float, demand: Sequence[CallCost]) -> list[CallCost]:
        """Return the costs of *demand* that no slot is left for."""
        slots = [slot for slot in self._slots if slot.closes >= now]
        lacking = list[CallCost]()
        for number, cost in enumerate(demand):
            if not slots:
                return [*lacking, *demand[number:]]
            place = next((i for i, slot in enumerate(slots) if self._fits(slot, cost)), None)
            if place is None:
                lacking.append(cost)
            else:
                del slots[place]
        return lacking

    def _fits(self, slot: Slot, cost: CallCost) -> bool:
        return cost == slot.cost or all(
            self._taken_of(limit, cost) <= self._taken_of(limit, slot.cost) for limit in self.limits
        )

    def _taken_of(self, limit: Limit, cost: CallCost) -> int:
        if self._quota.settlement == "input_only" and limit.dimension == "tokens":
            return cost.input_tokens
        return limit.cost_of(cost)

    def _correct(self, at: float, booked: CallCost, took: CallCost) -> None:
        if self.counts_tokens:
            self._reports.correct(at, booked, took)

    def _end(self, reservation: LeasedReservation) -> Slot | None:
        if reservation.settled:
            msg = "This reservation has ended already; each one is settled or released once."
            raise ValueError(msg)
        reservation.settled = True
        return reservation.slot

    def _expire(self, now: float) -> None:
        """Lose the slots that are over; their tokens go back, since no call took them."""
        while self._slots and self._slots[0].closes < now:
            self._lose(now, self._slots.pop(0))

    def _give_back(self, now: float) -> None:
        for slot in self._slots:
            self._lose(now, slot)
        self._slots.clear()

    def _lose(self, now: float, slot: Slot) -> None:
        self._correct(slot.at, slot.cost, CallCost(1, 0, 0))
        if slot.end.mark >= 0:
            self._reports.end(now, slot.end)
