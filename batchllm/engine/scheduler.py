"""The run of a batch: feed → items → hand-over, and every way in which it can end.

Each item that the feed lets in gets a task of its own. The feed closes first, whatever the reason;
items that are finished stay finished; what happens to the rest is the table in
``docs/design/endings.md``.
"""

from __future__ import annotations

from typing import Any, cast

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from batchllm.core import (
    BatchError,
    BatchResult,
    Category,
    EndCause,
    FailFast,
    InvalidItemError,
    ItemStopped,
    LLMWorkItem,
    ProcessingEvent,
    SourceError,
    Tally,
    Termination,
    WorkItemResult,
)
from batchllm.engine.attempts import failed_result
from batchllm.engine.ending import CANCEL, DRAIN, Phase, Stop
from batchllm.engine.feed import Feed, Taken
from batchllm.engine.guard import contains, in_words, only_error, raise_as_it_was
from batchllm.engine.intake import Source
from batchllm.engine.item import ItemRun
from batchllm.engine.outbox import Collector, Outbox
from batchllm.engine.resources import Resources
from batchllm.engine.runtime import RunOptions, Runtime
from batchllm.engine.shelter import Shelter
from batchllm.engine.window import Window
from batchllm.gate import Gate
from batchllm.policy import EndpointDown, GateEvent, ScopeParked

__all__ = ["Scheduler"]

Result = WorkItemResult[Any, Any]


@define(eq=False)
class Scheduler:
    """Runs one batch, once.

    Args:
        options: What the face was given.
        items: Any iterable of items.
        outbox: Where results go.
        keep: Whether to keep every result for ``result``.
        resources: Of a processor that runs several batches; ``None`` makes the run's own.
    """

    options: RunOptions
    items: Any
    outbox: Collector | Outbox
    keep: bool = True
    resources: Resources | None = None
    window: Window = field(init=False)
    runtime: Runtime = field(init=False)
    tally: Tally = field(factory=Tally, init=False)
    results: list[Result] = field(factory=list, init=False)
    _feed: Feed = field(init=False)
    _shelter: Shelter = field(init=False)
    _calling: TaskGroup | None = field(default=None, init=False)
    _timers: TaskGroup | None = field(default=None, init=False)
    _same_failure: int = field(default=0, init=False)
    _wall_time: float | None = field(default=None, init=False)
    _last_stats: dict[str, Any] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        config = self.options.config
        self._shelter = Shelter(config.cleanup_timeout)
        self.window = Window(config.window_size, config.max_sleeping)
        self.runtime = Runtime.build(self.options, self.window.asleep, resources=self.resources)
        self.window.cooling = lambda: self.runtime.calls.waiting.cooling
        self.runtime.calls.waiting.on_wait = self.window.wake
        self.runtime.resources.callers.on_free = self.window.wake
        self.runtime.ending.on_change = self._react
        self.runtime.resources.gates.on_change = self._gate_changed
        self._feed = Feed(
            source=Source(self.items),
            window=self.window,
            outbox=self.outbox,
            callers=self.runtime.resources.callers,
            events=self.runtime.events,
            # A middleware may take its time before a call, so that items have to be ready before
            # a call is free; without one, an item that is started earlier would only wait.
            reads_ahead=bool(self.options.middlewares),
            clock=self.runtime.clock,
            accept=self._start,
            fail=self._source_failed,
            texts=self.options.strategy is not None and self.options.strategy.takes_texts,
        )

    # The run, from its beginning to its end.

    async def run(self) -> None:
        """Process the whole source.

        Raises:
            BatchError: The source or a ``prepare`` failed; ``partial`` has what was finished.
            BaseException: A cancellation from outside, or what ends the program.
        """
        ending = self.runtime.ending
        self.runtime.resources.callers.more_to_come = True
        try:
            self._feed.open()
            async with anyio.create_task_group() as services:
                self.runtime.events.start(services)
                self._emit_started()
                try:
                    await self._run_items()
                finally:
                    await self.runtime.close()
                self._emit_completed(ending.close())
            self.runtime.warnings.extend(self.runtime.events.warnings())
        except BaseException as raised:  # noqa: ASYNC103
            error = only_error(raised)
            self._close(_why(error))
            raise_as_it_was(self._with_partial(error))
        finally:
            self.runtime.events.discard()
        self._close(None)
        if ending.error is not None:
            raise self._with_partial(ending.error)

    async def _run_items(self) -> None:
        async with anyio.create_task_group() as timers:
            self._timers = timers
            if not self.runtime.pipeline.plain:
                timers.start_soon(self._shelter.watch, name="batchllm shelter")
            limit = self.options.config.batch_timeout
            if limit is not None:
                reason = f"batch_timeout ({limit:g} s) was over"
                termination = Termination(EndCause.BATCH_TIMEOUT, reason)
                timers.start_soon(self._stop_after, limit, CANCEL, termination)
            try:
                async with anyio.create_task_group() as calling:
                    self._calling = calling
                    # A task of its own: whoever cancels the caller's task natively must not be
                    # taken for an error of the source, which would drain the calls in flight.
                    calling.start_soon(self._run_feed, name="batchllm feed")
            finally:
                self._timers = None
            self.runtime.ending.close()  # a stop that is asked for from here on is too late
            timers.cancel_scope.cancel("every item has ended")

    async def _run_feed(self) -> None:
        try:
            await self._feed.run()
        finally:
            self.runtime.resources.callers.more_to_come = False
            complaint = await self._feed.source.close()
            if complaint:
                self.runtime.warnings.append(complaint)

    def _source_failed(self, error: SourceError) -> None:
        self.runtime.ending.fail(error, Termination(EndCause.SOURCE_FAILED, str(error)))

    async def _stop_after(self, seconds: float, how: Stop, termination: Termination) -> None:
        await anyio.sleep(seconds)
        self.stop(how, termination)

    def stop(self, how: Stop, termination: Termination) -> None:
        """Ask for the end; a drain may be followed by a cancellation, never the other way."""
        self.runtime.ending.request(how, termination)

    def leave(self, cause: EndCause, reason: str) -> None:
        """Nobody reads any more: no call starts from here on; the caller cancels the rest."""
        self._feed.closing = True
        if self.runtime.ending.phase is not Phase.OVER:
            self.runtime.ending.close(Termination(cause, reason))

    def _react(self, phase: Phase) -> None:
        """Act on a step towards the end. The feed closes first."""
        self._feed.close()
        self.runtime.calls.waiting.stop()
        if phase is Phase.CANCELLING:
            self._shelter.close()
        if phase is Phase.CANCELLING and self._calling is not None:
            self._calling.cancel_scope.cancel("the batch was stopped")
        grace = self.options.config.drain_grace
        if phase is Phase.DRAINING and grace is not None and self._timers is not None:
            termination = self.runtime.ending.describe()
            self._timers.start_soon(self._stop_after, grace, CANCEL, termination)

    def _gate_changed(self, gate: Gate, event: GateEvent) -> None:
        self.window.wake()
        if not isinstance(event, ScopeParked | EndpointDown):
            return
        if not self.runtime.resources.gates.all_gave_up():
            return
        if isinstance(event, EndpointDown):
            end = Termination(EndCause.ENDPOINT_DOWN, _down_in_words(gate, event))
        else:
            reason = (
                f"the quota scope {gate.scope} is parked ({event.cause}); run the rest again "
                "when its quota is back"
            )
            end = Termination(EndCause.PARKED, reason)
        self.stop(DRAIN, end)

    # One item, and what becomes of its result.

    def _start(self, work: Taken, index: int, now: float) -> None:
        calling = cast("TaskGroup", self._calling)
        if isinstance(work, InvalidItemError):
            # An id of its own, so that no result is taken for that of another item.
            placeholder: LLMWorkItem[Any, Any, Any] = LLMWorkItem(f"invalid item {index}")
            item = self.runtime.take_up(placeholder, index, now)
            result = failed_result(item, work, Category.INVALID_ITEM)
            calling.start_soon(self._finish, item, result, name=placeholder.item_id)
            return
        item = self.runtime.take_up(work, index, now)
        calling.start_soon(self._run_item, item, name=work.item_id)

    async def _run_item(self, item: ItemRun) -> None:
        pipeline = self.runtime.pipeline
        try:
            if self.runtime.ending.stopping:
                result = self._stopped(item)
            else:
                result = await pipeline.process(item)
        except anyio.get_cancelled_exc_class():
            if self.runtime.ending.cancelled_by_us:
                item.cut_short()
                result = self._cancelled(item) if item.cut_off else self._stopped(item)
                await self._finish(item, result)
            raise
        if result.not_run and self.runtime.ending.phase is Phase.OVER:
            return  # the reader has left: what was not run has no result
        await self._finish(item, result)

    async def _finish(self, item: ItemRun, result: Result) -> None:
        pipeline = self.runtime.pipeline
        try:
            if not pipeline.plain or self.runtime.events.active:
                result = await pipeline.complete(item, result, self._shelter)
        finally:
            self._hand_over(result)
        if self.runtime.progress.waits:
            self.window.taken += 1  # callbacks that are slow must slow the feed, not pile up
            try:
                await self.runtime.progress.call_back(self.tally.total, self.total, result.item_id)
            finally:
                self.window.release()

    def _hand_over(self, result: Result) -> None:
        self.tally.add(result)
        if self.keep:
            self.results.append(result)
        if not self.outbox.holds_room:
            self.window.release()
        self.outbox.put(result)
        if self.runtime.progress.is_due(self.tally.total):
            self.runtime.progress.log(self.tally, self.total)
        fail_fast = self.options.config.fail_fast
        if fail_fast is not None:
            self._watch_failures(result, fail_fast)

    def _watch_failures(self, result: Result, fail_fast: FailFast) -> None:
        # Nothing but such answers so far: no call will find an API at this address. After one good
        # answer it is the gateway that has lost its way, and may find it again.
        lost = not self.tally.succeeded and getattr(result.exception, "wrong_address", False)
        if result.error_category not in fail_fast.categories and not lost:
            if not result.not_run:
                self._same_failure = 0
            return
        self._same_failure += 1
        if self._same_failure >= fail_fast.after:
            reason = (
                f"{self._same_failure} items in a row failed with {result.error_category}, the "
                f"last with: {result.error}"
            )
            self.stop(DRAIN, Termination(EndCause.FAIL_FAST, reason, result.item_id))

    def _stopped(self, item: ItemRun) -> Result:
        error = ItemStopped(f"not run: {self.runtime.ending.describe().reason}")
        return failed_result(item, error, Category.STOPPED)

    def _cancelled(self, item: ItemRun) -> Result:
        reason = self.runtime.ending.describe().reason
        error = ItemStopped(f"cancelled while it was being called, and maybe billed: {reason}")
        return failed_result(item, error, Category.CANCELLED)

    # What there is to see of it.

    @property
    def total(self) -> int:
        """Items of the batch where that is known, else items accepted so far."""
        return self._feed.total

    def stats(self) -> dict[str, Any]:
        """Numbers about pace and health now, or at the end once that has come."""
        return self._last_stats or {**self.runtime.stats(), "sleeping": self.window.sleeping}

    def result(self) -> BatchResult[Any, Any]:
        """What is finished so far."""
        runtime = self.runtime
        wall_time = self._wall_time
        return BatchResult(
            list(self.results) if self.keep else self.outbox.unread(),
            tally=self.tally.copy(),
            termination=runtime.ending.describe(),
            wall_time=runtime.clock() - runtime.started if wall_time is None else wall_time,
            warnings=tuple(runtime.warnings),
            never_read=self._never_read(),
            stats=self.stats(),
        )

    def _never_read(self) -> int:
        """Return how many items of a sized source were not taken, once none will be any more."""
        size = self._feed.source.size
        if size is None or self.runtime.ending.phase is not Phase.OVER:
            return 0
        return max(0, size - self._feed.accepted)

    def _close(self, otherwise: Termination | None) -> None:
        self.runtime.ending.close(otherwise)
        self._last_stats = self.stats()
        self._wall_time = self._last_stats["duration"]
        self.outbox.close()

    def _with_partial(self, error: BaseException) -> BaseException:
        if isinstance(error, BatchError):
            error.partial = self.result()
        return error

    def _emit_started(self) -> None:
        self.runtime.events.emit(
            ProcessingEvent.PROCESSING_STARTED, {"total": self._feed.source.size}
        )

    def _emit_completed(self, termination: Termination) -> None:
        data = {
            "total": self.tally.total,
            "succeeded": self.tally.succeeded,
            "failed": self.tally.failed,
            "duration": self.runtime.clock() - self.runtime.started,
            "termination": termination.cause.value,
            "tokens": dict(self.tally.usage),
        }
        self.runtime.events.emit(ProcessingEvent.PROCESSING_COMPLETED, data)
        self.runtime.events.close()


def _down_in_words(gate: Gate, event: EndpointDown) -> str:
    what = "gave no answer" if event.answered else "never gave an answer"
    remedy = (
        "run the rest again when it can be reached, or raise outage_after to wait longer"
        if event.answered
        else "check its address and that it can be reached from here, then run the rest again"
    )
    scope = gate.scope or "every scope"
    return f"the endpoint of {scope} {what} for {event.length:.0f} s; {remedy}"


def _why(error: BaseException) -> Termination:
    """What to call an end that came as *error*."""
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return Termination(EndCause.CALLER_CANCELLED, "the batch was cancelled from outside")
    if contains(error):
        return Termination(EndCause.INTERRUPTED, f"the batch was ended by {in_words(error)}")
    return Termination(EndCause.PROGRAM_ERROR, in_words(error))
