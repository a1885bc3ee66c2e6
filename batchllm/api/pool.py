"""A pool for services: each call within its caller's await, all under one set of limits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Generic, cast, final

import anyio
from anyio.abc import TaskGroup, TaskStatus
from typing_extensions import TypeVar

from batchllm.api.options import build_options
from batchllm.core import (
    BaseMiddleware,
    BaseObserver,
    BatchFailures,
    Category,
    ClosedError,
    ConfigError,
    EndCause,
    ErrorClassifier,
    ItemStopped,
    LLMWorkItem,
    ProcessorConfig,
    SaturatedError,
    Tally,
    Termination,
    WorkItemResult,
    check_prompt,
)
from batchllm.engine import (
    CANCEL,
    DRAIN,
    ItemRun,
    RunOptions,
    Runtime,
    Shelter,
    failed_result,
    only_error,
    raise_as_it_was,
)
from batchllm.gate import Gate
from batchllm.llm_strategies import StrategyLike, as_strategy

__all__ = ["Pool", "open_pool", "serve_pool"]

Out = TypeVar("Out", default=Any)


@contextmanager
def _awake() -> Generator[None]:
    yield


@final
class Pool(Generic[Out]):
    """Makes resilient calls for any number of tasks. ``open_pool`` gives one.

    Args:
        options: Strategy, settings and hooks.
        max_waiting: Calls that may wait beside those in flight.
    """

    def __init__(self, options: RunOptions, max_waiting: int) -> None:
        self._runtime = Runtime.build(options, _awake)
        self._most = options.config.max_workers + max_waiting
        self._texts = options.strategy is not None and options.strategy.takes_texts
        self._grace = options.config.cleanup_timeout
        self._inside: dict[int, tuple[anyio.CancelScope, Shelter]] = {}
        self._count = 0
        self._tally = Tally()
        self._empty: anyio.Event | None = None

    def __repr__(self) -> str:
        ending, tally = self._runtime.ending, self._tally
        state = "ended" if ending.stopping else "open"
        return (
            f"<Pool: {state}, {len(self._inside):,} calls in flight or waiting, {tally.total:,} "
            f"done: {tally.succeeded:,} succeeded, {tally.failed:,} failed>"
        )

    async def call(self, prompt: Any, *, context: Any = None, priority: int = 0) -> Out:
        """Make one call and give its value.

        Args:
            prompt: A text, a list of chat messages or a list of content parts.
            context: For middleware and observers.
            priority: Among the calls that wait, those with a higher number go first.

        Raises:
            InvalidItemError: The prompt is none.
            SaturatedError: Too many calls wait already.
            ClosedError: The pool has ended.
            Exception: The error of the last attempt.
        """
        result = await self.call_result(prompt, context=context, priority=priority)
        if result.success:
            return cast("Out", result.output)
        if isinstance(result.exception, ItemStopped):
            msg = f"the pool has ended: {result.error}"
            raise ClosedError(msg)
        if isinstance(result.exception, Exception):
            raise result.exception
        msg = f"the call has no answer: {result.error}"
        raise BatchFailures(msg, [result]) from result.exception

    async def call_result(
        self, prompt: Any, *, context: Any = None, priority: int = 0
    ) -> WorkItemResult[Out, Any]:
        """Make one call and give the full result, whatever became of it.

        Args:
            prompt: As for ``call``, as are the arguments that follow.
            context: Comes back in the result.
            priority: Among the calls that wait, those with a higher number go first.

        Raises:
            InvalidItemError: The prompt is none.
            SaturatedError: Too many calls wait already.
            ClosedError: The pool has ended.
        """
        self._check()
        self._count += 1
        number = self._count
        work: LLMWorkItem[Any, Any, Any] = LLMWorkItem(
            f"call-{number}",
            None,
            check_prompt(prompt, texts=self._texts),
            context,
            priority=priority,
        )
        item = self._runtime.take_up(work, number - 1, self._runtime.clock())
        scope, shelter = anyio.CancelScope(), Shelter(self._grace)
        self._inside[number] = (scope, shelter)
        results: list[WorkItemResult[Any, Any]] = []
        try:
            # In a child task: a native cancellation of the caller's own task, as by
            # asyncio.timeout(), must end the call and not be taken for an error of it.
            async with anyio.create_task_group() as tasks:
                if not self._runtime.pipeline.plain:
                    tasks.start_soon(shelter.watch)
                run = partial(self._run_alone, tasks, item, scope, shelter, results)
                tasks.start_soon(run, name=work.item_id)
        except BaseExceptionGroup as errors:
            raise_as_it_was(only_error(errors))
        finally:
            self._leave(number)
        return results[0]

    async def _run_alone(self, tasks: TaskGroup, item: ItemRun, *how: Any) -> None:
        """Make one call, and end the watch beside it."""
        await self._run(item, *how)
        tasks.cancel_scope.cancel("the call has ended")

    async def _run(
        self,
        item: ItemRun,
        scope: anyio.CancelScope,
        shelter: Shelter,
        results: list[WorkItemResult[Any, Any]],
    ) -> None:
        """Make one call, which the pool can cancel by *scope*, and put its result in *results*."""
        pipeline = self._runtime.pipeline
        result: WorkItemResult[Any, Any] | None = None
        with scope:
            result = await pipeline.process(item)
        if result is None:
            item.cut_short()
            error = ItemStopped("cancelled while it was being called, and maybe billed")
            result = failed_result(item, error, Category.CANCELLED)
        result = await pipeline.complete(item, result, shelter)
        self._tally.add(result)
        results.append(result)

    def stats(self) -> dict[str, Any]:
        """Numbers about pace and health, and sums over the calls so far."""
        tally = self._tally
        return {
            **self._runtime.stats(),
            "total": tally.total,
            "succeeded": tally.succeeded,
            "failed": tally.failed,
            "tokens": dict(tally.usage),
        }

    def _check(self) -> None:
        if self._runtime.ending.stopping:
            msg = f"the pool has ended: {self._runtime.ending.describe().reason}"
            raise ClosedError(msg)
        if len(self._inside) >= self._most:
            msg = (
                f"the pool is saturated: {len(self._inside)} calls are in flight or waiting; try "
                "again later, or open it with a larger max_waiting or concurrency"
            )
            raise SaturatedError(msg)

    def _leave(self, number: int) -> None:
        del self._inside[number]
        if not self._inside and self._empty is not None:
            self._empty.set()

    async def _drain(self, grace: float | None) -> None:
        """Let calls in flight finish, at most for *grace*; then cancel them."""
        ending = self._runtime.ending
        ending.request(DRAIN, Termination(EndCause.DONE, "the pool was closed"))
        self._runtime.calls.waiting.stop()
        with anyio.move_on_after(grace):
            await self._until_empty()
        if self._inside:
            ending.request(CANCEL, Termination(EndCause.DONE, "the pool was closed"))
            self._cancel()
            await self._until_empty()

    def _cancel(self) -> None:
        for scope, shelter in self._inside.values():
            scope.cancel("the pool was closed")
            shelter.close()

    async def _until_empty(self) -> None:
        if self._inside:
            self._empty = anyio.Event()
            await self._empty.wait()

    async def _close(self) -> None:
        """End what is left, sheltered, and clean up once nothing is called any more."""
        runtime = self._runtime
        ending = runtime.ending
        ending.request(CANCEL, Termination(EndCause.STOPPED, "the pool's owner was cancelled"))
        runtime.calls.waiting.stop()
        self._cancel()
        with anyio.move_on_after(runtime.options.config.cleanup_timeout, shield=True):
            await self._until_empty()
        await runtime.close()
        ending.close()
        runtime.events.close()


@asynccontextmanager
async def open_pool(
    strategy: StrategyLike[Out],
    *,
    config: ProcessorConfig | None = None,
    concurrency: int | None = None,
    max_waiting: int = 1_000,
    middlewares: Sequence[BaseMiddleware] = (),
    observers: Sequence[BaseObserver] = (),
    post_processor: Callable[[WorkItemResult[Any, Any]], Any] | None = None,
    error_classifier: ErrorClassifier | None = None,
    gate: Gate | Sequence[Gate] | None = None,
) -> AsyncGenerator[Pool[Out]]:
    """Keep a strategy ready, and make calls with it from any number of tasks.

    Example::

        async with open_pool(llm("openai:gpt-5-mini"), concurrency=50) as pool:
            answer = await pool.call("…")

    Leaving the block lets calls in flight finish within ``config.drain_grace``; calls that wait
    raise ``ClosedError``.

    Args:
        strategy: As for ``run_batch``.
        config: The settings.
        concurrency: The cap on calls in flight, in place of ``config.max_workers``.
        max_waiting: Calls that may wait beside those in flight; one more raises
            ``SaturatedError``.
        middlewares: Steps round each call.
        observers: Watch events.
        post_processor: Called with every result.
        error_classifier: Asked first what an exception means.
        gate: A gate of your own, or several, to share limits with other pools and runs.

    Raises:
        StrategyError: The strategy is none.
        ConfigError: Another argument is wrong.
    """
    if isinstance(max_waiting, bool) or not isinstance(max_waiting, int) or max_waiting < 0:
        msg = f"max_waiting is {max_waiting!r}; give a whole number of at least 0"
        raise ConfigError(msg)
    options = build_options(
        as_strategy(strategy),
        config=config,
        concurrency=concurrency,
        middlewares=middlewares,
        observers=observers,
        post_processor=post_processor,
        error_classifier=error_classifier,
        gate=gate,
    )
    pool = Pool[Out](options, max_waiting)
    try:
        async with anyio.create_task_group() as tasks:
            pool._runtime.events.start(tasks)
            try:
                yield pool
                await pool._drain(options.config.drain_grace)
            finally:
                await pool._close()
    except BaseExceptionGroup as errors:
        # Only the group's own wrapping is taken off: a group that the block raised stays whole.
        raise_as_it_was(errors.exceptions[0] if len(errors.exceptions) == 1 else errors)


async def serve_pool(
    strategy: StrategyLike[Out],
    *,
    task_status: TaskStatus[Pool[Out]] = anyio.TASK_STATUS_IGNORED,
    **options: Any,
) -> None:
    """Run a pool as a task: ``pool = await nursery.start(serve_pool, strategy)``.

    Args:
        strategy: As for ``open_pool``, as are *options*.
        task_status: Gets the pool once it is ready.
        **options: As for ``open_pool``.
    """
    async with open_pool(strategy, **options) as pool:
        task_status.started(pool)
        await anyio.sleep_forever()
