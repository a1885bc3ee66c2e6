"""Several limits taken together or not at all: declared ones, and those that the server reports."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import isfinite
from typing import Final, cast

from batchllm.core import CallCost, LimitHint
from batchllm.policy.bucket import (
    PACED_UP_TO,
    Bucket,
    Limit,
    LimitDimension,
    Reservation,
    Settlement,
)
from batchllm.policy.reported import Accepted, Kind, ReportedLimit

__all__ = ["Admission", "Admitted"]

_DIMENSIONS: Final = ("requests", "tokens", "input_tokens", "output_tokens")
_LONGEST: Final = 40 * 86_400.0
_JITTER: Final = 0.5
"""Seconds by which the way to the server may vary, as for declared limits."""
_JITTER_SHARE: Final = 0.1
"""Share of a period that a reported limit gives up for jitter at most: it is a claim, and a
refusal costs less than a tenth of the pace."""
_MOST_REPORTED: Final = 32
"""Limits of one scope that are followed; names come from the server, and real ones have six."""
_MOST_ADOPTED: Final = 100
"""Adoptions that wait to be logged."""
_Key = tuple[str, str]
"""The dimension of a reported limit, and the name that the server gives it."""


class Admitted:
    """The reservations of one call, and how much had been sent up to and with it."""

    __slots__ = ("cost", "reservations", "sent")

    def __init__(
        self,
        reservations: tuple[Reservation, ...],
        sent: tuple[int, int, int],
        cost: CallCost | None = None,
    ) -> None:
        self.reservations = reservations
        self.sent = sent
        self.cost = cost

    def sent_of(self, dimension: str) -> int:
        """Return the units of *dimension* that had been sent up to and with the call."""
        return _units(self.sent, dimension)


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

    Attributes:
        counts_tokens: Whether anything beside requests is limited.
    """

    __slots__ = (
        "_accepted", "_adopted", "_assumed", "_buckets", "_calls", "_declared", "_input", "_noted",
        "_output", "_own_address", "_parallel", "_reported", "_requests", "_settlement", "_sure",
        "counts_tokens",
    )  # fmt: skip

    def __init__(
        self,
        limits: Iterable[Limit] = (),
        *,
        settlement: Settlement = "refund",
        own_address: bool = False,
    ) -> None:
        self._settlement: Settlement = settlement
        self._own_address = own_address
        self._buckets = [Bucket(limit, settlement=settlement) for limit in limits]
        self._declared = frozenset(bucket.limit.dimension for bucket in self._buckets)
        self._reported: dict[_Key, ReportedLimit] = {}
        self._sure: dict[_Key, Limit] = {}
        self._assumed: set[tuple[str, float]] = set()
        self._accepted = Accepted()
        self._adopted: deque[tuple[Limit, str]] = deque(maxlen=_MOST_ADOPTED)
        self._noted: dict[_Key, Limit] = {}
        self._parallel: int | None = None
        self._requests = self._input = self._output = 0
        self.counts_tokens = any(dimension != "requests" for dimension in self._declared)

    @property
    def empty(self) -> bool:
        """Return whether nothing is limited."""
        return not self._buckets and not self._reported

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits in force, declared and reported."""
        return (*(bucket.limit for bucket in self._buckets), *self._extra().values())

    @property
    def limits_requests(self) -> bool:
        """Return whether a pace of requests is declared, or reported and confirmed.

        A limit of a day does not count: it leaves open how many may be sent in a minute.
        """
        if any(each.limit.dimension == "requests" and each.paced for each in self._buckets):
            return True
        return any(
            limit.dimension == "requests" and limit.per <= PACED_UP_TO
            for limit in self._sure.values()
        )

    @property
    def parallel_cap(self) -> int | None:
        """The calls in flight at once that the server allows, as it reported; ``None`` if not."""
        return self._parallel

    @property
    def unbooked(self) -> Admitted:
        """The stand-in for a call that was sent before any limit was known."""
        return Admitted((), (self._requests, self._input, self._output))

    def drain_adopted(self) -> list[tuple[Limit, str]]:
        """Return the limits adopted since this was last called, and where each came from."""
        adopted = list(self._adopted)
        self._adopted.clear()
        return adopted

    def used(self, now: float) -> tuple[float, ...]:
        """The share of each limit that is taken now, in the order of ``limits``."""
        sent = (self._requests, self._input, self._output)
        return (
            *(bucket.used(now) for bucket in self._buckets),
            *(self._reported[key].used(now, _units(sent, key[0])) for key in self._extra()),
        )

    def _extra(self) -> dict[_Key, Limit]:
        """The confirmed limits that no bucket stands for."""
        return {
            key: limit
            for key, limit in self._sure.items()
            if not any(
                each.limit.dimension == limit.dimension and _alike(each.limit.per, limit.per)
                for each in self._buckets
            )
        }

    def declare(self, limits: Iterable[Limit]) -> None:
        """Go on with other declared limits; what was sent stays counted where the window stays."""
        reported = [each for each in self._buckets if each.limit.dimension not in self._declared]
        before = {_window(each.limit): each for each in self._buckets if each not in reported}
        declared = list(limits)
        self._declared = frozenset(limit.dimension for limit in declared)
        self._buckets = [
            before.get(_window(limit)) or Bucket(limit, settlement=self._settlement)
            for limit in declared
        ]
        for bucket, limit in zip(self._buckets, declared, strict=True):
            bucket.resize(limit)
        self._buckets += [each for each in reported if each.limit.dimension not in self._declared]
        self._recount()

    def _recount(self) -> None:
        reported = (dimension for dimension, _ in self._reported)
        buckets = (bucket.limit.dimension for bucket in self._buckets)
        self.counts_tokens = any(one != "requests" for one in (*reported, *buckets))

    def oversize(self, cost: CallCost) -> Limit | None:
        """The first limit that *cost* can never pass."""
        return next((each.limit for each in self._buckets if each.oversize(cost)), None)

    def next_time(self, now: float, cost: CallCost) -> float:
        """The earliest instant when no limit holds *cost* back; ``inf`` if one always does."""
        at = now
        for bucket in self._buckets:
            at = max(at, bucket.next_time(now, cost))
        return max(at, self._reported_time(now, cost)) if self._reported else at

    def spent_until(self, now: float, cost: CallCost) -> float:
        """When *cost* may pass a stock that is drawn from for hours, or what the server has left.

        A limit that is paced by the minute never holds a call for long.
        """
        stocks = max(
            (each.next_time(now, cost) for each in self._buckets if not each.paced), default=now
        )
        return max(stocks, self._reported_time(now, cost))

    def _reported_time(self, now: float, cost: CallCost) -> float:
        at = now
        sent = (self._requests, self._input, self._output)
        for (dimension, _), reported in self._reported.items():
            at = max(at, reported.next_time(now, getattr(cost, dimension), _units(sent, dimension)))
        return at

    def take(self, now: float, cost: CallCost) -> Admitted:
        """Book *cost* in every limit; cheap if there is none, so that it may always be called."""
        self._requests += cost.requests
        self._input += cost.input_tokens
        self._output += cost.output_tokens
        sent = (self._requests, self._input, self._output)
        for (dimension, _), reported in self._reported.items():
            reported.on_take(now, getattr(cost, dimension), _units(sent, dimension))
        if not self._buckets:
            return Admitted((), sent, cost)
        return Admitted(tuple([bucket.take(now, cost) for bucket in self._buckets]), sent, cost)

    def settle(self, admitted: Admitted, actual: CallCost | None) -> None:
        """End a call; *actual* is what it cost, ``None`` where that is unknown."""
        for reservation in admitted.reservations:
            reservation.bucket.settle(reservation, actual)

    def release(self, admitted: Admitted) -> None:
        """Take back a call whose bytes never left."""
        for reservation in admitted.reservations:
            reservation.bucket.release(reservation)

    # -- what replies show -------------------------------------------------------------------

    def on_accepted(self, now: float, sent_at: float, admitted: Admitted | None = None) -> None:
        """Note that a call sent at *sent_at* was accepted: answers overrule what was claimed."""
        self._accepted.add(sent_at, now)
        if self._reported:
            for reported in self._reported.values():
                reported.on_accepted(now, sent_at)

    def on_refused(self, now: float, sent_at: float) -> None:
        """Note that a call sent at *sent_at* was refused."""
        for reported in self._reported.values():
            reported.on_refused(now, sent_at)

    def observe(self, hint: LimitHint, now: float, sent_at: float, admitted: Admitted) -> bool:
        """Learn what a reply to a call sent at *sent_at* reported.

        Replies older than the newest one seen, and values that make no sense, have no effect.

        Returns:
            Whether it made a limit known that was not known before.
        """
        if hint.dimension == "concurrency":
            self._observe_parallel(hint)
            return False
        if hint.dimension not in _DIMENSIONS:
            return False
        before = self._follow(hint, now, sent_at, admitted)
        adopted = self._adopt(hint, now) or before
        self.counts_tokens |= hint.dimension != "requests" and not self.empty
        return adopted

    def _observe_parallel(self, hint: LimitHint) -> None:
        """Adopt a cap on parallel calls, unless more were accepted at once lately."""
        cap = hint.amount
        if cap is None or cap <= 0 or cap == self._parallel:
            return
        # Some of those that overlap here had ended at the server before the others began.
        if self._accepted.most_at_once() <= cap + max(2, cap // 2):
            self._parallel = cap

    def _follow(self, hint: LimitHint, now: float, sent_at: float, admitted: Admitted) -> bool:
        """Take what is left, and how it comes back; whether that confirmed a limit."""
        key = (hint.dimension, hint.name)
        reported = self._reported.get(key)
        if reported is None:
            if hint.remaining is None or len(self._reported) >= _MOST_REPORTED:
                return False
            # Anthropic documents buckets; everywhere else the next reply has to show it.
            steady = hint.name.startswith("anthropic ")
            reported = ReportedLimit(hint.dimension, steady=steady)
            reported.observe(hint, now, sent_at, admitted.sent_of(hint.dimension))
            if not reported.binds:
                return False
            self._reported[key] = reported
        else:
            reported.observe(hint, now, sent_at, admitted.sent_of(hint.dimension))
        return self._confirm(key, reported)

    def _confirm(self, key: _Key, reported: ReportedLimit) -> bool:
        """Keep a limit that replies agree on in the place of one that was assumed."""
        if not reported.sure:
            self._sure.pop(key, None)
            return False
        dimension, _ = key
        if dimension in self._declared:
            return False
        amount, per = cast("int", reported.amount), cast("float", reported.period)
        known = self._sure.get(key)
        if known is not None and known.amount == amount and _alike(known.per, per):
            return False
        limit = Limit(
            cast("LimitDimension", dimension), amount, per=round(per, 3), jitter=_jitter(per)
        )
        self._sure[key] = limit
        self._drop_assumed(limit)
        if reported.kind is Kind.SLIDING and dimension == "requests":
            self._put(limit)
        self._note(key, limit, "headers of several replies", measured=True)
        return True

    def _drop_assumed(self, limit: Limit) -> None:
        """Give up a period that was only assumed, and that the replies contradict."""
        for bucket in list(self._buckets):
            dimension, per = bucket.limit.dimension, bucket.limit.per
            if (dimension, per) not in self._assumed or dimension != limit.dimension:
                continue
            if not _alike(per, limit.per):
                self._buckets.remove(bucket)
                self._assumed.discard((dimension, per))

    def _adopt(self, hint: LimitHint, now: float) -> bool:
        """Keep a limit that the server reported with its period; a declared one is not replaced."""
        if hint.dimension in self._declared or not _sensible(hint.per) or (hint.amount or 0) <= 0:
            return False
        per, amount = cast("float", hint.per), cast("int", hint.amount)
        if hint.assumed and (not self._own_address or self._knows_better(hint, per)):
            return False
        if hint.dimension == "requests" and self._accepted.contradicts(amount, per, now):
            self._take_back(hint.dimension, per)
            return False
        limit = Limit(cast("LimitDimension", hint.dimension), amount, per=per, jitter=_jitter(per))
        if not self._put(limit):
            return False
        if hint.assumed:
            self._assumed.add((limit.dimension, per))
        where = "headers" if hint.source == "headers" else "words of a refusal"
        source = f"{where}, {'assumed' if hint.assumed else 'stated'} period"
        self._note((hint.dimension, source), limit, source)
        return True

    def _note(self, key: _Key, limit: Limit, source: str, *, measured: bool = False) -> None:
        """Report an adopted limit, once as long as it stays what it was.

        A period that is measured may drift for as long as little of the limit is used: its reset is
        in whole seconds then, and the amount alone is the server's own word.
        """
        known = self._noted.get(key)
        same = known is not None and known.amount == limit.amount
        if known is not None and same and (measured or _alike(known.per, limit.per)):
            return
        self._noted[key] = limit
        self._adopted.append((limit, source))

    def _knows_better(self, hint: LimitHint, per: float) -> bool:
        known = self._sure.get((hint.dimension, hint.name))
        return known is not None and not _alike(known.per, per)

    def _take_back(self, dimension: str, per: float) -> None:
        self._buckets = [
            each
            for each in self._buckets
            if (each.limit.dimension, each.limit.per) != (dimension, per)
            or each.limit.dimension in self._declared
        ]

    def _put(self, limit: Limit) -> bool:
        for bucket in self._buckets:
            if (bucket.limit.dimension, bucket.limit.per) == (limit.dimension, limit.per):
                return bucket.resize(limit)
        self._buckets.append(Bucket(limit, settlement=self._settlement))
        return True


def _alike(period: float, other: float) -> bool:
    return 0.8 <= period / other <= 1.25


def _units(sent: tuple[int, int, int], dimension: str) -> int:
    requests, given, produced = sent
    if dimension == "requests":
        return requests
    if dimension == "tokens":
        return given + produced
    return given if dimension == "input_tokens" else produced


def _jitter(per: float) -> float:
    return min(_JITTER, _JITTER_SHARE * per)


def _window(limit: Limit) -> tuple[str, float, float | None, float]:
    return limit.dimension, limit.per, limit.window, limit.jitter


def _sensible(seconds: float | None) -> bool:
    return seconds is not None and isfinite(seconds) and 0 < seconds <= _LONGEST
