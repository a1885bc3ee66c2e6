"""Entry points for code that is not async: scripts, notebooks, other frameworks' threads.

The batch runs on asyncio in a thread of its own, so these work where an event loop already runs,
as in a notebook.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from typing_extensions import TypeVar

from batchllm.api.batch_run import BatchRun
from batchllm.api.blocks import entered_by
from batchllm.api.run import Items, run_batch, stream_batch
from batchllm.core import BatchError, BatchResult, WorkItemResult
from batchllm.llm_strategies import StrategyLike

__all__ = ["run_batch_sync", "stream_batch_sync"]

Out = TypeVar("Out", default=Any)


def run_batch_sync(
    items: Items, strategy: StrategyLike[Out] | None = None, **options: Any
) -> BatchResult[Out, Any]:
    """``run_batch`` for code that is not async; takes the same arguments.

    Ctrl-C cancels the batch, and its cleanups run.
    """
    with start_blocking_portal("asyncio", name="batchllm") as portal:
        try:
            return portal.call(partial(run_batch, items, strategy, **options))
        except BatchError as error:
            # Without the frames of the thread: the message says it all, and the cause shows where.
            raise error.with_traceback(None)  # noqa: B904


@entered_by("with stream_batch_sync(…) as results:")
@contextmanager
def stream_batch_sync(
    items: Items, strategy: StrategyLike[Out] | None = None, **options: Any
) -> Generator[Iterator[WorkItemResult[Out, Any]]]:
    """``stream_batch`` for code that is not async; gives an ordinary iterator of results.

    Example::

        with stream_batch_sync(prompts, strategy) as results:
            for result in results:
                print(result.item_id, result.output)
    """
    with (
        start_blocking_portal("asyncio", name="batchllm") as portal,
        portal.wrap_async_context_manager(stream_batch(items, strategy, **options)) as run,
    ):
        yield _read(portal, run)


def _read(portal: BlockingPortal, run: BatchRun[Out]) -> Iterator[WorkItemResult[Out, Any]]:
    while True:
        result = portal.call(_next, run)
        if result is None:
            return
        yield result


async def _next(run: BatchRun[Out]) -> WorkItemResult[Out, Any] | None:
    return await anext(run, None)
