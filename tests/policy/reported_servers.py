"""Servers that report a limit as real ones do, in virtual time, and one client that obeys."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from random import Random
from typing import Any

from attrs import define, field

from batchllm.core import CallCost
from batchllm.policy import read_headers
from batchllm.policy.admission import Admission, Admitted

EPOCH = 1_755_780_000.0


@define
class Verdict:
    """A server's decision about one call."""

    accepted: bool
    remaining: int
    reset: float


class Window:
    """A fixed window on the server's clock: its reset is the time to the end of the window."""

    def __init__(self, amount: int, per: float, phase: float = 0.0) -> None:
        self.amount, self.per, self.phase = amount, per, phase
        self.number, self.used = -1, 0

    def check(self, now: float, cost: int) -> Verdict:
        number = int((now + self.phase) // self.per)
        if number != self.number:
            self.number, self.used = number, 0
        reset = (number + 1) * self.per - self.phase - now
        accepted = self.used + cost <= self.amount
        self.used += cost if accepted else 0
        return Verdict(accepted, self.amount - self.used, reset)

    def wait(self, now: float, cost: int, verdict: Verdict) -> float:
        return verdict.reset


class Steady:
    """A bucket that refills all the time: its reset is the time until it is full.

    It may hold less than the limit that it reports.
    """

    def __init__(self, amount: int, per: float, holds: int | None = None) -> None:
        self.amount, self.rate = amount, amount / per
        self.holds = float(holds or amount)
        self.level, self.at = self.holds, 0.0

    def check(self, now: float, cost: int) -> Verdict:
        self.level = min(self.holds, self.level + (now - self.at) * self.rate)
        self.at = now
        accepted = self.level >= cost
        self.level -= cost if accepted else 0
        return Verdict(accepted, int(self.level), (self.holds - self.level) / self.rate)

    def wait(self, now: float, cost: int, verdict: Verdict) -> float:
        return (cost - self.level) / self.rate


class Sliding:
    """A log of the last period: its reset is the time until the oldest call leaves it."""

    def __init__(self, amount: int, per: float) -> None:
        self.amount, self.per = amount, per
        self.log: deque[tuple[float, int]] = deque()

    def check(self, now: float, cost: int) -> Verdict:
        while self.log and self.log[0][0] <= now - self.per:
            self.log.popleft()
        used = sum(one for _, one in self.log)
        accepted = used + cost <= self.amount
        if accepted:
            self.log.append((now, cost))
            used += cost
        reset = self.log[0][0] + self.per - now if self.log else 0.0
        return Verdict(accepted, self.amount - used, reset)

    def wait(self, now: float, cost: int, verdict: Verdict) -> float:
        return verdict.reset


Limiter = Window | Steady | Sliding


def go(seconds: float) -> str:
    """Write a duration as Go does, as mocklimit and OpenAI have it."""
    if seconds < 0.001:
        return "0s"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.3f}s" if minutes else f"{rest:.3f}s"


def stamp(moment: float) -> str:
    """Write a time as Anthropic does: in whole seconds."""
    return datetime.fromtimestamp(math.floor(moment), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def openai(name: str, verdict: Verdict, amount: int, now: float) -> dict[str, str]:
    """Headers as OpenAI writes them."""
    return {
        f"x-ratelimit-limit-{name}": str(amount),
        f"x-ratelimit-remaining-{name}": str(verdict.remaining),
        f"x-ratelimit-reset-{name}": go(verdict.reset),
    }


def anthropic(name: str, verdict: Verdict, amount: int, now: float) -> dict[str, str]:
    """Headers as Anthropic writes them."""
    return {
        f"anthropic-ratelimit-{name}-limit": str(amount),
        f"anthropic-ratelimit-{name}-remaining": str(verdict.remaining),
        f"anthropic-ratelimit-{name}-reset": stamp(EPOCH + now + verdict.reset),
    }


def seconds(name: str, verdict: Verdict, amount: int, now: float) -> dict[str, str]:
    """Headers with whole seconds, rounded up."""
    return {
        f"x-ratelimit-limit-{name}": str(amount),
        f"x-ratelimit-remaining-{name}": str(verdict.remaining),
        f"x-ratelimit-reset-{name}": str(math.ceil(verdict.reset)),
    }


@define
class Server:
    """Some limits at once, each with its headers; a call passes all of them or none."""

    limits: dict[str, Limiter]
    style: Callable[[str, Verdict, int, float], dict[str, str]]
    costs: Callable[[Random], dict[str, int]] = lambda rng: {"requests": 1}
    retry: Callable[[float], dict[str, str]] = lambda wait: {}

    def answer(self, now: float, rng: Random) -> tuple[bool, dict[str, str]]:
        """Decide about one call; the headers are written when it comes."""
        costs = self.costs(rng)
        headers = {"date": formatdate(math.floor(EPOCH + now), usegmt=True)}
        room = {name: one.check(now, 0) for name, one in self.limits.items()}
        short = [name for name, verdict in room.items() if verdict.remaining < costs[name]]
        for name, limiter in self.limits.items():
            verdict = room[name] if short else limiter.check(now, costs[name])
            headers |= self.style(name, verdict, limiter.amount, now)
        if short:
            waits = [self.limits[name].wait(now, costs[name], room[name]) for name in short]
            headers |= self.retry(max(waits))
        return not short, headers


@define
class Client:
    """Sends items as soon as ``Admission`` lets it: no search, and after a refusal its hint."""

    server: Server
    items: int
    callers: int = 50
    latency: tuple[float, float] = (0.03, 0.2)
    way: float = 0.004
    seed: int = 1
    cost: CallCost = field(factory=CallCost)
    admission: Admission = field(factory=Admission)
    refused: int = 0
    _left: int = field(default=0, init=False)
    _in_flight: int = field(default=0, init=False)
    _done: int = field(default=0, init=False)
    _paused: float = field(default=0.0, init=False)
    _events: list[tuple[float, int, Any]] = field(factory=list, init=False)
    _rng: Random = field(init=False, default=None)

    def run(self, most: float = 10_000.0) -> float:
        """Return the seconds until every item was accepted."""
        self._rng, self._left, now = Random(self.seed), self.items, 0.0
        while self._done < self.items and now < most:
            cost = self.cost if self.admission.counts_tokens else CallCost()
            at = max(self.admission.next_time(now, cost), self._paused)
            may = self._left > 0 and self._in_flight < self.callers
            if may and at <= now:
                admitted = self.admission.take(now, cost)
                self._left, self._in_flight = self._left - 1, self._in_flight + 1
                self._later(now + self._trip(), (now, admitted))
            elif self._events and (not may or self._events[0][0] <= at):
                now, _, event = heapq.heappop(self._events)
                self._arrive(now, *event) if len(event) == 2 else self._reply(now, *event)
            else:
                now = at
        return now

    def _trip(self) -> float:
        return self.way * self._rng.uniform(0.3, 2)

    def _later(self, at: float, event: tuple[Any, ...]) -> None:
        heapq.heappush(self._events, (at, self._rng.getrandbits(60), event))

    def _arrive(self, now: float, sent_at: float, admitted: Admitted) -> None:
        accepted, headers = self.server.answer(now, self._rng)
        took = self._rng.uniform(*self.latency) if accepted else 0.0
        self._later(now + took + self._trip(), (sent_at, admitted, accepted, headers))

    def _reply(
        self, now: float, sent_at: float, admitted: Admitted, ok: bool, headers: dict[str, str]
    ) -> None:
        self._in_flight -= 1
        hint = read_headers(headers, now_wall=EPOCH + now)
        for limit in hint.limits if hint else ():
            self.admission.observe(limit, now, sent_at, admitted)
        if ok:
            self._done += 1
            self.admission.on_accepted(now, sent_at)
        else:
            self.refused += 1
            self._left += 1
            self.admission.on_refused(now, sent_at)
            if hint and hint.wait:
                self._paused = max(self._paused, now + hint.wait)
        self.admission.settle(admitted, None)
