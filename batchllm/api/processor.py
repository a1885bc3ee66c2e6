"""Add work, then process it: the engine behind a queue of the user's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, Self

import anyio
from attrs import evolve
from typing_extensions import TypeVar

from batchllm.api.options import build_options
from batchllm.core import (
    BaseMiddleware,
    BaseObserver,
    BatchResult,
    Budget,
    ClosedError,
    ConfigError,
    EndCause,
    ErrorClassifier,
    InvalidItemError,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessorConfig,
    Tally,
    Termination,
    WorkItemResult,
    check_texts,
    explain_arguments,
    kind_of,
    places_of_settings,
)
from batchllm.engine import CANCEL, DRAIN, Batch, Resources, Stop, WorkQueue
from batchllm.gate import Gate
from batchllm.journal import JournalLike, OnResume
from batchllm.llm_strategies import StrategyLike

__all__ = ["LiveConfig", "ParallelBatchProcessor"]

In = TypeVar("In", default=Any)
Out = TypeVar("Out", default=Any)
Ctx = TypeVar("Ctx", default=Any)


_ASSIGNABLE = ("max_workers", "max_requests_per_minute", "max_tokens_per_minute")


class LiveConfig:
    """A view of a ``ProcessorConfig``.

    Every setting can be read. ``max_workers``, ``max_requests_per_minute`` and
    ``max_tokens_per_minute`` can be assigned at any time, are checked, and take effect at once.
    """

    __slots__ = ("_current", "_on_change")

    _current: ProcessorConfig
    _on_change: Callable[[ProcessorConfig], None]

    def __init__(
        self, config: ProcessorConfig, on_change: Callable[[ProcessorConfig], None]
    ) -> None:
        object.__setattr__(self, "_current", config)
        object.__setattr__(self, "_on_change", on_change)

    @property
    def current(self) -> ProcessorConfig:
        """The settings in force, as a value."""
        return self._current

    def __getattr__(self, name: str) -> Any:
        if name in self.__slots__:  # of one that is half made
            raise AttributeError(name)
        return getattr(self._current, name)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy or a pickle is no view of the processor: it is the settings as they are now.
        return _as_it_is, (self._current,)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _ASSIGNABLE:
            msg = (
                f"{name} cannot be assigned while a processor lives; only {', '.join(_ASSIGNABLE)} "
                f"can. Make a new processor with ProcessorConfig({name}=…)"
            )
            raise ConfigError(msg)
        changed = self._current.with_changes(**{name: value})
        object.__setattr__(self, "_current", changed)
        self._on_change(changed)

    def __repr__(self) -> str:
        return f"<live {self._current!r}>"


def _as_it_is(config: ProcessorConfig) -> ProcessorConfig:
    return config


@explain_arguments(places_of_settings())
class ParallelBatchProcessor(Generic[In, Out, Ctx]):
    """Collects work items, then processes them in parallel; as often as you like.

    Example::

        async with ParallelBatchProcessor[str, str, None](config=config) as processor:
            await processor.add_work(LLMWorkItem("a", strategy=strategy, prompt="…"))
            result = await processor.process_all()

    Strategies are prepared once and stay ready from batch to batch; leaving the block, or
    ``cleanup()``, cleans them up, and cancels a batch that still runs.

    Args:
        config: The settings; ``processor.config`` lets the limits be assigned later.
        strategy: For items that bring none.
        middlewares: Steps round each item.
        observers: Watch events.
        post_processor: Called with every result: an async function, or a sync one, which runs in a
            thread; see ``PostProcessor``.
        error_classifier: Asked first what an exception means.
        progress_callback: Called as ``(completed, total, current_item)`` after each item.
        gate: A gate of your own, or several.
        budget: The most that all its batches together may spend, in place of ``config.budget``.
        journal: A file in which each result is written down before anyone sees it, as for
            ``run_batch``. Each ``process_all()`` goes on from it.
        on_resume: What becomes of items that the journal has finished: ``"replay"`` or ``"skip"``.

    Raises:
        StrategyError: *strategy* is not a valid strategy.
        ConfigError: Another argument is wrong.
    """

    def __init__(
        self,
        config: ProcessorConfig | None = None,
        *,
        strategy: StrategyLike[Out] | None = None,
        middlewares: Sequence[BaseMiddleware] | None = None,
        observers: Sequence[BaseObserver] | None = None,
        post_processor: Callable[[WorkItemResult[Out, Ctx]], Any] | None = None,
        error_classifier: ErrorClassifier | None = None,
        progress_callback: Callable[..., Any] | None = None,
        gate: Gate | Sequence[Gate] | None = None,
        budget: Budget | None = None,
        journal: JournalLike | None = None,
        on_resume: OnResume | None = None,
    ) -> None:
        self._options = build_options(
            strategy,
            config=config,
            middlewares=middlewares,
            observers=observers,
            post_processor=post_processor,
            error_classifier=error_classifier,
            progress_callback=progress_callback,
            gate=gate,
            budget=budget,
            journal=journal,
            on_resume=on_resume,
        )
        settings = self._options.config
        self._config = LiveConfig(settings, self._reconfigure)
        self._queue = WorkQueue(settings.max_queue_size)
        self._resources: Resources | None = None
        self._batch: Batch | None = None
        self._ended: anyio.Event | None = None
        self._closed = False
        self._tally = Tally()
        self._duration = 0.0

    def __repr__(self) -> str:
        state = "cleaned up" if self._closed else "running" if self._queue.running else "idle"
        tally = self._tally.copy()
        if self._queue.running and self._batch is not None:
            tally.merge(self._batch.tally)
        return (
            f"<ParallelBatchProcessor: {state}, {self._queue.waiting:,} items wait, "
            f"{tally.total:,} done: {tally.succeeded:,} succeeded, {tally.failed:,} failed>"
        )

    @property
    def config(self) -> LiveConfig:
        """The settings in force; ``max_workers`` and the limits can be assigned."""
        return self._config

    @property
    def result(self) -> BatchResult[Out, Ctx]:
        """Return the finished results of the batch that is running, or ran last."""
        return BatchResult([]) if self._batch is None else self._batch.result()

    async def add_work(self, item: LLMWorkItem[In, Out, Ctx]) -> None:
        """Add an item: to the next batch or, during a run, to the one that is running.

        Never waits before ``process_all()``; during a run it waits for room, unless it is called
        by the run itself, in a hook such as the post-processor.

        Raises:
            InvalidItemError: The item is no ``LLMWorkItem``, its id is there already, it has no
                strategy, or ``max_queue_size`` items wait already.
            ClosedError: The processor has been cleaned up.
        """
        self._check_open()
        self._check(item)
        if self._queue.running:
            await self._queue.put_when_room(item, self._config.current.window_size)
        else:
            self._queue.put(item)

    def _check(self, item: object) -> None:
        if not isinstance(item, LLMWorkItem):
            msg = f"add_work() was given {kind_of(item)}; give an LLMWorkItem"
            raise InvalidItemError(msg)
        work: LLMWorkItem[Any, Any, Any] = item
        check_texts(work.prompt, f"item {work.item_id!r}: its prompt")
        strategy = work.strategy
        if strategy is None and self._options.strategy is None:
            msg = f"item {work.item_id!r} has no strategy; give it one, or the processor"
            raise InvalidItemError(msg)
        if strategy is not None and not isinstance(strategy, LLMCallStrategy):
            msg = (
                f"item {work.item_id!r} has {kind_of(strategy)} as strategy; give an "
                "instance of an LLMCallStrategy"
            )
            raise InvalidItemError(msg)

    async def process_all(self) -> BatchResult[Out, Ctx]:
        """Process what was added, and what is added meanwhile, to the last item.

        Returns:
            One result per item. It can be called again for the items that are added next.

        Raises:
            BatchError: A strategy's ``prepare`` failed; ``partial`` has what was finished.
            ClosedError: The processor is running already, or has been cleaned up.
        """
        self._check_open()
        if self._queue.running:
            msg = "process_all() is running already; add_work() adds to the batch that runs"
            raise ClosedError(msg)
        if self._resources is None:
            self._resources = Resources.build(self._config.current, self._options.gates)
        options = evolve(self._options, config=self._config.current)
        keep = options.config.keep_results is not False
        batch = Batch(options, self._queue, self._queue.collector(), keep, self._resources)
        self._batch, self._ended = batch, anyio.Event()
        try:
            with self._queue.serving():
                await batch.run()
                return batch.result()
        finally:
            self._ended.set()
            self._tally.merge(batch.tally)
            self._duration += batch.stats()["duration"]

    def stop(self, how: Stop = DRAIN, reason: str = "it was stopped by its caller") -> None:
        """End the running batch early; what is finished stays."""
        if self._batch is not None and self._queue.running:
            self._batch.stop(how, Termination(EndCause.STOPPED, reason))

    async def get_stats(self) -> dict[str, Any]:
        """Return numbers about all batches so far, the running one included."""
        current = self._batch.stats() if self._batch is not None else {}
        tally = self._tally.copy()
        duration = self._duration
        if self._queue.running and self._batch is not None:
            tally.merge(self._batch.tally)
            duration += current["duration"]
        return {
            "rate_limit_count": 0,
            "throttled_calls": 0,
            "calls_sent": 0,
            "in_flight": 0,
            **current,
            "queued": self._queue.waiting,
            "producers_waiting": self._queue.producers,
            "total": tally.total,
            "completed": tally.total,
            "succeeded": tally.succeeded,
            "failed": tally.failed,
            "skipped": tally.skipped,
            "not_run": tally.not_run,
            "tokens": dict(tally.usage),
            "cost": tally.cost,
            "duration": duration,
        }

    async def cleanup(self) -> None:
        """Clean up the strategies that were prepared; the processor ends. May be called again.

        A batch that is running is cancelled first: it would prepare its strategies anew, and
        nothing would clean them up.
        """
        self._closed = True
        if self._resources is None:
            return
        resources, self._resources = self._resources, None
        if self._ended is not None and not self._ended.is_set():
            self.stop(CANCEL, "the processor was cleaned up")
            # Bounded, since a hook of the batch may be what called this, and also in a task that
            # was cancelled, since the strategies are still to be cleaned up.
            with anyio.move_on_after(self._config.current.cleanup_timeout, shield=True):
                await self._ended.wait()
        for text in await resources.close():
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    async def shutdown(self) -> None:
        """Cancel a running batch, then clean up."""
        self.stop(CANCEL, "the processor was shut down")
        await self.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.cleanup()

    def __del__(self) -> None:
        resources = getattr(self, "_resources", None)
        if resources is not None and resources.lifecycle.holds_any:
            warnings.warn(
                "a ParallelBatchProcessor was dropped without cleanup(); use 'async with'",
                ResourceWarning,
                stacklevel=2,
            )

    def _check_open(self) -> None:
        if self._closed:
            msg = "this processor has been cleaned up; make a new one"
            raise ClosedError(msg)

    def _reconfigure(self, config: ProcessorConfig) -> None:
        if self._resources is not None:
            self._resources.reconfigure(config)
        if self._batch is not None:
            self._batch.resize_window(config.window_size)
