"""A worker thread that does not keep the program from ending.

AnyIO's workers on asyncio are joined when the interpreter ends. A blocking function that was given
up, since its batch was interrupted by Ctrl-C, would hold the program until it returns, or until a
second Ctrl-C. (On Trio, and in a portal's thread, workers are daemons already.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final

import anyio
import anyio.from_thread
from anyio._core import _eventloop as anyio_threads
from anyio.lowlevel import EventLoopToken, current_token
from attrs import define, field

from batchllm.transport.loops import on_asyncio

__all__ = ["holds_the_program", "run_in_daemon"]

_NEEDED: Final = ("claim_worker_thread", "set_current_async_library", "threadlocals")
_CAN_START: Final = all(hasattr(anyio_threads, name) for name in _NEEDED)
"""AnyIO has no public way to say that a thread is a worker; one without these starts its own."""


def holds_the_program() -> bool:
    """Return whether AnyIO's worker threads would be waited for when the interpreter ends."""
    return _CAN_START and on_asyncio() and not threading.current_thread().daemon


async def run_in_daemon(function: Callable[[], Any], *, limiter: anyio.CapacityLimiter) -> Any:
    """Call *function* in a thread of its own; a cancelled call leaves it to end by itself.

    Args:
        function: What blocks; ``anyio.from_thread`` works in it as in any worker thread.
        limiter: How many may run at once.
    """
    call = _Call(function, current_token(), anyio.CancelScope())
    async with limiter:
        with call.scope:
            context = copy_context()
            thread = threading.Thread(
                target=context.run, args=(call.run,), name="batchllm worker", daemon=True
            )
            thread.start()
            await call.done.wait()
    if call.error is not None:
        raise call.error
    return call.value


@define(eq=False)
class _Call:
    """One call of a function, and how it ended."""

    function: Callable[[], Any]
    token: EventLoopToken
    scope: anyio.CancelScope
    done: anyio.Event = field(factory=anyio.Event, init=False)
    value: Any = field(default=None, init=False)
    error: BaseException | None = field(default=None, init=False)

    def run(self) -> None:
        """Call it, in the thread."""
        # As in AnyIO's own workers, which are the only ones that it knows: otherwise the function
        # would be taken for code on the event loop, and could not call back to it.
        anyio_threads.set_current_async_library(None)
        loop = self.token.native_token
        with anyio_threads.claim_worker_thread(self.token.backend_class, loop):
            anyio_threads.threadlocals.current_cancel_scope = self.scope
            try:
                self.value = self.function()
            except StopIteration as error:  # it could not be raised in a coroutine
                self.error = RuntimeError("the function raised StopIteration")
                self.error.__cause__ = error
            except BaseException as error:  # noqa: ASYNC103 - raised by the task that waits
                self.error = error
        with suppress(RuntimeError):  # the loop may have ended, and the caller with it
            anyio.from_thread.run_sync(self.done.set, token=self.token)
