"""The parts of a run that its calls share, the estimates of their costs among them.

While no limit on tokens is in force no strategy is asked: a call is one request. Else the
strategy's own estimate counts; a strategy that makes none is guessed for, from the length of the
prompt and what calls of its scope reported before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import anyio
from attrs import define, field

from batchllm.core import (
    CallCost,
    ErrorClassifier,
    LLMCallStrategy,
    ProcessorConfig,
    QuotaScope,
    TokenUsage,
)
from batchllm.engine.call_timers import CallTimers
from batchllm.engine.ending import Ending
from batchllm.engine.gates import Gates
from batchllm.engine.hedging import Hedging
from batchllm.engine.hooks import HookTable, estimate_of
from batchllm.engine.lifecycle import Lifecycle
from batchllm.engine.recorder import Recorder
from batchllm.engine.spending import Spending
from batchllm.engine.waiting import Waits
from batchllm.engine.watchers import Watchers
from batchllm.gate import CallerLimits, Gate
from batchllm.policy import Limit, PriceBook, TokenEstimator, prompt_bytes
from batchllm.transport import run_in_thread

__all__ = ["ONE_REQUEST", "CallContext", "Estimates"]

ONE_REQUEST = CallCost()


@define(eq=False)
class Estimates:
    """Costs of calls, for one run; calibrated by what is reported back."""

    _estimator: TokenEstimator = field(factory=TokenEstimator, init=False)

    def cost_of(
        self, strategy: LLMCallStrategy[Any], prompt: Any, gate: Gate, callers: CallerLimits
    ) -> CallCost:
        """Return what to reserve for a call of *strategy* with *prompt*.

        Raises:
            TypeError: Its ``estimate`` returned something else than a cost.
        """
        if not gate.counts_tokens(callers):
            return ONE_REQUEST
        estimated = estimate_of(strategy, prompt)
        if estimated is not None:
            return estimated
        guess = self._estimator.estimate(strategy.quota_scope, prompt_bytes(prompt))
        own = () if callers.limiter is None else callers.limiter.limits
        return _with_room(guess, (*gate.limiter.limits, *own))

    def learn(self, scope: QuotaScope | None, prompt: Any, usage: TokenUsage | None) -> None:
        """Take in what a call reported."""
        if usage is not None:
            self._estimator.learn(
                scope,
                prompt_bytes(prompt),
                usage.get("input_tokens"),
                usage.get("output_tokens"),
            )


def _with_room(guess: CallCost, limits: Iterable[Limit]) -> CallCost:
    """Cut the output of *guess* to what the limits can give: no call fails for a mere guess."""
    output = guess.output_tokens
    for limit in limits:
        if limit.dimension == "output_tokens":
            output = min(output, limit.enforced[0])
        elif limit.dimension == "tokens":
            output = min(output, limit.enforced[0] - guess.input_tokens)
    if output == guess.output_tokens:
        return guess
    return CallCost(guess.requests, guess.input_tokens, max(0, output))


@define(eq=False, kw_only=True)
class CallContext:
    """The parts of a run that each of its calls needs.

    Attributes:
        config: The run's settings.
        gates: Finds the gate of a quota scope.
        callers: The run's cap on calls in flight over all scopes.
        hooks: How strategies are called.
        lifecycle: Gets strategies ready.
        ending: Says whether calls may still start.
        waits: Where items wait for their permits.
        recorder: Writes down that calls begin and fail.
        watchers: See calls begin and end.
        clock: Seconds on the event loop's clock.
        timers: Cancel calls whose time is over.
        batch_deadline: When the batch is cancelled; strategies learn how long that leaves.
        classifier: The user's classifier, asked before the strategy's own.
        prices: Say what calls cost.
        spending: Keeps the budget; ``None`` if there is none.
        hedging: Makes slow calls a second time; ``None`` never does.
        estimates: What calls take from limits on tokens.
    """

    config: ProcessorConfig
    gates: Gates
    callers: CallerLimits
    hooks: HookTable
    lifecycle: Lifecycle
    ending: Ending
    waits: Waits
    recorder: Recorder
    watchers: Watchers
    clock: Callable[[], float]
    timers: CallTimers
    prices: PriceBook
    spending: Spending | None = None
    batch_deadline: float = math.inf
    classifier: ErrorClassifier | None = None
    hedging: Hedging | None = None
    estimates: Estimates = field(factory=Estimates, init=False)
    _loading: anyio.Lock = field(factory=anyio.Lock, init=False)

    async def load_prices(self) -> None:
        """Load the package of prices in a worker thread; calls that come meanwhile wait for it."""
        self.waits.wake_feed()
        async with self._loading:
            if self.prices.unloaded:
                await run_in_thread(self.prices.load, limiter=anyio.CapacityLimiter(1))
