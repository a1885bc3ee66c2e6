"""Several limits taken together or not at all: declared ones, and those that the server reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from batchllm.core import CallCost, LimitHint, ServerHint
from batchllm.policy.bucket import PACED_UP_TO, Limit, Reservation, Settlement
from batchllm.policy.buckets import Buckets
from batchllm.policy.leased_bucket import LeasedBucket, LeasedReservation
from batchllm.policy.releases import Releases
from batchllm.policy.reports import Reports
from batchllm.policy.units import NO_UNITS, PLACES, Units, difference, units_of

__all__ = ["Admission", "Admitted", "actual_cost"]

_NOTHING: Final = CallCost(0, 0, 0)


class Admitted:
    """The booking of one call: what, when, and how much had been sent up to and with it.

    *number* is its own among all that were booked.
    """

    __slots__ = ("at", "cost", "number", "reservations", "sent")

    def __init__(
        self,
        reservations: tuple[Reservation | LeasedReservation, ...],
        sent: Units,
        cost: CallCost,
        at: float,
        number: int,
    ) -> None:
        self.reservations = reservations
        self.sent = sent
        self.cost = cost
        self.at = at
        self.number = number

    @property
    def leased(self) -> LeasedReservation | None:
        """The slot that was taken of a quota shared with others."""
        last = self.reservations[-1] if self.reservations else None
        return last if isinstance(last, LeasedReservation) else None


class Admission:
    """All limits of one quota scope: declared ones, and those that the server reports.

    A declared limit stands before one that the server reports for the same dimension. What the
    server says is *left* can only hold calls back, never let more through.

    Args:
        limits: The declared limits.
        settlement: How the provider books tokens that were reserved and not used.
        own_address: Whether the scope is at a provider's own address, where a limit that names no
            period is one of a minute (or, by its reset, of a day). Elsewhere it has the period
            that replies show.
        leased: What this worker may take of limits that are shared with others.

    Attributes:
        counts_tokens: Whether anything beside requests is limited.
    """

    __slots__ = (
        "_booked", "_buckets", "_leased", "_releases", "_reports", "_sent", "counts_tokens",
    )  # fmt: skip

    def __init__(
        self,
        limits: Iterable[Limit] = (),
        *,
        settlement: Settlement = "refund",
        own_address: bool = False,
        leased: LeasedBucket | None = None,
    ) -> None:
        self._leased = leased
        self._buckets = Buckets(limits, settlement)
        if leased is not None:  # what all keep together is not replaced by what a reply says
            shared = frozenset(limit.dimension for limit in leased.limits)
            self._buckets.declared |= shared
        self._reports = Reports(self._buckets, own_address=own_address)
        self._sent = NO_UNITS
        self._booked = 0
        self._releases = Releases()
        self.counts_tokens = any(dimension != "requests" for dimension in self._buckets.declared)

    @property
    def empty(self) -> bool:
        """Return whether nothing is limited."""
        return not self._buckets.kept and not self._reports.limits and self._leased is None

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits in force, declared and reported; those that are shared come first."""
        shared = () if self._leased is None else self._leased.limits
        kept = [bucket.limit for bucket in self._buckets.kept]
        return (*shared, *kept, *self._reports.extra().values())

    @property
    def limits_requests(self) -> bool:
        """Return whether a pace of requests is declared, or reported and confirmed.

        A limit of a day does not count: it leaves open how many may be sent in a minute.
        """
        if any(each.limit.dimension == "requests" and each.paced for each in self._buckets.kept):
            return True
        shared = () if self._leased is None else self._leased.limits
        return any(
            limit.dimension == "requests" and limit.per <= PACED_UP_TO
            for limit in (*shared, *self._reports.sure.values())
        )

    @property
    def parallel_cap(self) -> int | None:
        """The calls in flight at once that the server allows, as it reported; ``None`` if not."""
        return self._reports.parallel_cap

    @property
    def unbooked(self) -> Admitted:
        """The stand-in for a call that was sent before any limit was known."""
        return Admitted((), self._sent, _NOTHING, 0.0, self._booked)

    def drain_adopted(self) -> list[tuple[Limit | int, str]]:
        """Return what was adopted since this was last called, and where each came from.

        A number is a cap on calls in flight.
        """
        return self._reports.drain_adopted()

    def used(self, now: float) -> tuple[float, ...]:
        """The share of each limit that is taken now, in the order of ``limits``."""
        sent = self._sent
        return (
            *(() if self._leased is None else self._leased.used),
            *(bucket.used(now) for bucket in self._buckets.kept),
            *(
                self._reports.limits[key].used(now, sent[PLACES[key[0]]])
                for key in self._reports.extra()
            ),
        )

    def declare(self, limits: Iterable[Limit]) -> None:
        """Go on with other declared limits; what was sent stays counted where the window stays."""
        self._buckets.declare(limits)
        self.recount()

    def recount(self) -> None:
        """Look again which dimensions are limited."""
        reported = (dimension for dimension, _ in self._reports.limits)
        buckets = (bucket.limit.dimension for bucket in self._buckets.kept)
        self.counts_tokens = any(one != "requests" for one in (*reported, *buckets))
        self.counts_tokens |= self._leased is not None and self._leased.counts_tokens

    def oversize(self, cost: CallCost) -> Limit | None:
        """The first limit that *cost* can never pass."""
        shared = None if self._leased is None else self._leased.oversize(cost)
        return shared or next(
            (each.limit for each in self._buckets.kept if each.oversize(cost)), None
        )

    def next_time(self, now: float, cost: CallCost) -> float:
        """The earliest instant when no limit holds *cost* back; ``inf`` if one always does."""
        at = now
        for bucket in self._buckets.kept:
            at = max(at, bucket.next_time(now, cost))
        if self._leased is not None:
            at = max(at, self._leased.next_time(now, cost))
        return max(at, self._reported_time(now, cost)) if self._reports.limits else at

    def spent_until(self, now: float, cost: CallCost) -> float:
        """Return when *cost* may pass a stock drawn from for hours, or what the server has left.

        A limit that is paced by the minute never holds a call for long.
        """
        stocks = max(
            (each.next_time(now, cost) for each in self._buckets.kept if not each.paced),
            default=now,
        )
        if self._leased is not None:
            stocks = max(stocks, self._leased.next_time(now, cost))
        return max(stocks, self._reported_time(now, cost))

    def _reported_time(self, now: float, cost: CallCost) -> float:
        at, sent, wanted = now, self._sent, units_of(cost)
        for (dimension, _), reported in self._reports.limits.items():
            place = PLACES[dimension]
            free_at = reported.next_time(now, wanted[place], sent[place])
            if free_at > at:
                at = free_at
        return at

    def take(self, now: float, cost: CallCost) -> Admitted:
        """Book *cost* in every limit; cheap if there is none, so that it may always be called."""
        self._booked += 1
        # Written out, since this runs for every call, limited or not.
        requests, tokens, taken_in, taken_out = self._sent
        given, produced = cost.input_tokens, cost.output_tokens
        sent = self._sent = (
            requests + cost.requests, tokens + given + produced,
            taken_in + given, taken_out + produced,
        )  # fmt: skip
        if self._reports.limits:
            taken = units_of(cost)
            for (dimension, _), reported in self._reports.limits.items():
                place = PLACES[dimension]
                reported.on_take(now, taken[place], sent[place])
        if not self._buckets.kept and self._leased is None:
            return Admitted((), sent, cost, now, self._booked)
        reservations: list[Reservation | LeasedReservation] = [
            bucket.take(now, cost) for bucket in self._buckets.kept
        ]
        if self._leased is not None:
            reservations.append(self._leased.take(now, cost))
        return Admitted(tuple(reservations), sent, cost, now, self._booked)

    def settle(self, admitted: Admitted, actual: CallCost | None) -> None:
        """End a call; *actual* is what it cost, ``None`` where that is unknown."""
        for reservation in admitted.reservations:
            reservation.settle(actual)

    def release(self, admitted: Admitted) -> None:
        """Take back a call whose bytes never left.

        What replies leave is counted from what was sent, so that what was not must not stay
        booked: only a reply would make up for it, and one may never come.
        """
        freed = units_of(admitted.cost)
        for (dimension, _), reported in self._reports.limits.items():
            order = self._order(admitted, dimension)
            reported.on_release(freed[PLACES[dimension]], admitted.at, order)
        self._releases.add(admitted.number, self._booked, freed)
        self._sent = difference(self._sent, freed)
        for reservation in admitted.reservations:
            reservation.release()

    # -- what replies show -------------------------------------------------------------------

    def on_accepted(self, now: float, sent_at: float) -> None:
        """Note that a call sent at *sent_at* was accepted: answers overrule what was claimed."""
        self._reports.on_accepted(now, sent_at)

    def on_refused(self, now: float, sent_at: float) -> None:
        """Note that a call sent at *sent_at* was refused."""
        self._reports.on_refused(now, sent_at)

    def explains(self, hint: ServerHint | None) -> bool:
        """Return whether a refusal was for tokens of which it is followed how many are left."""
        return hint is not None and any(map(self._reports.explains, hint.limits))

    def gave_back(self, hint: ServerHint, since: float) -> bool:
        """Return whether a call beside a refused one gave back tokens after *since*."""
        return any(self._reports.gave_back(limit, since) for limit in hint.limits)

    def observe(self, hint: LimitHint, now: float, sent_at: float, admitted: Admitted) -> bool:
        """Learn what a reply to a call sent at *sent_at* reported.

        Replies older than the newest one seen, and values that make no sense, have no effect.

        Returns:
            Whether it made a limit known that was not known before.
        """
        if hint.dimension == "concurrency":
            self._reports.observe_parallel(hint)
            return False
        if hint.dimension not in PLACES:
            return False
        order = self._order(admitted, hint.dimension)
        adopted = self._reports.observe(hint, now, sent_at, order)
        self.counts_tokens |= hint.dimension != "requests" and not self.empty
        return adopted

    def _order(self, admitted: Admitted, dimension: str) -> int:
        """Return the units of *dimension* that were sent up to and with a call, as known now."""
        place = PLACES[dimension]
        order = admitted.sent[place]
        if self._releases:  # hardly ever
            order -= self._releases.before(admitted.number)[place]
        return order


def actual_cost(cost: CallCost, given: int | None, produced: int | None) -> CallCost | None:
    """Return what a call took, its estimate standing in for one unknown side; ``None`` for both."""
    if given is None and produced is None:
        return None
    return CallCost(
        cost.requests,
        cost.input_tokens if given is None else given,
        cost.output_tokens if produced is None else produced,
    )
