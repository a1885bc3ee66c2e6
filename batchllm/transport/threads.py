"""Blocking functions in worker threads: the one way by which this library leaves the event loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar, checkpoint
from attrs import define, field

from batchllm.transport.daemon_thread import holds_the_program, run_in_daemon
from batchllm.transport.loops import LoopTable

__all__ = ["ThreadLimits", "ThreadRunner", "run_in_thread", "runner_of_loop"]


class ThreadRunner(Protocol):
    """Calls a blocking function off the event loop."""

    async def __call__(self, function: Callable[[], Any], *, limiter: anyio.CapacityLimiter) -> Any:
        """Return what *function* returns."""
        ...


runner_of_loop: Final[RunVar[ThreadRunner]] = RunVar("batchllm.threads")
"""The stand-in for threads on one event loop. Only a loop in virtual time has one: its clock
jumps while a thread works, so that every deadline of the thread would be over at once."""


async def run_in_thread(function: Callable[[], Any], *, limiter: anyio.CapacityLimiter) -> Any:
    """Call *function* in a worker thread; a cancelled call leaves the thread to end by itself.

    Args:
        function: What blocks.
        limiter: How many may run at once.
    """
    await checkpoint()
    runner = runner_of_loop.get(None)
    if runner is not None:
        return await runner(function, limiter=limiter)
    if holds_the_program():
        return await run_in_daemon(function, limiter=limiter)
    return await anyio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=limiter)


@define(eq=False)
class _Threads:
    """The threads of one event loop."""

    limiter: anyio.CapacityLimiter

    async def close(self) -> None:
        """Let go; threads end by themselves."""

    def abandon(self) -> None:
        """Let go; threads end by themselves."""


def _threads(most: int) -> _Threads:
    return _Threads(anyio.CapacityLimiter(most))


@define(eq=False)
class ThreadLimits:
    """A limit of threads for each event loop that uses what owns this.

    Args:
        threads: The most at once on one loop.
    """

    threads: int
    _table: LoopTable[_Threads] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._table = LoopTable(partial(_threads, self.threads))

    def of_this_loop(self) -> anyio.CapacityLimiter:
        """Return the limiter of the running loop."""
        return self._table.of_this_loop().limiter

    async def renew(self) -> None:
        """Start with a fresh count on the running loop."""
        await self._table.close()
