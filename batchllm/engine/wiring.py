"""The parts of a run that are put together from other parts of it."""

from __future__ import annotations

import math
from random import Random

from batchllm.core import ProcessorConfig
from batchllm.engine.attempts import Attempts
from batchllm.engine.call_context import CallContext
from batchllm.engine.call_timers import CallTimers
from batchllm.engine.events import Events
from batchllm.engine.hedging import Hedging
from batchllm.engine.kept_spending import kept_in
from batchllm.engine.pipeline import Pipeline
from batchllm.engine.recorder import Recorder
from batchllm.engine.resources import Resources
from batchllm.engine.retry_hooks import RetryHooks
from batchllm.engine.run_options import RunOptions
from batchllm.engine.slow_hooks import SlowHooks
from batchllm.engine.spending import Spending
from batchllm.engine.waiting import Waits, Window
from batchllm.engine.watchers import Watchers
from batchllm.policy import RetrySchedule

__all__ = ["make_call_context", "make_hedging", "make_pipeline", "make_spending"]


def make_hedging(
    config: ProcessorConfig, timers: CallTimers, waits: Waits, events: Events
) -> Hedging | None:
    """Make what starts further copies of slow calls, which a pause does not make slow."""
    return None if config.hedge is None else Hedging(config.hedge, timers.running, waits, events)


def make_spending(
    options: RunOptions, shared: Resources, waits: Waits, events: Events
) -> Spending | None:
    """Make the run's side of the budget; ``None`` without a budget."""
    if shared.ledger is None:
        return None
    kept = kept_in(options.journal) if options.keeps_spending else None
    return Spending(shared.ledger, shared.prices, waits.ending, waits, events, waits.clock, kept)


def make_call_context(
    options: RunOptions,
    shared: Resources,
    waits: Waits,
    timers: CallTimers,
    recorder: Recorder,
    spending: Spending | None,
    watchers: Watchers,
    hedging: Hedging | None,
    started: float,
) -> CallContext:
    """Gather what each call needs."""
    config = options.config
    return CallContext(
        config=config,
        gates=shared.gates,
        callers=shared.callers,
        hooks=shared.hooks,
        lifecycle=shared.lifecycle,
        ending=waits.ending,
        waits=waits,
        recorder=recorder,
        watchers=watchers,
        clock=waits.clock,
        timers=timers,
        prices=shared.prices,
        spending=spending,
        batch_deadline=started
        + (math.inf if config.batch_timeout is None else config.batch_timeout),
        classifier=options.error_classifier,
        hedging=hedging,
    )


def make_pipeline(
    options: RunOptions,
    context: CallContext,
    window: Window,
    events: Events,
    slow: SlowHooks,
    rng: Random,
) -> Pipeline:
    """Make what takes an item to its result: attempts inside, the user's steps around them."""
    config, middlewares = options.config, options.middlewares
    hooks = RetryHooks(middlewares, events, config, context.clock, slow)
    attempts = Attempts(context, RetrySchedule(config.retry, rng), window, hooks)
    return Pipeline(
        config, attempts, options.strategy, middlewares, options.post_processor, events, slow,
        context.waits,
    )  # fmt: skip
