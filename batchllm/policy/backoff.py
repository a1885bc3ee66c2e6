"""The waits before further attempts."""

from __future__ import annotations

import math
import random

from attrs import field, frozen

from batchllm.core import RetryConfig

__all__ = ["RetrySchedule"]


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
