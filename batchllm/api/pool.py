"""A pool for services: each call within its caller's await, all under one set of limits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Generic, final

import anyio
from anyio.abc import TaskGroup, TaskStatus
from typing_extensions import TypeVar

from batchllm.api.blocks import entered_by_async
from batchllm.api.options import Concurrency, build_options
from batchllm.api.outputs import output_of
from batchllm.core import (
    BaseMiddleware,
    BaseObserver,
    Budget,
    ClosedError,
    ConfigError,
    EndCause,
    ErrorClassifier,
    ItemStopped,
    LLMWorkItem,
    ProcessorConfig,
    SaturatedError,
    Termination,
    WorkItemResult,
    check_prompt,
    explain_arguments,
    places_of_settings,
    raise_as_it_was,
    raise_without_group,
    work_on,
)
from batchllm.engine import (
    CANCEL,
    DRAIN,
    ItemRun,
    Phase,
    Run,
    RunOptions,
    Shelter,
    cause_of,
    only_error,
)
from batchllm.gate import Gate
from batchllm.llm_strategies import StrategyLike, as_strategy
from batchllm.transport import loop_of_now

__all__ = ["Pool", "open_pool", "serve_pool"]

Out = TypeVar("Out", default=Any)


@final
class Pool(Generic[Out]):
    """Makes resilient calls for any number of tasks. ``open_pool`` gives one.

    Args:
        options: Strategy, settings and hooks.
        max_waiting: Calls that may wait beside those in flight.
    """

    def __init__(self, options: RunOptions, max_waiting: int) -> None:
        self._run = Run.build(options, pool=True)
        # No call waits for this limiter: it is full, or it is not.
        self._room = anyio.CapacityLimiter(options.config.max_workers + max_waiting)
        self._texts = options.strategy is not None and options.strategy.takes_texts
        self._count = 0
        self._loop = loop_of_now()
        self._empty: anyio.Event | None = None

    def __repr__(self) -> str:
        run = self._run
        tally, state = run.tally, "ended" if run.ending.stopping else "open"
        return (
            f"<Pool: {state}, {self._room.borrowed_tokens:,} calls in flight or waiting, "
            f"{tally.total:,} done: {tally.succeeded:,} succeeded, {tally.failed:,} failed>"
        )

    async def call(self, prompt: Any, *, context: Any = None, priority: int = 0) -> Out:
        """Make one call and give its value.

        Args:
            prompt: A text, a list of chat messages or a list of content parts.
            context: For middleware and observers.
            priority: Among the calls that wait, those with a higher number go first.

        Raises:
            InvalidItemError: The prompt is not a text, messages or parts.
            SaturatedError: Too many calls wait already.
            ClosedError: The pool has ended.
            ConfigError: It was opened on another event loop.
            Exception: The error of the last attempt.
        """
        result = await self.call_result(prompt, context=context, priority=priority)
        if isinstance(result.exception, ItemStopped):
            msg = f"the pool has ended: {result.error}"
            raise ClosedError(msg) from self._run.ending.error
        return output_of(result)

    async def call_result(
        self, prompt: Any, *, context: Any = None, priority: int = 0
    ) -> WorkItemResult[Out, Any]:
        """Make one call and give the full result, whatever became of it.

        Args:
            prompt: As for ``call``, as are the arguments that follow.
            context: Comes back in the result.
            priority: Among the calls that wait, those with a higher number go first.

        Raises:
            InvalidItemError: The prompt is not a text, messages or parts.
            SaturatedError: Too many calls wait already.
            ClosedError: The pool has ended.
            ConfigError: It was opened on another event loop.
        """
        if loop_of_now() is not self._loop:
            msg = (
                "the pool was opened on another event loop, whose calls and limits it serves; open "
                "a pool on each loop (each thread, each asyncio.run), or call this one by "
                "anyio.from_thread.run"
            )
            raise ConfigError(msg)
        prompt = check_prompt(prompt, texts=self._texts)
        number = self._count + 1
        work: LLMWorkItem[Any, Any, Any] = LLMWorkItem(
            f"call-{number}", None, prompt, context, priority=priority
        )
        item = self._run.start_item(work, number - 1, self._run.clock())
        self._enter(item)
        self._count = number
        results: list[WorkItemResult[Any, Any]] = []
        try:
            # In a child task: a native cancellation of the caller's own task, as by
            # asyncio.timeout(), must end the call and not be taken for an error of it.
            async with anyio.create_task_group() as tasks:
                make = partial(self._make_alone, tasks, item, results)
                tasks.start_soon(make, name=work.item_id)
        except BaseExceptionGroup as errors:
            raise_as_it_was(only_error(errors))
        finally:
            self._leave(item)
        return results[0]

    async def _make_alone(
        self, tasks: TaskGroup, item: ItemRun, results: list[WorkItemResult[Any, Any]]
    ) -> None:
        """Make one call in *tasks*, which is its caller's alone, as is what outlasts the caller."""
        work_on(item)
        shelter = Shelter(self._run.config.cleanup_timeout)
        if not self._run.pipeline.plain:
            tasks.start_soon(shelter.watch, self._run.ending)
        with self._run.watchers.item(item):
            await self._make(item, results, shelter)
        tasks.cancel_scope.cancel("the call has ended")

    async def _make(
        self, item: ItemRun, results: list[WorkItemResult[Any, Any]], shelter: Shelter
    ) -> None:
        """Make one call, which the end of the pool may cut short; put its result in *results*."""
        run = self._run
        result: WorkItemResult[Any, Any] | None = None
        with run.ending.until(Phase.CANCELLING):
            result = await run.pipeline.process(item)
        if result is None:
            item.cut_short()
            result = run.result_of_stopped(item)
        result = await run.pipeline.go_out(item, result, shelter)
        result, _ = await run.pipeline.complete(item, result, shelter)
        run.pipeline.announce(item, result)
        run.tally.add(result)
        results.append(result)

    def stats(self) -> dict[str, Any]:
        """Return numbers about pace and health, and sums over the calls so far."""
        run, room = self._run, self._room.statistics()
        tally = run.tally
        return {
            **run.stats.read(),
            "inside": room.borrowed_tokens,
            "max_inside": int(room.total_tokens),
            "total": tally.total,
            "succeeded": tally.succeeded,
            "failed": tally.failed,
            "tokens": dict(tally.usage),
            "cost": tally.cost,
        }

    def _enter(self, item: ItemRun) -> None:
        ending = self._run.ending
        if ending.stopping:
            msg = f"the pool has ended: {ending.describe().reason}"
            raise ClosedError(msg) from ending.error
        try:
            self._room.acquire_on_behalf_of_nowait(item)
        except anyio.WouldBlock:
            msg = (
                f"the pool is saturated: {self._room.borrowed_tokens} calls are in flight or "
                "waiting; try again later, or open it with a larger max_waiting or concurrency"
            )
            raise SaturatedError(msg) from None

    def _leave(self, item: ItemRun) -> None:
        self._room.release_on_behalf_of(item)
        if not self._room.borrowed_tokens and self._empty is not None:
            self._empty.set()

    async def _until_empty(self) -> None:
        if self._room.borrowed_tokens:
            self._empty = anyio.Event()
            await self._empty.wait()

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[None]:
        """Serve callers for the length of the block; then let calls in flight finish.

        The run's own clock cancels them after ``drain_grace``.
        """
        run = self._run
        async with run.opened(total=None):
            try:
                yield
                run.stop(DRAIN, Termination(EndCause.DONE, "the pool was closed"))
                await self._until_empty()
            except BaseException as error:
                run.stop(CANCEL, _why_left(error))
                raise
            finally:
                # Cancelled from outside, or by what the block raised: callers are other tasks,
                # and strategies are cleaned up once nothing is called any more.
                with anyio.move_on_after(run.config.cleanup_timeout, shield=True):
                    await self._until_empty()


def _why_left(error: BaseException) -> Termination:
    """Return what to call the end of a pool whose block was left by *error*."""
    why = cause_of(error)
    if why.cause is EndCause.PROGRAM_ERROR:
        return Termination(EndCause.STOPPED, f"the block of open_pool raised {why.reason}")
    return Termination(why.cause, "the pool's owner was cancelled")


@explain_arguments(places_of_settings())
@entered_by_async("async with open_pool(…) as pool:")
@asynccontextmanager
async def open_pool(
    strategy: StrategyLike[Out],
    *,
    config: ProcessorConfig | None = None,
    concurrency: Concurrency = None,
    max_waiting: int = 1_000,
    middlewares: Sequence[BaseMiddleware] = (),
    observers: Sequence[BaseObserver] = (),
    post_processor: Callable[[WorkItemResult[Any, Any]], Any] | None = None,
    error_classifier: ErrorClassifier | None = None,
    gate: Gate | Sequence[Gate] | None = None,
    budget: Budget | None = None,
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
        concurrency: The cap on calls in flight, in place of ``config.max_workers``; ``"auto"``
            starts with few and opens up, to 256 at most, until calls are refused.
        max_waiting: Calls that may wait beside those in flight; one more raises
            ``SaturatedError``.
        middlewares: Steps round each call.
        observers: Watch events.
        post_processor: Called with every result.
        error_classifier: Asked first what an exception means.
        gate: A gate of your own, or several, to share limits with other pools and runs.
        budget: The most that the pool may spend, such as ``Budget(max_cost=5.0)``; once it is
            spent, calls raise ``ClosedError``.

    Raises:
        StrategyError: *strategy* is not a valid strategy.
        ConfigError: Another argument is wrong.
        BatchError: At the end of the block: the strategy's ``prepare`` failed.
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
        budget=budget,
    )
    pool = Pool[Out](options, max_waiting)
    try:
        async with pool._opened():
            yield pool
    except BaseExceptionGroup as errors:
        raise_without_group(errors)
    if pool._run.ending.error is not None:
        raise pool._run.ending.error


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
