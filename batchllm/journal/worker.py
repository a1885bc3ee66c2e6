"""A thread of its own for one journal: what is given to it is done there, one after the other."""

from __future__ import annotations

import queue
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from threading import Thread
from typing import Any, Final, Protocol, TypeVar, cast

import anyio
import anyio.from_thread
from anyio.lowlevel import checkpoint, current_token
from attrs import define, field

__all__ = ["InlineWorker", "OpenWorker", "Worker", "open_inline_worker", "open_thread_worker"]

T = TypeVar("T")

_LEAVE_SECONDS: Final = 60.0
"""Seconds for the thread to finish what it has begun; a disk that takes longer is given up."""


class Worker(Protocol):
    """Does blocking work, one piece after the other."""

    async def call(self, work: Callable[[], T]) -> T:
        """Do *work* and return what it returned; a cancellation ends the waiting, not the work.

        Raises:
            BaseException: What *work* raised.
        """
        ...

    def report(self, listener: Callable[[str], None], text: str) -> None:
        """Call *listener* with *text* on the event loop; called by the work, in its thread."""


class OpenWorker(Protocol):
    """Opens a worker, and ends it when its block is left."""

    def __call__(self) -> Any:
        """Return an asynchronous context manager that gives a ``Worker``."""
        ...


@define(eq=False)
class _Job:
    work: Callable[[], Any]
    done: anyio.Event = field(factory=anyio.Event)
    value: Any = None
    error: BaseException | None = None


@define(eq=False)
class _ThreadWorker:
    token: Any
    jobs: queue.SimpleQueue[_Job | None] = field(factory=queue.SimpleQueue)
    ended: anyio.Event = field(factory=anyio.Event)

    async def call(self, work: Callable[[], T]) -> T:
        job = _Job(work)
        self.jobs.put(job)
        await job.done.wait()
        if job.error is not None:
            raise job.error
        return cast("T", job.value)

    def report(self, listener: Callable[[str], None], text: str) -> None:
        # The loop may be gone, if the program is ending; then there is no listener.
        with suppress(RuntimeError):
            anyio.from_thread.run_sync(listener, text, token=self.token)

    def serve(self) -> None:
        """Work until there is a ``None``; runs in the thread."""
        while (job := self.jobs.get()) is not None:
            try:
                job.value = job.work()
            except BaseException as error:  # noqa: ASYNC103 - raised by the task that waits
                job.error = error
            self._set(job.done)
        self._set(self.ended)

    def _set(self, event: anyio.Event) -> None:
        # The loop may be gone, if the program is ending; then no task waits.
        with suppress(RuntimeError):
            anyio.from_thread.run_sync(event.set, token=self.token)


@asynccontextmanager
async def open_thread_worker() -> AsyncGenerator[Worker]:
    """Keep one thread for the block; at its end the thread finishes what it was given."""
    worker = _ThreadWorker(current_token())
    # A cancellation must not leave a commit half awaited; the end of the block sets a deadline.
    scope = anyio.CancelScope(shield=True)

    async def run() -> None:
        # A daemon. AnyIO's own workers wait for ever, and the interpreter for them, if a second
        # Ctrl-C comes while code on a loop of asyncio blocks: that loop never ends in order.
        thread = Thread(target=worker.serve, name="batchllm journal", daemon=True)
        with scope:
            thread.start()
            await worker.ended.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(run, name="batchllm journal thread")
        try:
            yield worker
        finally:
            worker.jobs.put(None)
            scope.deadline = anyio.current_time() + _LEAVE_SECONDS


class InlineWorker:
    """Does the work in place: for virtual time, where a thread would let the clock run away."""

    async def call(self, work: Callable[[], T]) -> T:
        """Do *work* here and now."""
        await checkpoint()
        return work()

    def report(self, listener: Callable[[str], None], text: str) -> None:
        """Call *listener*, here and now."""
        listener(text)


@asynccontextmanager
async def open_inline_worker() -> AsyncGenerator[Worker]:
    """Give a worker that does the work in place."""
    yield InlineWorker()
