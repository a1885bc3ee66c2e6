"""The limits of one shared quota, as its authority keeps them for all workers together.

A slot is booked through the pace *and* the ledger of a bucket per limit, whose jitter is longer by
``hold``. Its call starts within ``hold`` of the booked instant, so that the claim of ``bucket.py``
holds for the calls of all workers together.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from attrs import define, evolve, field

from batchllm.core import CallCost, ConfigError
from batchllm.policy.bucket import Bucket, Limit
from batchllm.policy.leases import Correction, Quota

__all__ = ["LeaseLimits"]

_GRAINS: Final = 512
"""Entries of a ledger per window: a lease in a file reads and writes them all, and what is given
back by 1/512 of a window too late is 0.2 % of the quota."""


@define(eq=False)
class LeaseLimits:
    """Keeps the limits that workers declare and servers report. Live state, for one clock."""

    _quota: Quota = field(factory=Quota, init=False)
    _buckets: dict[str, Bucket] = field(factory=dict, init=False)
    """By kind of limit; those of declared limits come first."""
    _hold: float | None = field(default=None, init=False)

    @property
    def hold(self) -> float:
        """Seconds after a slot's instant for which its call may still start."""
        return self._quota.hold if self._hold is None else self._hold

    @property
    def in_force(self) -> tuple[Limit, ...]:
        """The limits in force, as they were declared and reported."""
        held = self.hold
        return tuple(
            [
                _limit(*_plain(each.limit)[:-1], max(0.0, each.limit.jitter - held))
                for each in self._buckets.values()
            ]
        )

    @property
    def pace_requests(self) -> bool:
        """Return whether a pace of requests is declared or reported."""
        return any(
            bucket.paced and bucket.limit.dimension == "requests"
            for bucket in self._buckets.values()
        )

    def used(self, now: float) -> tuple[float, ...]:
        """Return the share of each limit that is taken."""
        return tuple([bucket.used(now) for bucket in self._buckets.values()])

    # -- what is declared and reported -------------------------------------------------------

    def bind(self, hold: float) -> bool:
        """Hold slots for *hold* seconds from now on; returns whether that was open until now.

        It stays for good: slots that were given by it may still be on their way.
        """
        if self._hold is not None:
            return False
        self._hold = hold
        return True

    def differs(self, quota: Quota) -> bool:
        """Return whether *quota* declares limits, and others than are kept."""
        known = self._quota
        same = (quota.limits, quota.settlement) == (known.limits, known.settlement)
        return bool(quota.limits) and not same

    def declare(self, quota: Quota, *, others: bool) -> None:
        """Keep other declared limits; what was sent stays counted where the window stays.

        Args:
            quota: What one worker declares.
            others: Whether others are at work with what was declared before.

        Raises:
            ConfigError: They are.
        """
        if self._quota.limits and others:
            raise ConfigError(_conflict(self._quota, quota))
        before, self._quota = self._buckets, quota
        declared = {limit.dimension for limit in quota.limits}
        self._buckets = {}
        for limit in quota.limits:
            self._keep(limit, before)
        for bucket in before.values():
            if bucket.limit.dimension not in declared:
                self._buckets[_kind(bucket.limit)] = bucket

    def adopt(self, limit: Limit) -> None:
        """Keep a limit that the server reported; a declared one is not replaced."""
        if all(limit.dimension != one.dimension for one in self._quota.limits):
            self._keep(limit, self._buckets)

    def _keep(self, limit: Limit, before: dict[str, Bucket]) -> None:
        held = evolve(limit, jitter=limit.jitter + self.hold)
        bucket = before.get(_kind(limit))
        if bucket is None or bucket.limit.jitter != held.jitter:
            bucket = Bucket(held, settlement=self._quota.settlement, grains=_GRAINS)
        bucket.settlement = self._quota.settlement
        bucket.resize(held)
        self._buckets[_kind(limit)] = bucket

    # -- booking -----------------------------------------------------------------------------

    def next_time(self, begin: float, cost: CallCost) -> float:
        """Return the earliest instant from *begin* on at which *cost* may be booked."""
        return max([begin, *(each.next_time(begin, cost) for each in self._buckets.values())])

    def book(self, at: float, cost: CallCost) -> None:
        """Book *cost* at *at*, which is ``next_time`` or later."""
        for bucket in self._buckets.values():
            bucket.book(at, cost)

    def correct(self, corrections: Iterable[Correction]) -> None:
        """Book what calls took beyond what was booked for them, and give back the rest."""
        for bucket in self._buckets.values():
            if bucket.limit.dimension != "requests":
                for one in corrections:
                    cost = CallCost(0, one.input_tokens, one.output_tokens)
                    bucket.correct(one.at, bucket.cost_of(cost))

    # -- state -------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Return the whole state as plain values."""
        return {
            "hold": self._hold,
            "settlement": self._quota.settlement,
            "declared": [_plain(limit) for limit in self._quota.limits],
            "kept": [[_plain(one.limit), one.dump()] for one in self._buckets.values()],
        }

    @classmethod
    def load(cls, state: dict[str, Any], *, shift: float) -> LeaseLimits:
        """Return the limits that ``dump`` was called on, *shift* seconds later by their clock."""
        made, hold = cls(), state["hold"]
        made._hold = hold
        limits = tuple([_limit(*plain) for plain in state["declared"]])
        made._quota = Quota(limits=limits, settlement=state["settlement"], hold=hold)
        for plain, saved in state["kept"]:
            limit = _limit(*plain)
            bucket = Bucket(limit, settlement=state["settlement"], grains=_GRAINS)
            bucket.load(saved, shift=shift)
            made._buckets[_kind(limit)] = bucket
        return made


def _kind(limit: Limit) -> str:
    """Return what makes two limits the same one, whatever its amount."""
    return f"{limit.dimension} {limit.per!r} {limit.window!r}"


def _plain(limit: Limit) -> list[Any]:
    return [limit.dimension, limit.amount, limit.per, limit.window, limit.jitter]


@lru_cache(maxsize=64)
def _limit(dimension: Any, amount: int, per: float, window: float | None, jitter: float) -> Limit:
    """Return the limit of these values: its checks take longer than all else that is read."""
    return Limit(dimension, amount, per=per, window=window, jitter=jitter)


def _conflict(known: Quota, other: Quota) -> str:
    return (
        f"this run declares {_in_words(other)} for a shared gate at which others are at work with "
        f"{_in_words(known)}; declare the same in all of them, or nothing, to keep what was "
        "declared, or wait until they have ended"
    )


def _in_words(quota: Quota) -> str:
    each = [f"{one.amount:,} {one.dimension} per {one.per:g} s" for one in quota.limits]
    return f"{', '.join(each)} (settlement {quota.settlement!r})"
