"""Blocking functions as hooks: in a worker thread, so that the event loop goes on meanwhile."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, update_wrapper
from types import MethodType
from typing import Any

from batchllm.core import ConfigError, kind_of
from batchllm.transport import ThreadLimits, ThreadRunner, run_in_thread

__all__ = ["InThread", "in_thread", "is_async"]


class InThread:
    """A function that is called in a worker thread; to an event loop it is an async one.

    Args:
        function: What blocks.
        threads: How many calls may run at once on one event loop; the others wait in order.
        run_sync: Calls it in a thread.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        threads: int = 1,
        run_sync: ThreadRunner = run_in_thread,
    ) -> None:
        if not callable(function) or is_async(function):
            what = "an async function, which blocks nothing" if callable(function) else None
            msg = f"in_thread() was given {what or kind_of(function)}; give a blocking function"
            raise ConfigError(msg)
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            msg = f"threads is {threads!r}; give a whole number of at least 1"
            raise ConfigError(msg)
        update_wrapper(self, function)
        self._function = function
        self._limits = ThreadLimits(threads)
        self._run_sync = run_sync

    def __repr__(self) -> str:
        return f"in_thread({self._function!r})"

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the function returns.

        Raises:
            Exception: What it raised.
        """
        call = partial(self._function, *args, **kwargs)
        return await self._run_sync(call, limiter=self._limits.of_this_loop())

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Be a method where it stands in a class, as in an observer's ``on_event``."""
        return self if instance is None else MethodType(self, instance)


def in_thread(
    function: Callable[..., Any], *, threads: int = 1, run_sync: ThreadRunner = run_in_thread
) -> InThread:
    """Make a hook of a blocking function: it runs in a worker thread, one call at a time.

    For a progress callback, an observer's ``on_event`` or a middleware's hooks that write to a
    file or a database. A call that is cancelled or takes longer than its hook may is no longer
    waited for; its thread ends by itself.

    Example::

        class Table(BaseObserver):
            @in_thread
            def on_event(self, event, data):
                self.connection.execute("insert …", (event.value, data["timestamp"]))

    Args:
        function: What blocks. It must not use the event loop.
        threads: How many calls may run at once on one event loop; the others wait in order.
        run_sync: Calls it in a thread.

    Raises:
        ConfigError: *function* cannot be called or is async, or *threads* is below 1.
    """
    return InThread(function, threads=threads, run_sync=run_sync)


def is_async(function: Any) -> bool:
    """Return whether calling *function* only makes an awaitable, which blocks nothing."""
    inner = function
    while isinstance(inner, partial | MethodType):
        inner = inner.func if isinstance(inner, partial) else inner.__func__
    call = getattr(type(inner), "__call__", None)  # noqa: B004 - of an object, not whether
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(call)
