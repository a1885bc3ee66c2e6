"""The authority of one shared quota: which worker may start a call, and when.

A slot is booked in every limit that is kept (``lease_limits.py``), so that no window of the server
ever has more than the limit. Messages that are lost and workers that die lose units, and never add
any.

Where no pace of requests is declared or reported, or a declared one is refused all the same, slots
are booked by a pace that the authority learns from what all workers report (``shared_pace.py``). It
pauses for all of them after a refusal, and has one worker try one call first.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final

import msgspec
from attrs import define, field

from batchllm.core import CallCost
from batchllm.policy.lease_limits import LeaseLimits
from batchllm.policy.leases import CallEnd, Lease, LeaseRequest
from batchllm.policy.shared_pace import SharedPace

__all__ = ["LeaseBook"]

_AHEAD: Final = 1.0
"""Seconds ahead of now up to which slots are booked: what a worker that dies can lose."""
_BLOCK: Final = 0.8
"""Seconds of the schedule that all workers get in turn with one lease each: with what they ask
ahead it is what slots lie ahead at most."""
_BLOCK_SHARE: Final = 2 / 3
"""Share of the time ahead that they get so of a pace that is learned."""
_MEMORY: Final = 86_400.0
"""Seconds without a call after which a learned pace is forgotten: quotas are often per day."""
_ASKING: Final = 2.0
"""Seconds for which a worker counts as one that asks: twice the longest way ahead."""
_ALIVE: Final = 10.0
"""Seconds without a word after which a worker's declaration binds no other any more, its calls hold
no places, and its canary goes to another; workers speak every 2 s at least."""
_LATEST: Final = 60.0
"""Seconds after which a worker asks again, however long it has to wait: others may give units back,
or report a limit, before."""
_REMEMBERED: Final = 60.0
"""Seconds without a word after which a worker is forgotten, and with it the number of its last
report: an answer that is under way for so long was given up."""
_MOST_SLOTS: Final = 256
"""Slots of one lease, where no pace bounds them."""


@define(eq=False)
class _Worker:
    heard: float
    number: int = 0
    wanted: float = -inf
    declared: bool = False


@define(eq=False)
class _Granted:
    opens: list[float] = field(factory=list[float])
    again_in: float = 0.0
    mark: int = -1
    others: int = 0
    canary: bool = False


@define(eq=False)
class LeaseBook:
    """Books the slots of all workers of one quota. Live state, for one clock."""

    _limits: LeaseLimits = field(factory=LeaseLimits, init=False)
    _workers: dict[str, _Worker] = field(factory=dict, init=False)
    _pace: SharedPace | None = field(default=None, init=False)
    _silent_until: float | None = field(default=None, init=False)
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
        granted = self._grant(now, request, asking)
        pace = self._pace
        return Lease(
            number=request.number,
            at=now,
            hold=self._limits.hold,
            opens=tuple([at - now for at in granted.opens]),
            again_in=granted.again_in,
            mark=granted.mark,
            others=granted.others,
            canary=granted.canary,
            pause=None if pace is None else pace.pause(now),
            rate=None if pace is None else pace.rate,
            limits=self._limits.in_force,
            used=self._limits.used(now),
            workers=asking,
        )

    def keep_silent(self) -> None:
        """Give no slot until all that an earlier book gave are over: its state is lost."""
        self._silent_until = inf

    # -- what workers say --------------------------------------------------------------------

    def _declare(self, now: float, request: LeaseRequest) -> None:
        if self._limits.bind(request.quota.hold) and self._silent_until is not None:
            self._silent_until = now + _AHEAD + self._limits.hold
        if self._limits.differs(request.quota):
            others = any(
                worker.declared and now - worker.heard < _ALIVE
                for name, worker in self._workers.items()
                if name != request.worker
            )
            self._limits.declare(request.quota, others=others)

    def _learn(self, now: float, request: LeaseRequest) -> None:
        report = request.report
        for limit in report.found:
            self._limits.adopt(limit)
        self._limits.correct(report.corrections)
        if self._pace is None and (report.closed_for or any(map(_is_refusal, report.ends))):
            self._pace = SharedPace(cold=False)  # more is declared than the server takes
        if self._pace is not None:
            self._pace.on_report(now, request.worker, report.ends, report.closed_for)

    def _asking(self, now: float) -> int:
        """Return how many workers ask at present, and forget those that are gone."""
        for name, one in list(self._workers.items()):
            silent = now - one.heard
            if silent > _ALIVE and self._pace is not None:
                self._pace.on_gone(now, name)
            if silent > _REMEMBERED:
                del self._workers[name]
        return max(1, sum(now - one.wanted < _ASKING for one in self._workers.values()))

    # -- booking -----------------------------------------------------------------------------

    def _grant(self, now: float, request: LeaseRequest, asking: int) -> _Granted:
        granted = _Granted()
        if not request.costs:
            return granted
        if self._silent_until is not None:
            if now < self._silent_until:
                granted.again_in = self._silent_until - now
                return granted
            self._silent_until = None
        pace = self._pace_at(now)
        if pace is not None:
            at = pace.step(now)
            granted.again_in = max(0.0, at - now)
            granted.canary = not pace.open
            granted.others = pace.in_flight
        if not granted.again_in:
            costs = request.costs[: 1 if granted.canary else _MOST_SLOTS]
            self._book(now, request.worker, costs, asking, granted)
        granted.canary &= bool(granted.opens)
        return granted

    def _pace_at(self, now: float) -> SharedPace | None:
        """Return the pace that is learned, if one is needed."""
        if self._pace is not None and self._pace.idle(now) > _MEMORY:
            self._pace = None
        if self._pace is None and not self._limits.pace_requests:
            self._pace = SharedPace()
        return self._pace

    def _book(
        self,
        now: float,
        worker: str,
        costs: tuple[CallCost, ...],
        asking: int,
        granted: _Granted,
    ) -> None:
        pace, limits = self._pace, self._limits
        ahead, block = _AHEAD, _BLOCK / asking
        learned = None if pace is None else pace.ahead
        if learned is not None:
            ahead, block = learned, _BLOCK_SHARE * learned / asking
        for cost in costs:
            begin = self._reached
            at = limits.next_time(begin, cost)
            if pace is not None and not granted.canary:
                paced = pace.next_time(begin, worker, asking)
                if pace.searches and paced > begin:
                    # A place is free once a call has ended, and not at an instant.
                    granted.again_in = 0.0 if granted.opens else paced - now
                    return
                at = max(at, paced)
            if at - now > ahead:
                if not granted.opens:
                    # Half way, so that the schedule never runs dry between two requests.
                    granted.again_in = min(at - now - ahead / 2, _LATEST)
                return
            limits.book(at, cost)
            if pace is not None:
                mark = pace.book(at, worker)
                granted.mark = mark if granted.mark < 0 else granted.mark
            granted.opens.append(at)
            self._reached = at
            if at - granted.opens[0] >= block:
                return

    # -- state -------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Return the whole state as plain values."""
        return {
            **self._limits.dump(),
            "workers": {
                name: [one.heard, one.number, one.wanted, one.declared]
                for name, one in self._workers.items()
            },
            "pace": None if self._pace is None else self._pace.dump(),
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
        book = cls()
        book._limits = LeaseLimits.load(state, shift=shift or 0.0)
        if shift is None:
            book._workers = {name: _Worker(*values) for name, values in state["workers"].items()}
            book._pace = None if state["pace"] is None else SharedPace.load(state["pace"])
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


def _is_refusal(end: CallEnd) -> bool:
    return end.how in ("refused", "overloaded")
