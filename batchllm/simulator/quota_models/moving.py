"""Quotas that move: with the clock, or with what was used of them."""

import math
from bisect import bisect_right
from typing import Final, Self

from attrs import define, field, frozen

from batchllm.simulator.admission import TokenBucket
from batchllm.simulator.quota_models.hint_rules import HintRule, exact_hint
from batchllm.simulator.quota_models.verdict import ACCEPTED, Verdict

_DAY: Final = 86_400.0
"""Seconds that a periodic schedule is laid out for."""


@frozen
class Schedule:
    """Factors of a limit: the first holds from 0, each further one from its instant on.

    Args:
        changes: Pairs of an instant in seconds and the factor that holds from there.
    """

    changes: tuple[tuple[float, float], ...] = ()
    _instants: list[float] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_instants", [at for at, _ in self.changes])

    @classmethod
    def growing(cls, by: float, every: float, step: float, until: float = _DAY) -> Self:
        """Grow by the share `by` in each `every` seconds, in steps of `step` seconds.

        It ends after a factor of a million, since no client sends more than that.
        """
        factors = (
            (n * step, (1 + by) ** (n * step / every)) for n in range(1, int(until / step) + 1)
        )
        return cls(tuple((at, factor) for at, factor in factors if factor < 1e6))

    @classmethod
    def square_wave(cls, low: float, half: float, until: float = _DAY) -> Self:
        """Fall to `low` and rise again, each for `half` seconds, beginning high."""
        count = int(until / half)
        return cls(tuple((n * half, low if n % 2 else 1.0) for n in range(1, count + 1)))

    def factor(self, now: float) -> float:
        """Return the factor that holds at `now`."""
        at = bisect_right(self._instants, now)
        return self.changes[at - 1][1] if at else 1.0

    def next_change(self, now: float) -> float:
        """Return the first instant after `now` at which the factor changes, else infinity."""
        at = bisect_right(self._instants, now)
        return self._instants[at] if at < len(self._instants) else math.inf

    def mean(self, begin: float, end: float) -> float:
        """Return the mean factor between two instants."""
        total, at = 0.0, begin
        while at < end:
            until = min(end, self.next_change(at))
            total += self.factor(at) * (until - at)
            at = until
        return total / (end - begin)


STEADY: Final = Schedule()


@define(eq=False)
class GrowingByUse:
    """A bucket whose rate follows its use: in each block it allows so much more than was used.

    It never falls below what it allowed at first. `sustained` is what full use would have led to.

    Args:
        bucket: The bucket as it stands in the first block.
        by: The share by which a block may exceed what was used in the one before.
        every: Seconds of a block.
        hint: What a refusal says about waiting.
    """

    bucket: TokenBucket
    by: float = 0.5
    every: float = 900.0
    hint: HintRule = field(default=exact_hint, kw_only=True)
    notes_departures: bool = field(default=False, init=False)
    _first: float = field(init=False)
    _block: int = field(init=False, default=0)
    _used: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._first = self.bucket.limit

    def arrive(self, now: float, tokens: float = 0.0, work: float = 0.0) -> Verdict:
        """Ask the bucket as it stands in this block."""
        block = int(now // self.every)
        if block != self._block:
            self._grow(now, block)
        wait = self.bucket.wait(now, 1.0)
        if wait > 0:
            return Verdict(False, self.hint(wait))
        self.bucket.take(now, 1.0)
        self._used += 1
        return ACCEPTED

    def depart(self, now: float) -> None:
        """Nothing is kept of a request but its arrival."""

    def sustained(self, begin: float, end: float) -> float:
        """Return what the quota would have allowed, had all of it been used."""
        full = Schedule.growing(self.by, self.every, self.every, until=end)
        per_second = self._first / self.bucket.window
        return per_second * full.mean(begin, end) * (end - begin)

    def _grow(self, now: float, block: int) -> None:
        used = self._used * self.bucket.window / self.every if block == self._block + 1 else 0.0
        self.bucket.resize(now, max(self._first, (1 + self.by) * used))
        self._block, self._used = block, 0
