"""A world of events in virtual time: one client with a backlog, one server with a quota."""

from __future__ import annotations

import heapq
from math import inf
from random import Random
from typing import Any, Protocol

from attrs import define, field, frozen

from batchllm.core import CallCost, Outcome, ServerHint
from batchllm.policy import RateLimiter
from benchmarks._quota_servers import Server

COST = CallCost()


class Client(Protocol):
    """What decides when to send."""

    def next_time(self, now: float) -> float: ...
    def on_send(self, now: float) -> Any: ...
    def on_result(self, now: float, send: Any, accepted: bool, wait: float | None) -> None: ...


class Paced:
    """The library's own mind."""

    def __init__(self, mind: RateLimiter) -> None:
        self.mind = mind

    def next_time(self, now: float) -> float:
        return self.mind.next_time(now, COST)

    def on_send(self, now: float) -> Any:
        return self.mind.on_send(now, COST)

    def on_result(self, now: float, send: Any, accepted: bool, wait: float | None) -> None:
        if accepted:
            self.mind.on_result(now, send, Outcome.OK)
        else:
            hint = None if wait is None else ServerHint(wait=wait)
            self.mind.on_result(now, send, Outcome.THROTTLED, hint)


@frozen(kw_only=True)
class Ways:
    """Seconds on the way: to the server, back, and for an answer beyond that."""

    there: tuple[float, float] = (0.015, 0.075)
    back: tuple[float, float] = (0.015, 0.075)
    answer: tuple[float, float] = (2.0, 6.0)


@define
class Log:
    """What the server saw."""

    sends: list[float] = field(factory=list)
    accepted: list[float] = field(factory=list)
    refused: list[float] = field(factory=list)
    ended: float = 0.0

    def accepted_between(self, begin: float, end: float) -> int:
        return sum(begin <= at < end for at in self.accepted)

    def refused_share(self) -> float:
        return len(self.refused) / max(1, len(self.refused) + len(self.accepted))


def simulate(
    client: Client,
    server: Server,
    *,
    rng: Random,
    hints: bool,
    until: float = inf,
    items: float = inf,
    ways: Ways | None = None,
) -> Log:
    """Run until *until* seconds have passed or *items* calls have been answered."""
    ways = ways or Ways()
    log = Log()
    events: list[tuple[float, int, str, Any]] = [(0.0, 0, "", None)]
    serial, answered, waiting, wake = 1, 0, items, inf
    while events:
        now, _, kind, data = heapq.heappop(events)
        if now > until:
            break
        if kind == "wake":
            wake = inf if now >= wake else wake
        elif kind == "arrive":
            ok = server.accept(now)
            (log.accepted if ok else log.refused).append(now)
            wait = server.wait(now) if hints and not ok else None
            later = now + rng.uniform(*ways.back) + (rng.uniform(*ways.answer) if ok else 0.0)
            heapq.heappush(events, (later, serial, "end", (data, ok, wait)))
            serial += 1
        elif kind == "end":
            send, ok, wait = data
            client.on_result(now, send, ok, wait)
            answered += ok
            waiting += not ok
            if answered >= items:
                log.ended = now
                break
        while waiting > 0 and (at := client.next_time(now)) <= now:
            waiting -= 1
            log.sends.append(now)
            arrival = now + rng.uniform(*ways.there)
            heapq.heappush(events, (arrival, serial, "arrive", client.on_send(now)))
            serial += 1
        if waiting > 0 and at < wake:
            wake = at
            heapq.heappush(events, (at, serial, "wake", None))
            serial += 1
    return log
