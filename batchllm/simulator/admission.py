"""The ways in which servers enforce a quota, pure: the time is an argument.

Each model answers one question before it changes anything: in how many seconds would this cost
pass? So several limits can be asked first and charged together, all or none.
"""

import math
from collections import deque
from heapq import heappush, heapreplace
from typing import Protocol

from attrs import define, field, frozen, setters, validators

_ROUNDING = 1e-9


@define(eq=False)
class Ticket:
    """The charge of one accepted request, and its time; a settlement changes the charge."""

    at: float
    cost: float


class AdmissionModel(Protocol):
    """One limit of one scope. Times are seconds and must not go backwards."""

    limit: float
    window: float

    def wait(self, now: float, cost: float) -> float:
        """Seconds until `cost` would be accepted: 0 now, infinity never."""
        ...

    def take(self, now: float, cost: float) -> Ticket:
        """Charge `cost`, accepted at `now`."""
        ...

    def refuse(self, now: float, cost: float) -> None:
        """Note a request that was refused."""
        ...

    def settle(self, now: float, ticket: Ticket, cost: float) -> None:
        """Replace what `ticket` was charged by what the request really cost."""
        ...

    def remaining(self, now: float) -> float:
        """Return the units that could be charged at `now`, at least 0."""
        ...

    def reset(self, now: float) -> float:
        """Seconds until nothing is charged any more."""
        ...

    def resize(self, now: float, limit: float) -> None:
        """Change the limit; what is charged stays charged."""
        ...


@define(eq=False, on_setattr=setters.NO_OP)
class TokenBucket:
    """Refilled all the time at `limit` per `window`, holding at most `depth`.

    It accepts at most `depth + limit * t / window` in any `t` seconds. With `counts_refusals` a
    refused request takes what little there is, so that a client above the rate gets nothing.
    """

    limit: float = field(validator=validators.gt(0))
    window: float = field(default=60.0, validator=validators.gt(0))
    depth: float = field(default=0.0, validator=validators.ge(0))
    counts_refusals: bool = False
    _level: float = field(init=False, default=0.0)
    _at: float = field(init=False, default=-math.inf)

    def __attrs_post_init__(self) -> None:
        self.depth = self.depth or self.limit
        self._level = self.depth

    def wait(self, now: float, cost: float) -> float:
        """Seconds until the level reaches `cost`."""
        if cost > self.depth + _ROUNDING:
            return math.inf
        missing = cost - self._refill(now)
        return 0.0 if missing <= _ROUNDING else missing * self.window / self.limit

    def take(self, now: float, cost: float) -> Ticket:
        """Lower the level."""
        self._level = self._refill(now) - cost
        return Ticket(now, cost)

    def refuse(self, now: float, cost: float) -> None:
        """Take what there is, if refusals count."""
        if self.counts_refusals:
            self._level = max(0.0, self._refill(now) - cost)

    def settle(self, now: float, ticket: Ticket, cost: float) -> None:
        """Give back or charge the difference; the level may fall below zero."""
        self._level = min(self.depth, self._refill(now) + ticket.cost - cost)
        ticket.cost = cost

    def remaining(self, now: float) -> float:
        """The level."""
        return max(0.0, self._refill(now))

    def reset(self, now: float) -> float:
        """Seconds until the bucket is full."""
        return (self.depth - self._refill(now)) * self.window / self.limit

    def resize(self, now: float, limit: float) -> None:
        """Refill at another rate from now on; the depth keeps its share, but holds one request."""
        self._refill(now)
        self.depth = max(min(self.depth, 1.0), self.depth * limit / self.limit)
        self.limit = limit
        self._level = min(self._level, self.depth)

    def _refill(self, now: float) -> float:
        if now > self._at:
            if self._at > -math.inf:
                gained = (now - self._at) * self.limit / self.window
                self._level = min(self.depth, self._level + gained)
            self._at = now
        return self._level


@define(eq=False, on_setattr=setters.NO_OP)
class FixedWindow:
    """`limit` in each window of the clock; everything is free again when the next one begins.

    Around a boundary it accepts up to twice the limit within one window's length.
    """

    limit: float = field(validator=validators.gt(0))
    window: float = field(default=60.0, validator=validators.gt(0))
    phase: float = 0.0
    counts_refusals: bool = False
    _index: int = field(init=False, default=-1)
    _used: float = field(init=False, default=0.0)

    def wait(self, now: float, cost: float) -> float:
        """Seconds until the next window, when this one is full."""
        if cost > self.limit + _ROUNDING:
            return math.inf
        self._advance(now)
        return 0.0 if self._used + cost <= self.limit + _ROUNDING else self._until_next(now)

    def take(self, now: float, cost: float) -> Ticket:
        """Charge this window."""
        self._advance(now)
        self._used += cost
        return Ticket(now, cost)

    def refuse(self, now: float, cost: float) -> None:
        """Charge this window too, where refusals count."""
        if self.counts_refusals:
            self.take(now, cost)

    def settle(self, now: float, ticket: Ticket, cost: float) -> None:
        """Correct the window, if it is still the one that was charged."""
        self._advance(now)
        if self._index_of(ticket.at) == self._index:
            self._used += cost - ticket.cost
            ticket.cost = cost

    def remaining(self, now: float) -> float:
        """Return the units that this window has left."""
        self._advance(now)
        return max(0.0, self.limit - self._used)

    def reset(self, now: float) -> float:
        """Seconds until the next window, when anything is charged to this one."""
        self._advance(now)
        return self._until_next(now) if self._used > 0 else 0.0

    def resize(self, now: float, limit: float) -> None:
        """Hold this window and all later ones to another limit."""
        self.limit = limit

    def _advance(self, now: float) -> None:
        index = self._index_of(now)
        if index != self._index:
            self._index = index
            self._used = 0.0

    def _index_of(self, at: float) -> int:
        return math.floor((at - self.phase) / self.window)

    def _until_next(self, now: float) -> float:
        return max(_ROUNDING, (self._index + 1) * self.window + self.phase - now)


@define(eq=False, on_setattr=setters.NO_OP)
class SlidingLog:
    """At most `limit` charged in the `window` seconds before any instant.

    With `counts_refusals` a refused request is charged as well, so that a client which keeps
    knocking stays locked out.
    """

    limit: float = field(validator=validators.gt(0))
    window: float = field(default=60.0, validator=validators.gt(0))
    counts_refusals: bool = False
    _log: deque[Ticket] = field(init=False, factory=deque)
    _used: float = field(init=False, default=0.0)

    def wait(self, now: float, cost: float) -> float:
        """Seconds until enough of the log has grown old."""
        if cost > self.limit + _ROUNDING:
            return math.inf
        self._forget(now)
        excess = self._used + cost - self.limit
        if excess <= _ROUNDING:
            return 0.0
        oldest_needed = now
        for ticket in self._log:
            excess -= ticket.cost
            oldest_needed = ticket.at
            if excess <= _ROUNDING:
                break
        return max(_ROUNDING, oldest_needed + self.window - now)

    def take(self, now: float, cost: float) -> Ticket:
        """Log the charge."""
        self._forget(now)
        ticket = Ticket(now, cost)
        self._log.append(ticket)
        self._used += cost
        return ticket

    def refuse(self, now: float, cost: float) -> None:
        """Log the refusal too, where refusals count."""
        if self.counts_refusals:
            self.take(now, min(cost, self.limit))

    def settle(self, now: float, ticket: Ticket, cost: float) -> None:
        """Correct the entry, if it is still in the log."""
        self._forget(now)
        if ticket.at > now - self.window:
            self._used += cost - ticket.cost
            ticket.cost = cost

    def remaining(self, now: float) -> float:
        """Return the units for which the log has room."""
        self._forget(now)
        return max(0.0, self.limit - self._used)

    def reset(self, now: float) -> float:
        """Seconds until the newest entry has grown old."""
        self._forget(now)
        return max(0.0, self._log[-1].at + self.window - now) if self._log else 0.0

    def resize(self, now: float, limit: float) -> None:
        """Hold the log to another limit."""
        self.limit = limit

    def _forget(self, now: float) -> None:
        while self._log and self._log[0].at <= now - self.window:
            self._used -= self._log.popleft().cost
        if not self._log:
            self._used = 0.0


@define(eq=False, on_setattr=setters.NO_OP)
class ConcurrencyCap:
    """At most `limit` requests at once; a place is free again when its request has ended."""

    limit: float = field(validator=validators.ge(1))
    window: float = 0.0
    _in_flight: float = field(init=False, default=0.0)

    def wait(self, now: float, cost: float) -> float:
        """Unknown when there is no place, so a second is given as a guess."""
        return 0.0 if self._in_flight + cost <= self.limit else 1.0

    def take(self, now: float, cost: float) -> Ticket:
        """Take a place."""
        self._in_flight += cost
        return Ticket(now, cost)

    def refuse(self, now: float, cost: float) -> None:
        """A refusal takes no place."""

    def settle(self, now: float, ticket: Ticket, cost: float) -> None:
        """Give the place back; it is the request's end that settles it."""
        self._in_flight -= ticket.cost
        ticket.cost = 0.0

    def remaining(self, now: float) -> float:
        """Free places."""
        return max(0.0, self.limit - self._in_flight)

    def reset(self, now: float) -> float:
        """Nothing is known about when requests end."""
        return 0.0

    def resize(self, now: float, limit: float) -> None:
        """Allow another number at once; nothing that runs is ended."""
        self.limit = limit


@frozen
class Place:
    """The place of a request at a queueing server: it starts at `start` and is done at `end`."""

    start: float
    end: float


@define(eq=False)
class ServiceQueue:
    """A server with `slots` workers and room for `capacity` waiting requests.

    Work is served in order of arrival. A request that is given up by its client keeps its turn.
    """

    slots: int = field(validator=validators.ge(1))
    capacity: int = field(default=512, validator=validators.ge(0))
    _free_at: list[float] = field(init=False, factory=list)
    _starts: deque[float] = field(init=False, factory=deque)

    def enter(self, now: float, service: float) -> Place | None:
        """Queue `service` seconds of work; None when the queue is full."""
        while self._starts and self._starts[0] <= now:
            self._starts.popleft()
        start = self._earliest(now)
        if start > now and len(self._starts) >= self.capacity:
            return None
        if start > now:
            self._starts.append(start)
        self._occupy(start + service)
        return Place(start, start + service)

    def _earliest(self, now: float) -> float:
        if len(self._free_at) < self.slots:
            return now
        return max(now, self._free_at[0])

    def _occupy(self, until: float) -> None:
        if len(self._free_at) < self.slots:
            heappush(self._free_at, until)
        else:
            heapreplace(self._free_at, until)
