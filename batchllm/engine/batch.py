"""The run of a batch: feed → items → delivery, and every way in which it can end.

The feed closes first, whatever the reason; items that are finished stay finished; what happens to
the rest is the table in ``docs/design/endings.md``.
"""

from __future__ import annotations

from typing import Any

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from batchllm.core import (
    BatchError,
    BatchResult,
    EndCause,
    LLMWorkItem,
    Tally,
    Termination,
    WorkItemResult,
    raise_as_it_was,
)
from batchllm.engine.delivery import Delivery
from batchllm.engine.ending import Phase, Stop, cause_of
from batchllm.engine.feed import Feed, Reader, open_source
from batchllm.engine.frames import shorten
from batchllm.engine.guard import only_error
from batchllm.engine.intake import Source
from batchllm.engine.prepared import PreparedItems
from batchllm.engine.progress import Progress
from batchllm.engine.resources import Resources
from batchllm.engine.resume import Resume
from batchllm.engine.run import Run
from batchllm.engine.run_options import RunOptions
from batchllm.engine.scheduler import Scheduler
from batchllm.engine.spending import Spending

__all__ = ["Batch"]


@define(eq=False)
class Batch:
    """Runs one batch, once.

    Args:
        options: The user's.
        items: Any iterable of items.
        delivery: Where results go.
        keep: Whether to keep every result for ``result``.
        resources: Of a processor that runs several batches; ``None`` makes the run's own.
    """

    _options: RunOptions
    _items: Any
    _delivery: Delivery
    _keep: bool = True
    _resources: Resources | None = None
    _run: Run = field(init=False)
    _source: Source = field(init=False)
    _prepared: PreparedItems | None = field(init=False)
    _progress: Progress = field(init=False)
    _scheduler: Scheduler | None = field(default=None, init=False)
    _results: list[WorkItemResult[Any, Any]] = field(factory=list, init=False)
    _resume: Resume | None = field(default=None, init=False)
    _last_stats: dict[str, Any] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._run = Run.build(self._options, resources=self._resources)
        self._source = Source(self._items)
        self._prepared = self._items if isinstance(self._items, PreparedItems) else None
        self._progress = Progress(self._options.config, self._run.slow)

    async def run(self) -> None:
        """Process the whole source.

        Raises:
            BatchError: The source or a ``prepare`` failed; ``partial`` has what was finished.
            BaseException: A cancellation from outside, or what ends the program.
        """
        run, ending = self._run, self._run.ending
        run.resources.callers.more_to_come = True
        try:
            async with run.recorder.opened():
                open_source(self._source, ending)
                async with run.opened(self._source.size):
                    await self._run_items()
        except BaseException as raised:  # noqa: ASYNC103
            error = only_error(raised)
            self._close(cause_of(error))
            raise_as_it_was(self._with_partial(error))
        self._close(None)
        if ending.error is not None:
            raise self._with_partial(ending.error)

    async def _run_items(self) -> None:
        run = self._run
        try:
            with run.ending.until(Phase.CANCELLING):
                async with anyio.create_task_group() as beside:
                    try:
                        async with anyio.create_task_group() as tasks:
                            scheduler = self._start_feed(tasks)
                            if run.recorder.journal is not None:
                                beside.start_soon(
                                    scheduler.deliver_committed, name="batchllm delivery"
                                )
                    finally:
                        if self._scheduler is not None:
                            self._scheduler.close_committing()
            if self._prepared is not None and self._prepared.termination is not None:
                self.stop(Stop.DRAIN, self._prepared.termination)
        finally:
            run.warnings.extend(self._progress.warnings)

    def _start_feed(self, tasks: TaskGroup) -> Scheduler:
        """Start the task that starts the items, in the group of the items' tasks."""
        run, options = self._run, self._options
        scheduler = self._scheduler = Scheduler(
            run=run,
            source=self._source,
            delivery=self._delivery,
            results=self._results if self._keep else None,
            progress=self._progress,
            tasks=tasks,
        )
        texts = options.strategy is not None and options.strategy.takes_texts
        reader = Reader(run.recorder, texts)
        self._resume = self._make_resume(reader)
        feed = Feed(
            source=self._source,
            scheduler=scheduler,
            window=run.window,
            delivery=self._delivery,
            callers=run.resources.callers,
            events=run.events,
            recorder=run.recorder,
            reader=reader,
            resume=self._resume,
            ending=run.ending,
            # A middleware may take its time before a call, so that items have to be ready before
            # a call is free; without one, an item that is started earlier would only wait.
            reads_ahead=bool(options.middlewares),
            clock=run.clock,
            warnings=run.warnings,
        )
        # A task of its own: if the caller's task is cancelled natively, that must not be taken for
        # an error of the source, which would drain the calls in flight.
        tasks.start_soon(feed.run, name="batchllm feed")
        return scheduler

    def _make_resume(self, reader: Reader) -> Resume | None:
        run = self._run
        if not run.recorder.resumes or self._prepared is not None:
            return None  # nothing is finished, or what is was looked up before
        return Resume(self._source, reader, run.recorder, self._delivery, run.tally)

    def stop(self, how: Stop, termination: Termination) -> None:
        """Ask for the end; a drain may be followed by a cancellation, never the other way."""
        self._run.stop(how, termination)

    def leave(self, cause: EndCause, reason: str) -> None:
        """Start no call from here on, since results are not read any more.

        The caller cancels what is under way.
        """
        ending = self._run.ending
        if ending.phase is not Phase.OVER:
            ending.close(Termination(cause, reason))

    def resize_window(self, size: int) -> None:
        """Change how many items are live at once; those that are stay."""
        window = self._run.window
        window.resize(size)

    async def go_in(
        self, work: LLMWorkItem[Any, Any, Any], position: int
    ) -> tuple[LLMWorkItem[Any, Any, Any], WorkItemResult[Any, Any] | None]:
        """Take an item past middleware before it is started.

        For items that are written down before that. Each is started with ``went_in``.

        Returns:
            The item to go on with, and its result if it has one already.
        """
        item = self._run.start_item(work, position, self._run.clock())
        early = await self._run.pipeline.go_in(item)
        return item.work, early

    def pass_over(self, position: int) -> None:
        """Count an item that an earlier run finished, and that has no result in this one."""
        self._run.tally.before += 1
        self._delivery.pass_over(position)

    @property
    def warnings(self) -> list[str]:
        """Return the list of sentences about what went wrong beside the items."""
        return self._run.warnings

    @property
    def spending(self) -> Spending | None:
        """Return what keeps the budget; ``None`` without one."""
        return self._run.stats.spending

    def make_room(self) -> None:
        """Let another item in: a result was read."""
        window = self._run.window
        if self._delivery.holds_room:
            window.release()
        else:
            window.wake()

    # -- what there is to see of it --------------------------------------------------------------

    @property
    def tally(self) -> Tally:
        """Sums over the results so far."""
        return self._run.tally

    @property
    def termination(self) -> Termination:
        """Return why it ended, or that it runs."""
        return self._run.termination

    def stats(self) -> dict[str, Any]:
        """Return numbers about pace and health now, or at the end once that has come."""
        return self._last_stats or self._read_stats()

    def _read_stats(self) -> dict[str, Any]:
        run = self._run
        journal = run.recorder.numbers()
        stats = run.stats.read() | {"cost": run.tally.cost}
        if self._prepared is not None:
            stats["provider_batches"] = dict(self._prepared.numbers)
        return stats | ({} if journal is None else {"journal": journal})

    def result(self) -> BatchResult[Any, Any]:
        """Return what is finished so far."""
        run, last = self._run, self._last_stats
        return BatchResult(
            list(self._results) if self._keep else self._delivery.unread(),
            tally=run.tally.copy(),
            termination=run.termination,
            wall_time=run.stats.duration if last is None else last["duration"],
            warnings=tuple(run.warnings),
            never_read=self._never_read(),
            stats=self.stats(),
        )

    def _never_read(self) -> int:
        """Return how many items of a sized source were not taken, once none will be any more."""
        size, scheduler = self._source.size, self._scheduler
        if size is None or self._run.ending.phase is not Phase.OVER:
            return 0
        if self._prepared is not None:
            # They come in the order of their answers: what has no result yet is in a batch.
            return max(0, size - self._run.tally.total - self._run.tally.before)
        accepted = 0 if scheduler is None else scheduler.accepted
        passed = 0 if self._resume is None else self._resume.passed
        return max(0, size - max(accepted, passed))

    def _close(self, otherwise: Termination | None) -> None:
        self._run.ending.close(otherwise)
        self._last_stats = self._read_stats()
        self._delivery.close()

    def _with_partial(self, error: BaseException) -> BaseException:
        if isinstance(error, BatchError):
            error.partial = self.result()
            shorten(error)
        return error
