"""One run of a batch or a pool: it makes its parts, and begins and ends with them.

Each part gets what it needs when it is made, so the order in `Run.build` is the order of who
knows whom; ``docs/design/engine.md`` has it as a picture.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup
from attrs import define, evolve, field

from batchllm.core import (
    Category,
    EndCause,
    ItemStopped,
    LLMWorkItem,
    ProcessingEvent,
    ProcessorConfig,
    RunStart,
    Tally,
    Termination,
    WorkItemResult,
)
from batchllm.engine.attempts import failed_result
from batchllm.engine.call_timers import CallTimers
from batchllm.engine.ending import CANCEL, Ending, Phase, Stop, cause_of
from batchllm.engine.events import Events
from batchllm.engine.gate_events import GateWatch
from batchllm.engine.guard import only_error
from batchllm.engine.item import ItemRun
from batchllm.engine.pipeline import Pipeline
from batchllm.engine.recorder import Recorder
from batchllm.engine.resources import Resources
from batchllm.engine.run_options import RunOptions
from batchllm.engine.shelter import Shelter
from batchllm.engine.slow_hooks import SlowHooks
from batchllm.engine.spending import check_prices
from batchllm.engine.stats import Stats
from batchllm.engine.waiting import Waits, Window
from batchllm.engine.watchers import Watchers
from batchllm.engine.wiring import (
    make_call_context,
    make_hedging,
    make_pipeline,
    make_spending,
)
from batchllm.journal import Entry
from batchllm.transport import clock_of_now

__all__ = ["Run"]


@define(eq=False, kw_only=True)
class Run:
    """The parts of one run, made inside its event loop by ``build``.

    Attributes:
        config: The settings.
        resources: Gates, cap and lifecycle; the run's own, or a processor's.
        owned: Whether they end with the run.
        clock: Seconds on the event loop's clock.
        ending: How the run ends.
        events: On their way to observers.
        window: Room for items.
        waits: The waits of items.
        timers: The deadlines of calls in flight.
        pipeline: Takes an item from its start to its complete result.
        recorder: The journal, if there is one.
        watch: Takes in the events of gates.
        stats: Numbers about pace and health.
        shelter: Shields the hooks of finished results when the run is cancelled.
        slow: Reports hooks that hold the event loop, in ``warnings``.
        tally: Sums over the results so far.
        watchers: Span observers.
        start: What they learn of its start.
    """

    config: ProcessorConfig
    resources: Resources
    owned: bool
    clock: Callable[[], float]
    ending: Ending
    events: Events
    window: Window
    waits: Waits
    timers: CallTimers
    pipeline: Pipeline
    recorder: Recorder
    watch: GateWatch
    stats: Stats
    shelter: Shelter
    slow: SlowHooks
    tally: Tally
    watchers: Watchers
    start: RunStart
    _checked_timeout: bool = field(default=False, init=False)

    @property
    def warnings(self) -> list[str]:
        """Sentences about what went wrong beside the items."""
        return self.slow.warnings

    @classmethod
    def build(
        cls,
        options: RunOptions,
        *,
        resources: Resources | None = None,
        pool: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> Run:
        """Make the parts of a run.

        Args:
            options: The user's.
            resources: Of a processor, which runs several batches; ``None`` makes the run's own.
            pool: Whether calls come from outside, in any number, and no item waits to be sent.
            clock: Seconds on the event loop's clock; ``None`` is the clock of the running one.

        Raises:
            StrategyError: A middleware or strategy cannot be called.
            ConfigError: A budget in money needs a price that is not known.
        """
        timers = CallTimers(clock or clock_of_now())
        clock = timers.now  # so that each part that asks for the time learns of a pause
        config, started = options.config, clock()
        shared = resources or Resources.build(config, options.gates)
        if options.strategy is not None:
            shared.hooks.shape_of(options.strategy)
        check_prices(config, shared.prices, options.strategy)
        ending, slow = Ending(), SlowHooks()
        events = Events(options.observers, slow=slow)
        size = math.inf if pool else config.window_size
        window = Window(size, math.inf if pool else config.max_sleeping, shared.wakeup)
        waits = Waits(ending, shared.callers, window, clock)
        watch = GateWatch(events, shared.gates, None if pool else ending, shared.wakeup)
        hedging = make_hedging(config, timers, waits, events)
        spending = make_spending(options, shared, waits, events)
        stats = Stats(shared, waits, window, hedging, spending, clock, started)
        tally, watchers = Tally(), Watchers.of(options.observers, clock)
        recorder = Recorder(
            None if config.dry_run else options.journal, config, options.strategy, ending,
            shared.gates, tally, stats, slow.warnings,
        )  # fmt: skip
        context = make_call_context(
            options, shared, waits, timers, recorder, spending, watchers, hedging, started
        )
        return cls(
            config=config,
            resources=shared,
            owned=resources is None,
            clock=clock,
            ending=ending,
            events=events,
            window=window,
            waits=waits,
            timers=timers,
            pipeline=make_pipeline(options, context, window, events, slow, shared.rng),
            recorder=recorder,
            watch=watch,
            stats=stats,
            shelter=Shelter(config.cleanup_timeout),
            slow=slow,
            tally=tally,
            watchers=watchers,
            start=RunStart(uuid4().hex[:8], pool=pool),
        )

    # -- from its start event to its end event ---------------------------------------------------

    @asynccontextmanager
    async def opened(self, total: int | None) -> AsyncGenerator[None]:
        """Serve observers, gates and time limits for the length of the block, and end the run.

        An exception that leaves the block ends the run at once: there is no end event then.

        Args:
            total: Items of the run, if it is known.
        """
        resources = self.resources
        self.watchers.start_run(evolve(self.start, total=total))
        cut_short: BaseException | None = None
        try:
            async with anyio.create_task_group() as services:
                self.events.start(services)
                self._watch_time(services)
                if not self.pipeline.plain:
                    services.start_soon(self.shelter.watch, self.ending)
                self.events.emit(ProcessingEvent.PROCESSING_STARTED, {"total": total})
                async with resources.gates.serving():
                    with resources.gates.heard_by(self.watch):
                        try:
                            yield
                            self.ending.close()  # a stop asked for from here on is too late
                        finally:
                            if self.owned:
                                self.warnings.extend(await resources.close())
                self._emit_completed()
                self.events.close()
            self.warnings.extend(self.pipeline.warnings())
            self.warnings.extend(self.events.warnings())
        except BaseException as error:
            cut_short = error
            raise
        finally:
            self.events.discard()
            self.watchers.end_run(self._why_it_ended(cut_short), self.tally)
            self.warnings.extend(self.watchers.warnings())

    def _why_it_ended(self, cut_short: BaseException | None) -> Termination:
        otherwise = Termination() if cut_short is None else cause_of(only_error(cut_short))
        return self.ending.termination or otherwise

    def _watch_time(self, services: TaskGroup) -> None:
        services.start_soon(self.timers.serve, self.ending)
        limit, grace = self.config.batch_timeout, self.config.drain_grace
        if limit is not None:
            services.start_soon(self._stop_at_batch_timeout, limit)
        if grace is not None:
            services.start_soon(self._stop_after_grace, grace)

    async def _stop_at_batch_timeout(self, limit: float) -> None:
        with self.ending.until(Phase.OVER):
            await anyio.sleep(limit)
            reason = f"batch_timeout ({limit:g} s) was over"
            self.stop(CANCEL, Termination(EndCause.BATCH_TIMEOUT, reason))

    async def _stop_after_grace(self, grace: float) -> None:
        with self.ending.until(Phase.OVER):
            await self.ending.reached(Phase.DRAINING)
            await self.timers.sleep(grace)
            self.stop(CANCEL, self.termination)

    @property
    def termination(self) -> Termination:
        """The reason why it ends, or that it has not ended."""
        return self.ending.describe()

    def stop(self, how: Stop, termination: Termination) -> None:
        """Ask for the end; a drain may be followed by a cancellation, never the other way."""
        self.ending.request(how, termination)

    def _emit_completed(self) -> None:
        data = {
            "total": self.tally.total,
            "succeeded": self.tally.succeeded,
            "failed": self.tally.failed,
            "duration": self.stats.duration,
            "termination": self.termination.cause.value,
            "tokens": dict(self.tally.usage),
            "cost": self.tally.cost,
        }
        self.events.emit(ProcessingEvent.PROCESSING_COMPLETED, data)

    # -- its items -------------------------------------------------------------------------------

    def start_item(
        self, work: LLMWorkItem[Any, Any, Any], index: int, now: float, entry: Entry | None = None
    ) -> ItemRun:
        """Begin to keep the books of one item."""
        config = self.config
        limit = config.timeout_per_item if work.timeout is None else work.timeout
        if work.timeout is not None:
            self._check_timeout(work)
        return ItemRun(
            work,
            index,
            now,
            math.inf if limit is None else limit,
            math.inf if config.deadline_per_item is None else now + config.deadline_per_item,
            entry,
            self.start.batch,
        )

    def _check_timeout(self, work: LLMWorkItem[Any, Any, Any]) -> None:
        """Warn once of an item whose own timeout is over before its attempts are."""
        if self._checked_timeout:
            return
        text = self.config.retry.too_short("timeout", work.timeout, work.max_attempts)
        if text is not None:
            self._checked_timeout = True
            self.warnings.append(f"item {work.item_id!r}: its {text} (said once)")

    def result_of_stopped(self, item: ItemRun) -> WorkItemResult[Any, Any]:
        """Return the result of an item that was not called, or cut off, since the run ends."""
        reason = self.termination.reason
        if item.cut_off:
            error = ItemStopped(f"cancelled while it was being called, and maybe billed: {reason}")
            return failed_result(item, error, Category.CANCELLED)
        return failed_result(item, ItemStopped(f"not run: {reason}"), Category.STOPPED)
