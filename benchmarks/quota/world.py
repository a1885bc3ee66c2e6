"""A world of events in virtual time: clients with one backlog, and a server with a quota.

A client has a number of callers in one queue. A refused item goes first, but not before its own
hint is over; it keeps its caller while it waits. An hour at 600 a minute is 110,000 events, and
tuning needs hundreds of hours, so an event is a tuple on a heap with a number for its kind.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from math import inf, log
from random import Random
from typing import Any, Final, Protocol

from attrs import define, field, frozen

from batchllm.simulator import QuotaServer

_WAKE: Final = 0
_ARRIVE: Final = 1
_DEPART: Final = 2
_ANSWER: Final = 3
_REFUSAL: Final = 4

Draw = Callable[[Random], float]
"""Draws seconds, or tokens."""


class Client(Protocol):
    """A client that decides when to send; all instants are seconds of one clock."""

    def next_time(self, now: float, tokens: float) -> float:
        """Return the earliest instant for the next send; infinity until something is reported."""
        ...

    def on_send(self, now: float, tokens: float) -> Any:
        """Note a send; returns what is to be handed back with its result."""
        ...

    def on_result(self, now: float, send: Any, accepted: bool, wait: float | None) -> None:
        """Note how a send ended; `wait` is the hint of a refusal."""
        ...


def lognormal(median: float, sigma: float) -> Draw:
    """Draw seconds around `median`."""
    mu = log(median)
    return lambda rng: rng.lognormvariate(mu, sigma)


_USUAL: Final = lognormal(3.0, 0.5)


@frozen(kw_only=True)
class Traffic:
    """The requests that are sent, and how long everything takes.

    Attributes:
        items: How many there are.
        callers: How many items of one client are live at once.
        way: The least and most seconds to the server, and as many back.
        answer: Draws the seconds that an answer takes to make.
        tokens: Draws the tokens of an item; without it tokens are not counted.
    """

    items: float = inf
    callers: int = 1000
    way: tuple[float, float] = (0.015, 0.075)
    answer: Draw = _USUAL
    tokens: Draw | None = None


@define
class Record:
    """The record of a run: instants of arrival in order, and what follows from them.

    A silence is a stretch without a send while an item waits and has a caller; the one in which
    the run ended stands apart, since a scope that was given up stays silent for good.
    """

    until: float = inf
    sends: int = 0
    accepted: list[float] = field(factory=list)
    refused: list[float] = field(factory=list)
    answered: int = 0
    ended: float = inf
    last_send: float = 0.0
    silence: float = 0.0
    silence_at: float = 0.0
    final_silence: float = 0.0
    longest_hint: float = 0.0

    def accepted_between(self, begin: float, end: float) -> int:
        """Count what was accepted."""
        return bisect_left(self.accepted, end) - bisect_left(self.accepted, begin)

    def refused_between(self, begin: float, end: float) -> int:
        """Count what was refused."""
        return bisect_left(self.refused, end) - bisect_left(self.refused, begin)

    def refused_share(self, begin: float = 0.0, end: float = inf) -> float:
        """Return the share of the arrivals that were refused."""
        refused = self.refused_between(begin, end)
        return refused / max(1, refused + self.accepted_between(begin, end))


class _Seat:
    """One client with its callers."""

    __slots__ = ("client", "head", "live", "retries", "wake")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.live = 0  # items in flight or waiting to be sent again
        self.retries: list[tuple[float, int, float]] = []  # not before, serial, tokens
        self.head: float | None = None  # tokens of the item that waits to be sent
        self.wake = inf  # the earliest wake-up on the heap


class _World:
    """One run; see `simulate`."""

    def __init__(
        self, clients: Sequence[Client], server: QuotaServer, rng: Random, traffic: Traffic
    ) -> None:
        self._seats = [_Seat(client) for client in clients]
        self._server = server
        self._rng = rng
        self._traffic = traffic
        self._left = traffic.items
        self._events: list[tuple[Any, ...]] = []
        self._serial = 0
        self._waiting_since: float | None = None
        self.record = Record()

    def run(self, until: float) -> None:
        """Handle events until `until`, or until each item has been answered."""
        record, events, seats = self.record, self._events, self._seats
        items = self._traffic.items
        server = self._server
        for seat in seats:
            self._launch(seat, 0.0)
        while events:
            event = heappop(events)
            now, _, kind, number = event[:4]
            if now > until:
                break
            seat = seats[number]
            if kind == _ARRIVE:
                self._arrive(now, number, event[4], event[5])
                continue
            if kind == _DEPART:
                server.depart(now)
                continue
            if kind == _WAKE:
                if now >= seat.wake:
                    seat.wake = inf
            elif kind == _ANSWER:
                seat.live -= 1
                seat.client.on_result(now, event[4], True, None)
                record.answered += 1
                if record.answered >= items:
                    record.ended = now
                    return
            else:
                wait = event[6]
                seat.client.on_result(now, event[4], False, wait)
                heappush(seat.retries, (now + (wait or 0.0), event[1], event[5]))
            self._launch(seat, now)
        if self._waiting_since is not None and until < inf:
            record.final_silence = until - self._waiting_since

    def _arrive(self, now: float, number: int, send: Any, tokens: float) -> None:
        rng, traffic, record = self._rng, self._traffic, self.record
        low, high = traffic.way
        back = low + (high - low) * rng.random()
        work = traffic.answer(rng)
        accepted, wait, delay = self._server.arrive(now, tokens, work)
        self._serial = serial = self._serial + 1
        if not accepted:
            record.refused.append(now)
            if wait is not None and wait > record.longest_hint:
                record.longest_hint = wait
            heappush(self._events, (now + back, serial, _REFUSAL, number, send, tokens, wait))
            return
        record.accepted.append(now)
        done = now + delay + work
        heappush(self._events, (done + back, serial, _ANSWER, number, send))
        if self._server.notes_departures:
            heappush(self._events, (done, serial, _DEPART, number))

    def _launch(self, seat: _Seat, now: float) -> None:
        """Send what the client allows now, and plan when to ask it again."""
        client, retries, events = seat.client, seat.retries, self._events
        rng, callers = self._rng, self._traffic.callers
        low, high = self._traffic.way
        number = self._seats.index(seat) if len(self._seats) > 1 else 0
        while True:
            again = bool(retries) and retries[0][0] <= now
            if again:
                tokens = retries[0][2]
            elif self._left > 0 and seat.live < callers:
                tokens = self._head(seat)
            else:
                at = retries[0][0] if retries else inf
                break
            at = client.next_time(now, tokens)
            if at > now:
                if self._waiting_since is None:
                    self._waiting_since = now
                break
            if again:
                heappop(retries)
            else:
                self._left -= 1
                seat.live += 1
                seat.head = None
            send = client.on_send(now, tokens)
            self.record.sends += 1
            self.record.last_send = now
            if self._waiting_since is not None:
                self._silence(now)
                self._waiting_since = None
            self._serial = serial = self._serial + 1
            arrival = now + low + (high - low) * rng.random()
            heappush(events, (arrival, serial, _ARRIVE, number, send, tokens))
        if at < seat.wake:
            seat.wake = at
            self._serial = serial = self._serial + 1
            heappush(events, (at, serial, _WAKE, number))

    def _head(self, seat: _Seat) -> float:
        """Return the tokens of the next fresh item, the same until it is sent."""
        draw = self._traffic.tokens
        if draw is None:
            return 0.0
        if seat.head is None:
            seat.head = draw(self._rng)
        return seat.head

    def _silence(self, now: float) -> None:
        assert self._waiting_since is not None
        length = now - self._waiting_since
        if length > self.record.silence:
            self.record.silence, self.record.silence_at = length, self._waiting_since


def simulate(
    clients: Client | Sequence[Client],
    server: QuotaServer,
    *,
    rng: Random,
    traffic: Traffic | None = None,
    until: float = inf,
) -> Record:
    """Run until `until` seconds have passed or every item has been answered.

    Args:
        clients: One client, or several that share the backlog.
        server: The quota that they meet.
        rng: Where ways, answers and tokens come from.
        traffic: What is sent; an endless backlog of answers around 3 seconds by default.
        until: Seconds to simulate; it may be left out only if the items end.
    """
    traffic = traffic or Traffic()
    if until == inf and traffic.items == inf:
        raise ValueError("simulate() never ends: give `until` or a number of items.")
    group = clients if isinstance(clients, Sequence) else [clients]
    world = _World(group, server, rng, traffic)
    world.run(until)
    world.record.until = until
    return world.record
