"""How long to wait before another attempt, and how many of them a batch may make."""

from __future__ import annotations

import math
import random
from collections import deque

from attrs import define, field, frozen

from batchllm.core import RetryConfig

__all__ = ["RetryBudget", "RetrySchedule"]


@frozen
class RetrySchedule:
    """The waits between attempts; one schedule serves every item of a run.

    After n failures the wait is ``min(max_wait, initial_wait * exponential_base ** (n - 1))``
    seconds, then jittered as the config says. It remembers nothing; only *rng* moves on, so a
    seeded one makes a run repeatable.
    """

    config: RetryConfig
    rng: random.Random = field(eq=False, repr=False)

    def wait(
        self, failures: int, *, floor: float | None = None, previous: float | None = None
    ) -> float:
        """Seconds to wait before the attempt that follows *failures* failed ones.

        Args:
            failures: At least 1.
            floor: Seconds that the server asked for. Jitter never goes below it, and it may
                exceed ``max_wait``: what the server says is obeyed.
            previous: The item's last wait; only decorrelated jitter looks at it.
        """
        wait = self._jittered(self._unjittered(failures), previous)
        return wait if floor is None or not floor > wait else floor

    def _unjittered(self, failures: int) -> float:
        config = self.config
        if not config.initial_wait:
            return 0.0
        try:
            growth = config.exponential_base ** (failures - 1)
        except OverflowError:
            growth = math.inf
        return min(config.max_wait, config.initial_wait * growth)

    def _jittered(self, wait: float, previous: float | None) -> float:
        match self.config.jitter:
            case False:
                return wait
            case "full":
                return self.rng.uniform(0.0, wait)
            case "decorrelated":
                return self._decorrelated(previous)
            case _:
                return self.rng.uniform(wait / 2, wait)

    def _decorrelated(self, previous: float | None) -> float:
        # A last wait that the server made long says nothing about our own growth.
        least = self.config.initial_wait
        last = least if previous is None else min(previous, self.config.max_wait)
        return min(self.config.max_wait, self.rng.uniform(least, max(least, 3 * last)))


_SLICES = 10
_ROUNDING = 1e-9
_OF_CLOCKS = 1 + 1e-15
"""Covers the six roundings between the end of a slice and the clock that was slept up to it."""


@define(eq=False)
class _Slice:
    number: int
    deposits: int = 0
    spent: float = 0.0


@define(eq=False)
class RetryBudget:
    """Keeps retries to a share of the first attempts, so that an outage is not amplified.

    Each first attempt pays *ratio* in, each retry takes its cost out, and both are forgotten
    after *ttl* seconds (Finagle's retry budget). So over any *ttl* retries cost no more than
    *reserve* plus *ratio* times the first attempts of that time (time is counted in tenths of
    *ttl*, and both are remembered for up to a tenth longer). Sums are taken afresh over the
    tenths that are alive: nothing drifts, and memory does not grow with the batch.

    Args:
        ratio: Retries per first attempt.
        ttl: Seconds.
        reserve: Retries that are there without any first attempt.
    """

    ratio: float = 0.1
    ttl: float = field(default=60.0, kw_only=True)
    reserve: float = field(default=10.0, kw_only=True)
    _slices: deque[_Slice] = field(factory=deque[_Slice], init=False, repr=False)

    def deposit(self, now: float) -> None:
        """Note a first attempt at *now* (seconds of any monotonic clock)."""
        self._current(now).deposits += 1

    def withdraw(self, now: float, cost: float = 1.0) -> bool:
        """Take *cost* for a retry, if it is there. A timeout, which may be billed, costs 2."""
        if self.balance(now) + _ROUNDING < cost:
            return False
        self._current(now).spent += cost
        return True

    def balance(self, now: float) -> float:
        """What could be taken at *now*."""
        number = self._current(now).number
        while self._slices[0].number < number - _SLICES:
            self._slices.popleft()
        return self._sum(0)

    def delay(self, now: float, cost: float = 1.0) -> float:
        """Seconds until *cost* is there if nothing is paid in; infinity if it exceeds *reserve*."""
        if self.balance(now) + _ROUNDING >= cost:
            return 0.0
        for gone, old in enumerate(self._slices, 1):
            if self._sum(gone) + _ROUNDING >= cost:
                return max(0.0, (old.number + _SLICES + 1) * self.ttl / _SLICES - now)
        return math.inf

    def _sum(self, first: int) -> float:
        alive = list(self._slices)[first:]
        deposits = sum(one.deposits for one in alive)
        return self.reserve + self.ratio * deposits - sum(one.spent for one in alive)

    def _current(self, now: float) -> _Slice:
        number = math.floor(now * _SLICES / self.ttl * _OF_CLOCKS)
        slices = self._slices
        if not slices or slices[-1].number < number:
            slices.append(_Slice(number))
            if len(slices) > _SLICES + 1:
                slices.popleft()
        return slices[-1]
