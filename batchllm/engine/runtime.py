"""All that one run or pool needs to process items, wired together."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import anyio
from attrs import define, field

from batchllm.core import (
    BaseMiddleware,
    BaseObserver,
    ErrorClassifier,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessorConfig,
    WorkItemResult,
)
from batchllm.engine.attempts import Attempts
from batchllm.engine.calls import Calls
from batchllm.engine.ending import Ending
from batchllm.engine.gates import Gates
from batchllm.engine.hooks import HookTable
from batchllm.engine.item import ItemRun
from batchllm.engine.lifecycle import Lifecycle
from batchllm.engine.observing import Events
from batchllm.engine.pipeline import Pipeline
from batchllm.engine.progress import Progress
from batchllm.gate import CallerLimits, Gate, per_minute
from batchllm.policy import GateMind, RetrySchedule

__all__ = ["RunOptions", "Runtime"]


@define(kw_only=True)
class RunOptions:
    """What a face passes on to a run, beside the items.

    Attributes:
        config: The settings.
        strategy: For items that bring none.
        middlewares: Steps round each item.
        observers: Watch events.
        post_processor: Called with every result.
        error_classifier: Asked first what an exception means.
        gates: The user's own gates.
    """

    config: ProcessorConfig = field(factory=ProcessorConfig)
    strategy: LLMCallStrategy[Any] | None = None
    middlewares: Sequence[BaseMiddleware] = ()
    observers: Sequence[BaseObserver] = ()
    post_processor: Callable[[WorkItemResult[Any, Any]], Any] | None = None
    error_classifier: ErrorClassifier | None = None
    gates: Sequence[Gate] = ()


@define(eq=False)
class Runtime:
    """The parts of one run, made inside its event loop."""

    options: RunOptions
    asleep: Callable[[], AbstractContextManager[None]]
    clock: Callable[[], float]
    ending: Ending
    events: Events
    gates: Gates
    callers: CallerLimits
    lifecycle: Lifecycle
    calls: Calls
    pipeline: Pipeline
    progress: Progress
    started: float
    warnings: list[str] = field(factory=list)

    @classmethod
    def build(
        cls,
        options: RunOptions,
        asleep: Callable[[], AbstractContextManager[None]],
        clock: Callable[[], float] = anyio.current_time,
    ) -> Runtime:
        """Wire the parts of a run together.

        Args:
            options: What the face was given.
            asleep: A block during which an item holds no room in the window.
            clock: Seconds on the event loop's clock.

        Raises:
            StrategyError: A middleware or strategy cannot be called.
        """
        config = options.config
        rng = random.Random(config.seed)
        ending, hooks, events = Ending(), HookTable(), Events(options.observers)
        if options.strategy is not None:
            hooks.shape_of(options.strategy)
        gates = Gates(config, options.gates, rng, events)
        callers = CallerLimits(config.max_workers, _declared(config, rng))
        lifecycle = Lifecycle(ending, hooks, config.prepare_timeout, config.cleanup_timeout)
        now = clock()
        calls = Calls(
            config,
            gates.of,
            callers,
            hooks,
            lifecycle,
            ending,
            options.error_classifier,
            clock,
            now + (math.inf if config.batch_timeout is None else config.batch_timeout),
        )
        attempts = Attempts(calls, RetrySchedule(config.retry, rng), asleep)
        pipeline = Pipeline(
            attempts, options.strategy, options.middlewares, options.post_processor, events
        )
        progress = Progress(config)
        return cls(
            options,
            asleep,
            clock,
            ending,
            events,
            gates,
            callers,
            lifecycle,
            calls,
            pipeline,
            progress,
            now,
        )

    def take_up(self, work: LLMWorkItem[Any, Any, Any], index: int, now: float) -> ItemRun:
        """Begin to keep the books of one item."""
        config = self.options.config
        limit = work.timeout if work.timeout is not None else config.timeout_per_item
        return ItemRun(
            work,
            index,
            now,
            math.inf if limit is None else limit,
            math.inf if config.deadline_per_item is None else now + config.deadline_per_item,
        )

    def cooling_items(self) -> int:
        """Items that wait for a scope which is cooling down."""
        return sum(count for gate, count in self.calls.waiting_at.items() if count and gate.closed)

    def stats(self) -> dict[str, Any]:
        """Numbers about pace and health, as ``get_stats()`` gives them."""
        gates = self.gates.stats()
        return {
            "duration": self.clock() - self.started,
            "in_flight": self.callers.in_flight,
            "waiting": sum(self.calls.waiting_at.values()),
            "rate_limit_count": self.gates.episodes,
            "throttled_calls": sum(s.throttled for s in gates.values()),
            "calls_sent": sum(s.sends for s in gates.values()),
            "scopes": gates,
        }

    async def close(self) -> None:
        """Clean up what strategies kept ready, and gather what went wrong beside the items."""
        self.warnings.extend(await self.lifecycle.close())
        self.gates.close()
        self.warnings.extend(self.progress.warnings)


def _declared(config: ProcessorConfig, rng: random.Random) -> GateMind | None:
    """What keeps the run's own limits, which hold over all scopes together."""
    limits = tuple(per_minute(config.max_requests_per_minute, config.max_tokens_per_minute))
    if not limits:
        return None
    return GateMind(limits=limits, rng=rng, ramp=None, breaker_after=None)
