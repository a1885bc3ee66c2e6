"""Finite batches: collect them, or read their results as they come."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, Unpack

import anyio
from typing_extensions import TypeVar

from batchllm.api.batch_run import BatchRun, bind, run_for_reader
from batchllm.api.blocks import entered_by_async
from batchllm.api.opening import open_batch
from batchllm.api.options import Concurrency, Progress, build_options, with_progress
from batchllm.core import (
    BaseMiddleware,
    BaseObserver,
    BatchResult,
    Budget,
    ConfigError,
    EndCause,
    ErrorClassifier,
    ItemLike,
    ProcessorConfig,
    WorkItemResult,
    explain_arguments,
    kind_of,
    places_of_settings,
    raise_without_group,
)
from batchllm.engine import BlockingSource, Collector, OrderedResultStream, ResultStream
from batchllm.gate import Gate
from batchllm.journal import JournalLike, OnResume
from batchllm.llm_strategies import StrategyLike
from batchllm.provider_batch import (
    BatchModeOptions,
    Mode,
    read_mode,
)

__all__ = ["Items", "run_batch", "stream_batch"]

Out = TypeVar("Out", default=Any)

Items: TypeAlias = Iterable[ItemLike] | AsyncIterable[ItemLike] | BlockingSource
"""The items of a batch: any iterable or async iterable of them."""


@explain_arguments(places_of_settings(), BatchModeOptions.__annotations__)
async def run_batch(
    items: Items,
    strategy: StrategyLike[Out] | None = None,
    *,
    config: ProcessorConfig | None = None,
    concurrency: Concurrency = None,
    middlewares: Sequence[BaseMiddleware] = (),
    observers: Sequence[BaseObserver] = (),
    post_processor: Callable[[WorkItemResult[Any, Any]], Any] | None = None,
    error_classifier: ErrorClassifier | None = None,
    progress_callback: Callable[..., Any] | None = None,
    progress: Progress = None,
    gate: Gate | Sequence[Gate] | None = None,
    budget: Budget | None = None,
    journal: JournalLike | None = None,
    on_resume: OnResume | None = None,
    into: BatchRun[Out] | None = None,
    mode: Mode = "online",
    **batch_options: Unpack[BatchModeOptions],
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
        concurrency: The cap on calls in flight, in place of ``config.max_workers``; ``"auto"``
            starts with few and opens up, to 256 at most, until calls are refused.
        middlewares: Steps round each item.
        observers: Watch events.
        post_processor: Called with every result: an async function, or a sync one, which runs in a
            thread; see ``PostProcessor``.
        error_classifier: Asked first what an exception means.
        progress_callback: Called as ``(completed, total, current_item)`` after each item.
        progress: ``True`` shows a progress bar; ``tqdm``, or a bar that is like one of it, is
            used in its place.
        gate: A gate of your own, or several, to share limits with other runs and pools.
        budget: The most that the run may spend, such as ``Budget(max_cost=5.0)`` in US dollars, in
            place of ``config.budget``. Answers that come from a journal are not counted.
        journal: A file in which each result is written down before anyone sees it: a path, or a
            ``Journal`` with further settings. If it is there already, the run goes on from it, and
            calls only for what it has not finished.
        on_resume: What becomes of items that the journal has finished: ``"replay"``, the default,
            gives their results again, marked ``replayed`` and left out of this run's sums;
            ``"skip"`` counts them only.
        into: A ``BatchRun`` that keeps what is finished within reach if this is cancelled.
        mode: ``"batch"`` sends the items through the provider's own batches, which take hours and
            cost half. It needs a journal; the same call goes on with batches under way.
        batch_options: What may be said beside ``mode="batch"``; see ``BatchModeOptions``.

    Returns:
        One result per item, whatever became of it.

    Raises:
        StrategyError: *strategy* is not a valid strategy.
        ConfigError: Another argument is wrong.
        BatchError: The source or a strategy's ``prepare`` failed; ``partial`` has what was
            finished.
        JournalError: The journal cannot be used, or written on; ``unsaved`` has the results that
            were finished and could not be saved.
    """
    wanted = read_mode(mode, batch_options, "run_batch")
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
        budget=budget,
        journal=journal,
        on_resume=on_resume,
    )
    keep = options.config.keep_results is not False
    with with_progress(options, progress) as shown:
        async with open_batch(shown, items, Collector(), keep, wanted) as (batch, run):
            if into is not None:
                bind(into, batch)
            await run()
    return batch.result()


@explain_arguments(places_of_settings(), BatchModeOptions.__annotations__)
@entered_by_async("async with stream_batch(…) as run:")
@asynccontextmanager
async def stream_batch(
    items: Items,
    strategy: StrategyLike[Out] | None = None,
    *,
    ordered: bool = False,
    config: ProcessorConfig | None = None,
    concurrency: Concurrency = None,
    middlewares: Sequence[BaseMiddleware] = (),
    observers: Sequence[BaseObserver] = (),
    post_processor: Callable[[WorkItemResult[Any, Any]], Any] | None = None,
    error_classifier: ErrorClassifier | None = None,
    progress_callback: Callable[..., Any] | None = None,
    progress: Progress = None,
    gate: Gate | Sequence[Gate] | None = None,
    budget: Budget | None = None,
    journal: JournalLike | None = None,
    on_resume: OnResume | None = None,
    mode: Mode = "online",
    **batch_options: Unpack[BatchModeOptions],
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
        batch_options: What may be said beside ``mode="batch"``; see ``BatchModeOptions``. Results
            come in bursts then, as batches end.

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
        budget=budget,
        journal=journal,
        on_resume=on_resume,
    )
    wanted = read_mode(mode, batch_options, "stream_batch")
    stream = OrderedResultStream(options.config.reorder_window) if ordered else ResultStream()
    keep = bool(options.config.keep_results)
    with with_progress(options, progress) as shown:
        try:
            async with open_batch(shown, items, stream, keep, wanted) as (batch, run_all):
                run = BatchRun[Out]()
                bind(run, batch, stream)
                async with anyio.create_task_group() as group:
                    group.start_soon(run_for_reader, run, run_all, name="batchllm run")
                    try:
                        yield run
                    except anyio.get_cancelled_exc_class():
                        text = "the batch was cancelled from outside"
                        batch.leave(EndCause.CALLER_CANCELLED, text)
                        raise
                    finally:
                        text = "the block of stream_batch was left before the last result"
                        batch.leave(EndCause.READER_LEFT, text)
                    group.cancel_scope.cancel("the block of stream_batch was left")
        except BaseExceptionGroup as errors:
            raise_without_group(errors)
        finally:
            stream.discard()
