"""Servers that delay before they refuse, or grow slow under load."""

import math

from attrs import define, field, validators

from batchllm.simulator.admission import ServiceQueue
from batchllm.simulator.quota_models.hint_rules import HintRule, exact_hint
from batchllm.simulator.quota_models.verdict import QuotaServer, Verdict


@define(eq=False)
class LeakyQueue:
    """Requests leave one after the other; one that would have to wait too long is refused.

    nginx's `limit_req` with a burst and without `nodelay` is such a queue.

    Args:
        rate: Requests per second that leave the queue.
        longest: Seconds that a request waits at most.
        hint: What a refusal says about waiting.
    """

    rate: float = field(validator=validators.gt(0))
    longest: float = 10.0
    hint: HintRule = field(default=exact_hint, kw_only=True)
    notes_departures: bool = field(default=False, init=False)
    _free_at: float = field(init=False, default=-math.inf)

    def arrive(self, now: float, tokens: float = 0.0, work: float = 0.0) -> Verdict:
        """Put the request at the end of the queue, if it is short enough."""
        start = max(now, self._free_at)
        if start - now > self.longest:
            return Verdict(False, self.hint(start - now - self.longest))
        self._free_at = start + 1 / self.rate
        return Verdict(True, None, start - now)

    def depart(self, now: float) -> None:
        """A request leaves by the clock."""

    def sustained(self, begin: float, end: float) -> float:
        """Return what leaves the queue."""
        return self.rate * (end - begin)


@define(eq=False)
class Slots:
    """A server that works on so many requests at once and lets the others wait, refusing none.

    Args:
        quota: Decides whether a request is accepted at all.
        slots: How many are worked on at once.
    """

    quota: QuotaServer
    slots: int = field(validator=validators.ge(1))
    notes_departures: bool = field(init=False)
    _queue: ServiceQueue = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.notes_departures = self.quota.notes_departures
        # As long as any client has callers, so that only the quota refuses.
        self._queue = ServiceQueue(self.slots, capacity=100_000)

    def arrive(self, now: float, tokens: float = 0.0, work: float = 0.0) -> Verdict:
        """Ask the quota, then queue for a slot."""
        verdict = self.quota.arrive(now, tokens, work)
        if not verdict.accepted:
            return verdict
        place = self._queue.enter(now, work)
        return Verdict(True, None, place.start - now) if place else Verdict(False)

    def depart(self, now: float) -> None:
        """Pass it on to the quota."""
        self.quota.depart(now)

    def sustained(self, begin: float, end: float) -> float:
        """Return what the quota allows."""
        return self.quota.sustained(begin, end)
