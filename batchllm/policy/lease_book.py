"""The authority of one shared quota: which worker may start a call, and when.

A slot is booked through the pace *and* the ledger of a bucket per limit, whose jitter is longer by
``hold``. Its call starts within ``hold`` of the booked instant, so that the claim of ``bucket.py``
holds for the calls of all workers together: no window of the server ever has more than the limit.
Messages that are lost and workers that die lose units, and never add any.

After a refusal that a worker has understood as a spent quota, no slot is given until the pause is
over; then one worker gets one, the canary, and the others follow once it has been taken.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final

import msgspec
from attrs import define, evolve, field

from batchllm.core import CallCost, ConfigError
from batchllm.policy.bucket import Bucket, Limit
from batchllm.policy.closed_scope import ClosedScope
from batchllm.policy.leases import Lease, LeaseReport, LeaseRequest, Quota

__all__ = ["LeaseBook"]

_AHEAD: Final = 1.0
"""Seconds ahead of now up to which slots are booked: what a worker that dies can lose."""
_BLOCK: Final = 0.5
"""Seconds of the schedule that all workers get in turn with one lease each."""
_GRAINS: Final = 512
"""Entries of a ledger per window: a lease in a file reads and writes them all, and what is given
back by 1/512 of a window too late is 0.2 % of the quota."""
_ASKING: Final = 2.0
"""Seconds for which a worker counts as one that asks: twice the longest way ahead."""
_ALIVE: Final = 10.0
"""Seconds without a word after which a worker's declaration binds no other any more; workers speak
every 2 s at least."""
_MOST_SLOTS: Final = 256
"""Slots of one lease, where no pace bounds them."""


@define(eq=False)
class _Worker:
    heard: float
    number: int = 0
    wanted: float = -inf
    declared: bool = False


@define(eq=False)
class LeaseBook:
    """Books the slots of all workers of one quota. Live state, for one clock."""

    _quota: Quota = field(factory=Quota, init=False)
    _buckets: dict[str, Bucket] = field(factory=dict, init=False)
    """By kind of limit; those of declared limits come first."""
    _workers: dict[str, _Worker] = field(factory=dict, init=False)
    _scope: ClosedScope = field(factory=ClosedScope, init=False)
    _silent_until: float | None = field(default=None, init=False)
    _hold: float | None = field(default=None, init=False)
    _reached: float = field(default=-inf, init=False)
    """The latest instant of all slots and requests. No slot is booked before it, even if units were
    given back or a clock is behind: a ledger that has looked ahead has forgotten what would still
    count."""

    def lease(self, now: float, request: LeaseRequest) -> Lease:
        """Take in a worker's report, and book slots for the calls that it has.

        Raises:
            ConfigError: It declares other limits than workers that are at work.
        """
        worker = self._workers.get(request.worker) or _Worker(now)
        self._declare(now, request)
        self._workers[request.worker] = worker
        worker.heard = now
        worker.declared |= bool(request.quota.limits)
        if request.costs:
            worker.wanted = now
        self._reached = max(self._reached, now)
        if request.number > worker.number:  # else its answer was lost: the report counts once
            worker.number = request.number
            self._learn(now, request)
        asking = self._asking(now)
        opens, again, canary = self._grant(now, request, asking)
        return Lease(
            number=request.number,
            at=now,
            hold=self._held_for,
            opens=tuple([at - now for at in opens]),
            again_in=again,
            canary=canary,
            free=not self._buckets and self._scope.open,
            limits=self._limits,
            used=tuple([bucket.used(now) for bucket in self._buckets.values()]),
            workers=asking,
        )

    def keep_silent(self) -> None:
        """Give no slot until all that an earlier book gave are over: its state is lost."""
        self._silent_until = inf

    # -- limits ------------------------------------------------------------------------------

    @property
    def _held_for(self) -> float:
        return self._quota.hold if self._hold is None else self._hold

    @property
    def _limits(self) -> tuple[Limit, ...]:
        """The limits in force, as they were declared and reported."""
        return tuple(
            evolve(each.limit, jitter=max(0.0, each.limit.jitter - self._held_for))
            for each in self._buckets.values()
        )

    def _declare(self, now: float, request: LeaseRequest) -> None:
        quota, known = request.quota, self._quota
        if self._hold is None:
            # The hold stays for good: slots that were given by it may still be on their way.
            self._hold = quota.hold
            if self._silent_until is not None:
                self._silent_until = now + _AHEAD + quota.hold
        if not quota.limits:
            return
        if (quota.limits, quota.settlement) != (known.limits, known.settlement):
            others = any(
                worker.declared and now - worker.heard < _ALIVE
                for name, worker in self._workers.items()
                if name != request.worker
            )
            if known.limits and others:
                raise ConfigError(_conflict(known, quota))
            self._replace(quota)

    def _replace(self, quota: Quota) -> None:
        """Keep other declared limits; what was sent stays counted where the window stays."""
        before, self._quota = self._buckets, quota
        declared = {limit.dimension for limit in quota.limits}
        self._buckets = {}
        for limit in quota.limits:
            self._keep(limit, before)
        for bucket in before.values():
            if bucket.limit.dimension not in declared:
                self._buckets[_kind(bucket.limit)] = bucket

    def _keep(self, limit: Limit, before: dict[str, Bucket]) -> None:
        held = evolve(limit, jitter=limit.jitter + self._held_for)
        bucket = before.get(_kind(limit))
        if bucket is None or bucket.limit.jitter != held.jitter:
            bucket = Bucket(held, settlement=self._quota.settlement, grains=_GRAINS)
        bucket.settlement = self._quota.settlement
        bucket.resize(held)
        self._buckets[_kind(limit)] = bucket

    def _adopt(self, limit: Limit) -> None:
        """Keep a limit that the server reported; a declared one is not replaced."""
        if all(limit.dimension != one.dimension for one in self._quota.limits):
            self._keep(limit, self._buckets)

    # -- what workers report -----------------------------------------------------------------

    def _learn(self, now: float, request: LeaseRequest) -> None:
        report: LeaseReport = request.report
        for limit in report.found:
            self._adopt(limit)
        for bucket in self._buckets.values():
            if bucket.limit.dimension != "requests":
                for one in report.corrections:
                    cost = CallCost(0, one.input_tokens, one.output_tokens)
                    bucket.correct(one.at, bucket.cost_of(cost))
        self._scope.on_report(now, request.worker, report.closed_for, report.canary)

    def _asking(self, now: float) -> int:
        """Return how many workers ask at present, and forget those that are gone."""
        gone = [name for name, one in self._workers.items() if now - one.heard > 6 * _ALIVE]
        for name in gone:
            del self._workers[name]
        return max(1, sum(now - one.wanted < _ASKING for one in self._workers.values()))

    # -- booking -----------------------------------------------------------------------------

    def _grant(
        self, now: float, request: LeaseRequest, asking: int
    ) -> tuple[list[float], float, bool]:
        """Return the instants of the slots, when to ask again, and whether it is the canary."""
        if not request.costs or (self._scope.open and not self._buckets):
            return [], 0.0, False
        if self._silent_until is not None:
            if now < self._silent_until:
                return [], self._silent_until - now, False
            self._silent_until = None
        costs, canary = request.costs, False
        if not self._scope.open:
            wait = self._scope.wait(now, request.worker)
            if wait > 0:
                return [], wait, False
            if not self._scope.open:
                costs, canary = costs[:1], True
        opens, again = self._book(now, costs, asking)
        if canary and opens:
            self._scope.on_canary(request.worker, opens[0] + self._held_for)
        return opens, again, canary and bool(opens)

    def _book(
        self, now: float, costs: tuple[CallCost, ...], asking: int
    ) -> tuple[list[float], float]:
        opens = list[float]()
        for cost in costs[:_MOST_SLOTS]:
            begin = self._reached
            at = max([begin, *(each.next_time(begin, cost) for each in self._buckets.values())])
            if at - now > _AHEAD:
                # Half way, so that the schedule never runs dry between two requests.
                return opens, 0.0 if opens else min(at - now - _AHEAD / 2, 60.0)
            for bucket in self._buckets.values():
                bucket.take(at, cost)
            opens.append(at)
            self._reached = at
            if at - opens[0] >= _BLOCK / asking:
                break
        return opens, 0.0

    # -- state -------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Return the whole state as plain values."""
        return {
            "hold": self._hold,
            "settlement": self._quota.settlement,
            "declared": [_plain(limit) for limit in self._quota.limits],
            "kept": [[_plain(one.limit), one.dump()] for one in self._buckets.values()],
            "workers": {
                name: [one.heard, one.number, one.wanted, one.declared]
                for name, one in self._workers.items()
            },
            "scope": self._scope.dump(),
            "silent_until": self._silent_until,
            "reached": self._reached,
        }

    @classmethod
    def load(cls, state: dict[str, Any], *, shift: float | None = None) -> LeaseBook:
        """Return the book that ``dump`` was called on.

        Args:
            state: What it returned.
            shift: Seconds that the clock was put forward, if the machine was started anew since;
                no worker of that time is left then.
        """
        book, hold = cls(), state["hold"]
        book._hold = hold
        limits = tuple([_limit(plain) for plain in state["declared"]])
        book._quota = Quota(limits=limits, settlement=state["settlement"], hold=hold)
        for plain, saved in state["kept"]:
            limit = _limit(plain)
            bucket = Bucket(limit, settlement=state["settlement"], grains=_GRAINS)
            bucket.load(saved, shift=shift or 0.0)
            book._buckets[_kind(limit)] = bucket
        if shift is None:
            book._workers = {name: _Worker(*values) for name, values in state["workers"].items()}
            book._scope = ClosedScope(*state["scope"])
            book._silent_until = state["silent_until"]
            book._reached = state["reached"]
        return book

    def pack(self) -> bytes:
        """Return the state as bytes, for a store that keeps it elsewhere."""
        return msgspec.msgpack.encode(self.dump())

    @classmethod
    def unpack(cls, packed: bytes, *, shift: float | None = None) -> LeaseBook:
        """Return the book that ``pack`` was called on; *shift* is as for ``load``."""
        return cls.load(msgspec.msgpack.decode(packed), shift=shift)


def _kind(limit: Limit) -> str:
    """Return what makes two limits the same one, whatever its amount."""
    return f"{limit.dimension} {limit.per!r} {limit.window!r}"


def _plain(limit: Limit) -> list[Any]:
    return [limit.dimension, limit.amount, limit.per, limit.window, limit.jitter]


def _limit(plain: list[Any]) -> Limit:
    dimension, amount, per, window, jitter = plain
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
