"""Calls of libraries that are asyncio inside, from any event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, Self, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint_if_cancelled, current_token
from attrs import define, field, frozen

from batchllm.core import TransportError
from batchllm.transport import OneMaker, SharedLock, on_asyncio

__all__ = ["AsyncioBridge"]

T = TypeVar("T")

_GRACE: Final = 5.0
"""Seconds that a cancelled call, or the other event loop, has for its end."""


@frozen
class _OtherLoop:
    """An asyncio event loop in a thread of its own."""

    loop: Any
    group: TaskGroup
    context: Context
    stack: ExitStack

    def soon(self, function: Callable[..., Any], *args: Any) -> None:
        # Unlike the portal's own methods this does not wait until the other loop has a moment.
        self.loop.call_soon_threadsafe(partial(function, *args), context=self._context_here())

    def _context_here(self) -> Context:
        """Return the caller's context variables, except those by which a loop knows itself."""
        merged = self.context.copy()
        for variable, value in copy_context().items():
            if variable not in self.context:
                merged.run(variable.set, value)
        return merged

    def close(self) -> None:
        self.soon(self.group.cancel_scope.cancel, "the bridge is closing")
        self.stack.close()


@define(eq=False)
class _Errand:
    """One call on the other loop; ``done`` is called there when it has ended."""

    function: Callable[[], Awaitable[Any]]
    done: Callable[[], None]
    value: Any = None
    error: BaseException | None = None
    _scope: anyio.CancelScope | None = None
    _is_cancelled: bool = False

    async def run(self) -> None:
        try:
            with anyio.CancelScope() as self._scope:
                if self._is_cancelled:
                    self._scope.cancel("the caller was cancelled")
                self.value = await self.function()
        except anyio.get_cancelled_exc_class() as error:  # noqa: ASYNC103 - see below
            self.error = TransportError("the call was cancelled inside the library that made it")
            self.error.__cause__ = error
            # Only the closing of this loop may go on from here: a library's own cancellation
            # would take every other call with it.
            await checkpoint_if_cancelled()  # noqa: ASYNC102
        except BaseException as error:  # whatever it is, it is the caller's
            self.error = error
        finally:
            self.done()

    def cancel(self) -> None:
        self._is_cancelled = True
        if self._scope is not None:
            self._scope.cancel("the caller was cancelled")


@define(eq=False)
class AsyncioBridge:
    """Lets libraries that only work on asyncio be called on every event loop.

    On asyncio it calls them directly. Elsewhere it keeps one asyncio event loop in a thread,
    from the first call until the last holder has let go. A call that is
    cancelled is cancelled over there, and has ended when the caller goes on.

    A strategy has one of its own for each run. Connections belong to an event loop, so if an
    agent, or a client that it keeps, serves several runs, give all of them one bridge, and close
    the client over there::

        async with AsyncioBridge() as bridge:
            strategy = PydanticAIStrategy(agent, bridge=bridge)
            first, second = await run_batch(a, strategy), await run_batch(b, strategy)
            await bridge.call(client.close)
    """

    _holders: int = field(default=0, init=False)
    _other: _OtherLoop | None = field(default=None, init=False)
    # Invariant: holders are counted, and the loop is taken out to be closed, under the lock, since
    # several event loops may hold the bridge.
    _lock: SharedLock = field(factory=SharedLock, init=False)
    _opening: OneMaker = field(factory=lambda: OneMaker(), init=False)

    async def __aenter__(self) -> Self:
        self.hold()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.release()  # noqa: ASYNC102 - what waits in it is shielded

    def hold(self) -> None:
        """Keep the other event loop, once there is one, until the matching ``release``."""
        with self._lock:
            self._holders += 1

    async def release(self) -> None:
        """Close the other event loop, unless it is still held."""
        with self._lock:
            self._holders = max(0, self._holders - 1)
            if self._holders:
                return
            other, self._other = self._other, None
        if other is not None:
            with anyio.move_on_after(_GRACE, shield=True):
                await anyio.to_thread.run_sync(other.close, abandon_on_cancel=True)

    async def call(self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Call *function* where asyncio runs.

        Raises:
            TransportError: The library cancelled the call by itself.
            Exception: What *function* raised.
        """
        if on_asyncio():
            return await function(*args, **kwargs)
        async with AsyncExitStack() as held:
            self.hold()
            held.push_async_callback(self.release)
            other = await self._opened()
            return await _send(other, partial(function, *args, **kwargs))

    async def _opened(self) -> _OtherLoop:
        if self._other is None:
            async with self._opening.alone():
                if self._other is None:
                    self._other = await anyio.to_thread.run_sync(_open)
        return self._other


def _open() -> _OtherLoop:
    with ExitStack() as stack:
        portal = stack.enter_context(
            anyio.from_thread.start_blocking_portal("asyncio", name="batchllm asyncio")
        )
        ended, group = portal.start_task(_keep_group)
        stack.callback(ended.result)
        loop = portal.call(current_token).native_token
        return _OtherLoop(loop, group, portal.call(copy_context), stack.pop_all())


async def _keep_group(*, task_status: TaskStatus[TaskGroup]) -> None:  # noqa: ASYNC114 - the portal starts it
    async with anyio.create_task_group() as group:
        task_status.started(group)
        await anyio.sleep_forever()


async def _send(other: _OtherLoop, function: Callable[[], Awaitable[T]]) -> T:
    ended, here = anyio.Event(), current_token().native_token
    errand = _Errand(function, partial(_wake, here, ended))
    other.soon(other.group.start_soon, errand.run)
    try:
        await ended.wait()
    finally:
        if not ended.is_set():
            other.soon(errand.cancel)
            with anyio.move_on_after(_GRACE, shield=True):
                await ended.wait()
    if errand.error is not None:
        raise errand.error
    return errand.value  # type: ignore[no-any-return]


def _wake(here: Any, ended: anyio.Event) -> None:
    with suppress(RuntimeError):  # the caller's run is over
        here.run_sync_soon(ended.set)
