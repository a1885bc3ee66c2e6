"""Workers of one shared quota, each with a clock of its own, that use their slots in any way."""

from __future__ import annotations

from math import inf
from random import Random

from attrs import define, field

from batchllm.core import CallCost
from batchllm.policy import LeaseBook, LeasedBucket, Limit, Quota


class Nothing:
    """Stands for the task that asks for leases; here the test does."""

    def wake(self) -> None:
        """Do nothing."""

    def hurry(self) -> None:
        """Do nothing."""


@define(eq=False)
class Company:
    """Some workers, and the authority that they ask.

    Attributes:
        arrivals: When each call came to the server, and its tokens.
        refunds: Whether calls take less than was booked for them.
    """

    rng: Random
    quota: Quota
    most_tokens: int = 0
    tardy: bool = True
    book: LeaseBook = field(factory=LeaseBook)
    arrivals: list[tuple[float, int]] = field(factory=list)
    sent: list[tuple[float, int]] = field(factory=list)
    lost: int = 0

    def run(self, workers: int, seconds: float, deaths: float) -> None:
        """Let *workers* use the quota for *seconds*; one step of a worker may be its last."""
        rng = self.rng
        team = [self._new(number) for number in range(workers)]
        due = [rng.uniform(0, 0.5) for _ in team]
        offsets = [rng.uniform(-1e4, 1e4) for _ in team]
        names = workers
        while (now := min(due)) < seconds:
            place = due.index(now)
            if rng.random() < deaths:  # its slots are lost, and what it had to report
                names += 1
                team[place], offsets[place] = self._new(names), rng.uniform(-1e4, 1e4)
                due[place] = now + rng.uniform(0, 3)
                continue
            due[place] = self._step(team[place], now, offsets[place])

    def _new(self, number: int) -> LeasedBucket:
        return LeasedBucket(f"w{number}", "", self.quota, Nothing())

    def _cost(self) -> CallCost:
        if not self.most_tokens:
            return CallCost()
        return CallCost(1, self.rng.randint(1, self.most_tokens), 0)

    def _step(self, bucket: LeasedBucket, now: float, offset: float) -> float:
        """Ask, and start a call in each slot; return when to do so again."""
        rng = self.rng
        demand = [self._cost() for _ in range(rng.randint(1, 30))]
        local = now + offset
        request = bucket.ask(local, demand, 0.0)
        # At times too slow to be of use.
        slow = self.quota.hold * rng.choice((0.02, 0.02, 0.1, 0.6))
        there, back = rng.uniform(0, slow), rng.uniform(0, slow)
        lease = self.book.lease(now + there, request)
        if rng.random() < 0.05:  # the answer is lost
            self.lost += 1
            return now + there + back + rng.uniform(0, 1)
        bucket.on_lease(request, lease, local, local + there + back)
        local += there + back
        for cost in request.costs[: len(lease.opens)]:
            local = self._start(bucket, local, cost, offset)
        # More is asked for before the last slot is there, as a real worker does.
        return max(now + there + back, local - offset - 0.25)

    def _start(self, bucket: LeasedBucket, local: float, cost: CallCost, offset: float) -> float:
        at = bucket.next_time(local, cost)
        if at == inf or at - local > 5:
            return local
        # Calls start side by side: each as late as its slot allows, whatever the others do.
        closes = next(slot.closes for slot in bucket._slots if bucket._fits(slot, cost))
        late = at
        if self.tardy:
            late += self.rng.choice((0.0, 0.0, self.rng.random(), 1.0)) * (closes - at)
        reservation = bucket.take(late, cost)
        self._arrive(late - offset, cost.tokens)
        took = None
        if self.most_tokens and self.rng.random() < 0.5:
            took = CallCost(1, self.rng.randint(0, cost.input_tokens), 0)
            self.sent[-1] = (self.sent[-1][0], took.tokens)
            self.arrivals[-1] = (self.arrivals[-1][0], took.tokens)
        bucket.settle(reservation, took)
        return at

    def _arrive(self, at: float, tokens: int) -> None:
        jitter = max((limit.jitter for limit in self.quota.limits), default=0.0)
        way = self.rng.choice((0.0, jitter, self.rng.uniform(0, jitter)))
        self.sent.append((at, tokens))
        self.arrivals.append((at + way, tokens))


def limits(requests: int, tokens: int | None, per: float) -> tuple[Limit, ...]:
    """Return the limits of a quota."""
    first = Limit("requests", requests, per=per, jitter=0.5)
    return (first,) if tokens is None else (first, Limit("tokens", tokens, per=per, jitter=0.5))


def most_in_any_window(arrivals: list[tuple[float, int]], width: float) -> int:
    """Return the largest sum in any half-open window."""
    ordered = sorted(arrivals)
    begin, total, most = 0, 0, 0
    for at, amount in ordered:
        total += amount
        while ordered[begin][0] <= at - width:
            total -= ordered[begin][1]
            begin += 1
        most = max(most, total)
    return most
