"""Several limits taken together or not at all, and what the server says is left of them."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Final, cast

from attrs import define

from batchllm.core import CallCost, LimitHint
from batchllm.policy.bucket import Bucket, Limit, LimitDimension, Reservation, Settlement

__all__ = ["Admission", "Admitted"]

_DIMENSIONS: Final = ("requests", "tokens", "input_tokens", "output_tokens")
_LONGEST: Final = 40 * 86_400.0


@define(eq=False)
class Admitted:
    """What one call holds, and how much had been sent up to and with it."""

    reservations: tuple[Reservation, ...]
    sent: CallCost


@define(eq=False)
class _Told:
    """What a reply said is left. It bounds what is sent after that reply's own request."""

    sent_at: float
    told_at: float
    remaining: int
    sent_before: int
    reset: float
    refill: float

    def next_time(self, now: float, units: int, sent: int) -> float:
        missing = units - (self.remaining - (sent - self.sent_before))
        if missing <= 0:
            return now
        wait = min(self.reset, missing / self.refill) if self.refill > 0 else self.reset
        return max(now, self.told_at + wait)


class Admission:
    """All limits of one quota scope: declared ones, and those that the server tells.

    A declared limit stands before one that the server tells for the same dimension. What the
    server says is *left* can only hold calls back, never let more through.

    Args:
        limits: The declared limits.
        settlement: How the provider books tokens that were reserved and not used.

    Attributes:
        counts_tokens: Whether anything beside requests is limited.
    """

    __slots__ = ("_buckets", "_declared", "_sent", "_settlement", "_told", "counts_tokens")

    def __init__(self, limits: Iterable[Limit] = (), *, settlement: Settlement = "refund") -> None:
        self._settlement: Settlement = settlement
        self._buckets = [Bucket(limit, settlement=settlement) for limit in limits]
        self._declared = frozenset(bucket.limit.dimension for bucket in self._buckets)
        self._told: dict[str, _Told] = {}
        self._sent = CallCost(0)
        self.counts_tokens = any(dimension != "requests" for dimension in self._declared)

    @property
    def empty(self) -> bool:
        """Whether nothing is limited."""
        return not self._buckets and not self._told

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits in force, declared and told."""
        return tuple(bucket.limit for bucket in self._buckets)

    @property
    def limits_requests(self) -> bool:
        """Whether a limit on requests is known."""
        return any(bucket.limit.dimension == "requests" for bucket in self._buckets)

    @property
    def unbooked(self) -> Admitted:
        """What stands for a call that was sent before any limit was known."""
        return Admitted((), self._sent)

    def used(self, now: float) -> tuple[float, ...]:
        """The share of each limit that is taken now, in the order of ``limits``."""
        return tuple(bucket.used(now) for bucket in self._buckets)

    def declare(self, limits: Iterable[Limit]) -> None:
        """Go on with other declared limits; what was sent stays counted where the window stays."""
        told = [each for each in self._buckets if each.limit.dimension not in self._declared]
        before = {_window(each.limit): each for each in self._buckets if each not in told}
        declared = list(limits)
        self._declared = frozenset(limit.dimension for limit in declared)
        self._buckets = [
            before.get(_window(limit)) or Bucket(limit, settlement=self._settlement)
            for limit in declared
        ]
        for bucket, limit in zip(self._buckets, declared, strict=True):
            bucket.resize(limit)
        self._buckets += [each for each in told if each.limit.dimension not in self._declared]
        self.counts_tokens = any(
            dimension != "requests"
            for dimension in (*self._told, *(each.limit.dimension for each in self._buckets))
        )

    def oversize(self, cost: CallCost) -> Limit | None:
        """The first limit that *cost* can never pass."""
        return next((each.limit for each in self._buckets if each.oversize(cost)), None)

    def next_time(self, now: float, cost: CallCost) -> float:
        """The earliest instant when no limit holds *cost* back; ``inf`` if one always does."""
        at = now
        for bucket in self._buckets:
            at = max(at, bucket.next_time(now, cost))
        return max(at, self._told_time(now, cost))

    def spent_until(self, now: float, cost: CallCost) -> float:
        """When *cost* may pass a stock that is drawn from for hours, or what the server has left.

        A limit that is paced by the minute never makes anybody wait for long.
        """
        stocks = max(
            (each.next_time(now, cost) for each in self._buckets if not each.paced), default=now
        )
        return max(stocks, self._told_time(now, cost))

    def _told_time(self, now: float, cost: CallCost) -> float:
        at = now
        for dimension, told in self._told.items():
            units, sent = getattr(cost, dimension), getattr(self._sent, dimension)
            at = max(at, told.next_time(now, units, sent))
        return at

    def take(self, now: float, cost: CallCost) -> Admitted:
        """Book *cost* in every limit."""
        sent = self._sent
        self._sent = sent = CallCost(
            sent.requests + cost.requests,
            sent.input_tokens + cost.input_tokens,
            sent.output_tokens + cost.output_tokens,
        )
        return Admitted(tuple([bucket.take(now, cost) for bucket in self._buckets]), sent)

    def settle(self, admitted: Admitted, actual: CallCost | None) -> None:
        """End a call; *actual* is what it cost, ``None`` where that is unknown."""
        for reservation in admitted.reservations:
            reservation.bucket.settle(reservation, actual)

    def release(self, admitted: Admitted) -> None:
        """Take back a call whose bytes never left."""
        for reservation in admitted.reservations:
            reservation.bucket.release(reservation)

    def observe(self, hint: LimitHint, now: float, sent_at: float, admitted: Admitted) -> bool:
        """Learn what a reply to a call sent at *sent_at* told.

        Replies older than the newest one seen, and values that make no sense, have no effect.

        Returns:
            Whether it made a limit known that was not known before.
        """
        if hint.dimension not in _DIMENSIONS:
            return False
        self._observe_remaining(hint, now, sent_at, admitted)
        news = self._adopt(hint)
        if news or hint.dimension in self._told:
            self.counts_tokens |= hint.dimension != "requests"
        return news

    def _observe_remaining(
        self, hint: LimitHint, now: float, sent_at: float, admitted: Admitted
    ) -> None:
        newest = self._told.get(hint.dimension)
        if newest is not None and sent_at <= newest.sent_at:
            return
        if hint.remaining is None or hint.remaining < 0 or not _sensible(hint.reset):
            return
        reset = cast("float", hint.reset)
        used = max(0, (hint.amount or 0) - hint.remaining)
        self._told[hint.dimension] = _Told(
            sent_at=sent_at,
            told_at=now,
            remaining=hint.remaining,
            sent_before=getattr(admitted.sent, hint.dimension),
            reset=reset,
            refill=used / reset,
        )

    def _adopt(self, hint: LimitHint) -> bool:
        """Keep a limit that the server told, from now on; a declared one is not replaced."""
        if hint.dimension in self._declared or not _sensible(hint.per) or (hint.amount or 0) <= 0:
            return False
        per, amount = cast("float", hint.per), cast("int", hint.amount)
        limit = Limit(cast("LimitDimension", hint.dimension), amount, per=per)
        for bucket in self._buckets:
            if (bucket.limit.dimension, bucket.limit.per) == (limit.dimension, limit.per):
                return bucket.resize(limit)
        self._buckets.append(Bucket(limit, settlement=self._settlement))
        return True


def _window(limit: Limit) -> tuple[str, float, float | None, float]:
    return limit.dimension, limit.per, limit.window, limit.jitter


def _sensible(seconds: float | None) -> bool:
    return seconds is not None and isfinite(seconds) and 0 < seconds <= _LONGEST
