"""Parts that outlive a batch if a processor runs several: gates, the cap, prepared strategies."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from attrs import define

from batchllm.core import ProcessorConfig
from batchllm.engine.gates import Gates
from batchllm.engine.hooks import HookTable
from batchllm.engine.lifecycle import Lifecycle
from batchllm.engine.waiting import Wakeup
from batchllm.gate import CallerLimits, Gate, per_minute
from batchllm.policy import BudgetLedger, Limit, PriceBook, RateLimiter

__all__ = ["Resources"]


@define(eq=False)
class Resources:
    """The parts that one run has to itself, or several one after the other; ended by ``close``.

    Attributes:
        rng: For every jitter.
        hooks: How strategies are called.
        gates: One per quota scope.
        callers: The cap on calls in flight, and limits over all scopes together.
        lifecycle: What strategies keep ready.
        wakeup: Of the feed of the run that goes on.
        prices: What calls cost.
        ledger: The books of the budget; ``None`` if there is none.
    """

    rng: random.Random
    hooks: HookTable
    gates: Gates
    callers: CallerLimits
    lifecycle: Lifecycle
    wakeup: Wakeup
    prices: PriceBook
    ledger: BudgetLedger | None

    @classmethod
    def build(cls, config: ProcessorConfig, gates: Sequence[Gate] = ()) -> Resources:
        """Make them for *config*, with the user's own *gates*."""
        rng = random.Random(config.seed)
        hooks, wakeup = HookTable(), Wakeup()
        return cls(
            rng,
            hooks,
            Gates(config, gates, rng),
            CallerLimits(config.max_workers, _limiter_of(_declared(config), rng), wakeup),
            Lifecycle(hooks, config.prepare_timeout, config.cleanup_timeout),
            wakeup,
            PriceBook(config.prices),
            None if config.budget is None else BudgetLedger(config.budget),
        )

    def reconfigure(self, config: ProcessorConfig) -> None:
        """Let changed limits take effect at once; calls in flight are not touched."""
        limits, callers = _declared(config), self.callers
        if callers.limiter is None:
            callers.limiter = _limiter_of(limits, self.rng)
        else:  # what was sent within the last minute still counts
            callers.limiter.set_limits(limits)
        callers.resize(config.max_workers)
        self.gates.reconfigure(config)

    async def close(self) -> list[str]:
        """Clean up, shielded and with deadlines.

        Returns:
            A sentence for each ``cleanup`` that went wrong.
        """
        warnings = await self.lifecycle.close()
        self.gates.close()
        return warnings


def _declared(config: ProcessorConfig) -> tuple[Limit, ...]:
    """Return the limits that hold over all scopes together."""
    return tuple(per_minute(config.max_requests_per_minute, config.max_tokens_per_minute))


def _limiter_of(limits: tuple[Limit, ...], rng: random.Random) -> RateLimiter | None:
    if not limits:
        return None
    return RateLimiter(limits=limits, park_after=math.inf, rng=rng, cold_start=False)
