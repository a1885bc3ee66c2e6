"""A batch as its caller holds it: to read its results, to see its sums, and to stop it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, final

from typing_extensions import TypeVar

from batchllm.core import BatchResult, ClosedError, EndCause, Termination, WorkItemResult
from batchllm.engine import DRAIN, Batch, ResultStream, Stop

__all__ = ["BatchRun", "bind", "run_for_reader"]

Out = TypeVar("Out", default=Any)


@final
class BatchRun(Generic[Out]):
    """A batch that is running, or has run.

    ``stream_batch`` gives one; iterate over it for the results. Make one yourself and pass it as
    ``run_batch(into=run)`` to reach what is finished even if ``run_batch`` is cancelled.
    """

    def __init__(self) -> None:
        self._batch: Batch | None = None
        self._stream: ResultStream | None = None
        self._error: Exception | None = None

    def __repr__(self) -> str:
        batch = self._batch
        if batch is None:
            return "<BatchRun: not started>"
        tally, cause = batch.tally, batch.termination.cause
        return (
            f"<BatchRun: {cause.value}, {tally.total:,} done: "
            f"{tally.succeeded:,} succeeded, {tally.failed:,} failed>"
        )

    def _started(self) -> Batch:
        if self._batch is None:
            msg = "the batch has not been started yet"
            raise ClosedError(msg)
        return self._batch

    @property
    def result(self) -> BatchResult[Out, Any]:
        """Return the finished part of the batch, with its sums.

        Of a stream, ``results`` are those that have not been read, unless the configuration says
        ``keep_results``; the sums count everything.
        """
        if self._batch is None:
            return BatchResult(
                termination=Termination(EndCause.RUNNING, "the batch has not been started yet")
            )
        return self._batch.result()

    def stats(self) -> dict[str, Any]:
        """Return numbers about pace and health at this moment."""
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
        batch = self._started()
        if self._stream is None:
            msg = "run_batch() collects its results: read .result, or use stream_batch()"
            raise ClosedError(msg)
        result = await self._stream.get()
        if result is not None:
            batch.make_room()
            return result
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration


def bind(run: BatchRun[Any], batch: Batch, stream: ResultStream | None = None) -> None:
    """Let *run* stand for *batch*, once.

    Raises:
        ClosedError: It stands for another already.
    """
    if run._batch is not None:
        msg = "this BatchRun has been used already; make a new one for each batch"
        raise ClosedError(msg)
    run._batch, run._stream = batch, stream


async def run_for_reader(run: BatchRun[Any], run_all: Callable[[], Awaitable[None]]) -> None:
    """Run the batch; keep its own failure for the reader, who gets it after the last result."""
    try:
        await run_all()
    except Exception as error:
        run._error = error
