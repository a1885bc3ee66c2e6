"""Finite batches: collect them, or read their results as they come."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeAlias, final

import anyio
from typing_extensions import TypeVar

from batchllm.api.options import build_options
from batchllm.core import (
    BaseMiddleware,
    BaseObserver,
    BatchResult,
    ClosedError,
    ConfigError,
    EndCause,
    ErrorClassifier,
    ItemLike,
    ProcessorConfig,
    Termination,
    WorkItemResult,
    kind_of,
)
from batchllm.engine import (
    DRAIN,
    BlockingSource,
    Collector,
    OrderedOutbox,
    Outbox,
    Scheduler,
    Stop,
    raise_as_it_was,
)
from batchllm.gate import Gate
from batchllm.llm_strategies import StrategyLike

__all__ = ["BatchRun", "Items", "run_batch", "stream_batch"]

Out = TypeVar("Out", default=Any)

Items: TypeAlias = Iterable[ItemLike] | AsyncIterable[ItemLike] | BlockingSource
"""What every face of a batch accepts: any iterable or async iterable of items."""


@final
class BatchRun(Generic[Out]):
    """A batch that is running, or has run.

    ``stream_batch`` gives one; iterate over it for the results. Make one yourself and pass it as
    ``run_batch(into=run)`` to reach what is finished even if ``run_batch`` is cancelled.
    """

    def __init__(self) -> None:
        self._scheduler: Scheduler | None = None
        self._error: Exception | None = None

    def __repr__(self) -> str:
        if self._scheduler is None:
            return "<BatchRun: not started>"
        tally, ending = self._scheduler.tally, self._scheduler.runtime.ending
        return (
            f"<BatchRun: {ending.describe().cause.value}, {tally.total:,} done: "
            f"{tally.succeeded:,} succeeded, {tally.failed:,} failed>"
        )

    def _bind(self, scheduler: Scheduler) -> None:
        if self._scheduler is not None:
            msg = "this BatchRun has been used already; make a new one for each batch"
            raise ClosedError(msg)
        self._scheduler = scheduler

    def _started(self) -> Scheduler:
        if self._scheduler is None:
            msg = "the batch has not been started yet"
            raise ClosedError(msg)
        return self._scheduler

    @property
    def result(self) -> BatchResult[Out, Any]:
        """What is finished so far, with its sums.

        Of a stream, ``results`` are those that have not been read, unless the configuration says
        ``keep_results``; the sums count everything.
        """
        if self._scheduler is None:
            return BatchResult(
                termination=Termination(EndCause.RUNNING, "the batch has not been started yet")
            )
        return self._scheduler.result()

    def stats(self) -> dict[str, Any]:
        """Numbers about pace and health at this moment."""
        return self._started().stats()

    def stop(
        self,
        how: Stop = DRAIN,
        reason: str = "it was stopped by its caller",
        *,
        cause: EndCause = EndCause.STOPPED,
    ) -> None:
        """End the batch early; what is finished stays.

        Args:
            how: ``DRAIN`` lets calls in flight finish, ``CANCEL`` ends them.
            reason: For ``termination``, as is *cause*.
            cause: ``EndCause.INTERRUPTED`` where a signal asked for it.
        """
        self._started().stop(how, Termination(cause, reason))

    def __aiter__(self) -> AsyncIterator[WorkItemResult[Out, Any]]:
        return self

    async def __anext__(self) -> WorkItemResult[Out, Any]:
        outbox = self._started().outbox
        if not isinstance(outbox, Outbox):
            msg = "run_batch() collects its results: read .result, or use stream_batch()"
            raise ClosedError(msg)
        result = await outbox.get()
        if result is not None:
            if outbox.holds_room:
                self._started().window.release()
            else:
                self._started().window.wake()
            return result
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration


async def run_batch(
    items: Items,
    strategy: StrategyLike[Out] | None = None,
    *,
    config: ProcessorConfig | None = None,
    concurrency: int | None = None,
    middlewares: Sequence[BaseMiddleware] = (),
    observers: Sequence[BaseObserver] = (),
    post_processor: Callable[[WorkItemResult[Any, Any]], Any] | None = None,
    error_classifier: ErrorClassifier | None = None,
    progress_callback: Callable[..., Any] | None = None,
    gate: Gate | Sequence[Gate] | None = None,
    into: BatchRun[Out] | None = None,
) -> BatchResult[Out, Any]:
    """Process all items and collect the results.

    Example::

        result = await run_batch(prompts, llm("openai:gpt-5-mini"), concurrency=50)
        print(result.summary())

    Args:
        items: Any iterable or async iterable of prompts, ``(id, prompt)``,
            ``(id, prompt, context)`` or ``LLMWorkItem``; read lazily.
        strategy: For items that bring none: an ``LLMCallStrategy``, a model, a callable or a
            text such as ``"openai:gpt-5-mini"``.
        config: The settings; see ``ProcessorConfig``.
        concurrency: The cap on calls in flight, in place of ``config.max_workers``.
        middlewares: Steps round each item.
        observers: Watch events.
        post_processor: Called with every result: an async function, or a sync one, which runs in a
            thread; see ``PostProcessor``.
        error_classifier: Asked first what an exception means.
        progress_callback: Called as ``(completed, total, current_item)`` after each item.
        gate: A gate of your own, or several, to share limits with other runs and pools.
        into: A ``BatchRun`` that keeps what is finished within reach if this is cancelled.

    Returns:
        One result per item, whatever became of it.

    Raises:
        StrategyError: The strategy is none.
        ConfigError: Another argument is wrong.
        BatchError: The source or a strategy's ``prepare`` failed; ``partial`` has what was
            finished.
    """
    if into is not None and not isinstance(into, BatchRun):
        msg = f"into is {kind_of(into)}; give a BatchRun()"
        raise ConfigError(msg)
    options = build_options(
        strategy,
        config=config,
        concurrency=concurrency,
        middlewares=middlewares,
        observers=observers,
        post_processor=post_processor,
        error_classifier=error_classifier,
        progress_callback=progress_callback,
        gate=gate,
    )
    keep = options.config.keep_results is not False
    scheduler = Scheduler(options, items, Collector(), keep)
    if into is not None:
        into._bind(scheduler)
    await scheduler.run()
    return scheduler.result()


@asynccontextmanager
async def stream_batch(
    items: Items,
    strategy: StrategyLike[Out] | None = None,
    *,
    ordered: bool = False,
    config: ProcessorConfig | None = None,
    concurrency: int | None = None,
    middlewares: Sequence[BaseMiddleware] = (),
    observers: Sequence[BaseObserver] = (),
    post_processor: Callable[[WorkItemResult[Any, Any]], Any] | None = None,
    error_classifier: ErrorClassifier | None = None,
    progress_callback: Callable[..., Any] | None = None,
    gate: Gate | Sequence[Gate] | None = None,
) -> AsyncGenerator[BatchRun[Out]]:
    """Process all items and read the results as they come, in memory that does not grow.

    Example::

        async with stream_batch(prompts, llm("openai:gpt-5-mini")) as run:
            async for result in run:
                print(result.item_id, result.output)

    Leaving the block stops every call at once, and no call starts afterwards.

    Args:
        items: As for ``run_batch``.
        strategy: As for ``run_batch``.
        ordered: Yield in input order. Results that come early are held back, at most
            ``config.reorder_window`` of them.
        config: As for ``run_batch``, as are the arguments that follow.

    Raises:
        BatchError: From the iteration, after the last result: the source or a strategy's
            ``prepare`` failed.
    """
    options = build_options(
        strategy,
        config=config,
        concurrency=concurrency,
        middlewares=middlewares,
        observers=observers,
        post_processor=post_processor,
        error_classifier=error_classifier,
        progress_callback=progress_callback,
        gate=gate,
    )
    outbox = OrderedOutbox(options.config.reorder_window) if ordered else Outbox()
    run = BatchRun[Out]()
    scheduler = Scheduler(options, items, outbox, bool(options.config.keep_results))
    run._bind(scheduler)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_run_for_reader, run, scheduler, name="batchllm run")
            try:
                yield run
            except anyio.get_cancelled_exc_class():
                scheduler.leave(EndCause.CALLER_CANCELLED, "the batch was cancelled from outside")
                raise
            finally:
                scheduler.leave(
                    EndCause.READER_LEFT,
                    "the block of stream_batch was left before the last result",
                )
            group.cancel_scope.cancel("the block of stream_batch was left")
    except BaseExceptionGroup as errors:
        # Only the group's own wrapping is taken off: a group that the block raised stays whole.
        raise_as_it_was(errors.exceptions[0] if len(errors.exceptions) == 1 else errors)


async def _run_for_reader(run: BatchRun[Any], scheduler: Scheduler) -> None:
    """Keep the run's own failure for the reader, who gets it after the last result."""
    try:
        await scheduler.run()
    except Exception as error:
        run._error = error
