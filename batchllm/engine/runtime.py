"""All that one run or pool needs to process items, wired together."""

from __future__ import annotations

import math
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
from batchllm.engine.hedging import Hedging
from batchllm.engine.item import ItemRun
from batchllm.engine.limited import limited_by
from batchllm.engine.observing import Events
from batchllm.engine.pipeline import Pipeline
from batchllm.engine.progress import Progress
from batchllm.engine.resources import Resources
from batchllm.engine.slow_hooks import SlowHooks
from batchllm.gate import Gate
from batchllm.policy import RetrySchedule

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
    """The parts of one run, made inside its event loop.

    Attributes:
        options: What the face was given.
        resources: Gates, cap and lifecycle; the run's own, or a processor's.
        owned: Whether they end with the run.
        ending: How the run ends.
        warnings: What went wrong beside the items.
    """

    options: RunOptions
    resources: Resources
    owned: bool
    clock: Callable[[], float]
    ending: Ending
    events: Events
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
        *,
        resources: Resources | None = None,
        clock: Callable[[], float] = anyio.current_time,
    ) -> Runtime:
        """Wire the parts of a run together.

        Args:
            options: What the face was given.
            asleep: A block during which an item holds no room in the window.
            resources: Of somebody who runs several batches; ``None`` makes the run's own.
            clock: Seconds on the event loop's clock.

        Raises:
            StrategyError: A middleware or strategy cannot be called.
        """
        config, now = options.config, clock()
        shared = resources or Resources.build(config, options.gates)
        warnings: list[str] = []
        slow = SlowHooks(warnings)
        ending, events = Ending(), Events(options.observers, slow=slow)
        shared.gates.events = events
        if options.strategy is not None:
            shared.hooks.shape_of(options.strategy)
        calls = Calls(
            config,
            shared.gates.of,
            shared.callers,
            shared.hooks,
            shared.lifecycle,
            ending,
            options.error_classifier,
            clock,
            now + (math.inf if config.batch_timeout is None else config.batch_timeout),
        )
        if config.hedge is not None:
            calls.hedging = Hedging(config.hedge, clock, lambda: calls.waiting.idle, events.emit)
        attempts = Attempts(calls, RetrySchedule(config.retry, shared.rng), asleep)
        pipeline = Pipeline(
            attempts, options.strategy, options.middlewares, options.post_processor, events, slow
        )
        owned = resources is None
        progress = Progress(config, slow)
        return cls(
            options, shared, owned, clock, ending, events, calls, pipeline, progress, now, warnings
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

    def stats(self) -> dict[str, Any]:
        """Numbers about pace and health, as ``get_stats()`` gives them."""
        gates = self.resources.gates
        scopes = gates.stats()
        sends = sum(s.sends for s in scopes.values())
        refused = sum(s.throttled + s.overloaded for s in scopes.values())
        own = self.resources.callers.mind
        held, duration = gates.held_back(), self.clock() - self.started
        snapshots = [*scopes.values(), *([] if own is None else [own.snapshot(self.clock())])]
        held["calls"] = held.get("calls", 0.0) + self.resources.callers.full_for
        return {
            "duration": duration,
            "in_flight": self.resources.callers.in_flight,
            "waiting": sum(self.calls.waiting.at.values()),
            "rate_limit_count": gates.episodes,
            "hedged_calls": self.calls.hedging.count if self.calls.hedging else 0,
            "throttled_calls": sum(s.throttled for s in scopes.values()),
            "calls_sent": sends,
            "refused_share": refused / sends if sends else 0.0,
            "waits": dict(self.calls.waiting.seconds),
            "held_back": held,
            "limited_by": limited_by(held, duration, snapshots, self.resources.callers.calls),
            "own_limits": None if own is None else own.snapshot(self.clock()),
            "scopes": scopes,
            "connections": self.resources.lifecycle.connections(),
        }

    async def close(self) -> None:
        """End what is the run's own, and gather what went wrong beside the items."""
        if self.owned:
            self.warnings.extend(await self.resources.close())
        self.warnings.extend(self.progress.warnings)
