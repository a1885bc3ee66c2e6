"""Virtual time on both backends: an hour's sleep takes no time and ends an hour later exactly."""

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar, TypeVarTuple, Unpack

import anyio
import trio.testing
from anyio.lowlevel import checkpoint

from batchllm.transport import runner_of_loop

__all__ = ["Backend", "run_inline", "virtual_run", "virtual_time"]

Backend = Literal["asyncio", "trio"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def virtual_time(backend: Backend) -> dict[str, Any]:
    """Return fresh backend options that make time jump to the next timer whenever nothing can run.

    The options serve one run: ``anyio.run(main, backend=backend, backend_options=options)``, or
    the ``anyio_backend`` fixture of AnyIO's pytest plugin, as ``(backend, options)``.

    Virtual time knows timers only. While a thread or a socket is busy and a timer is pending, the
    clock jumps to that timer. So blocking work of batchllm (a sync strategy or post-processor,
    ``in_thread``, ``blocking_source``) runs in place of a thread on the event loop; other threads
    with deadlines, and real sockets, belong to real time.

    Args:
        backend: ``"asyncio"`` or ``"trio"``.

    Raises:
        ValueError: `backend` is neither.
    """
    if backend == "asyncio":
        return {"loop_factory": _VirtualTimeLoop}
    if backend == "trio":
        clock = trio.testing.MockClock(autojump_threshold=0)
        return {"clock": clock, "instruments": [_InlineThreads()]}
    raise ValueError(f"backend must be 'asyncio' or 'trio', not {backend!r}")


def virtual_run(
    main: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts, backend: Backend = "asyncio"
) -> T:
    """Run ``main(*args)`` to its end in virtual time and return its value.

    Example:
        >>> async def main() -> str:
        ...     await anyio.sleep(3600)
        ...     return "an hour later, at once"
        >>> virtual_run(main, backend="trio")
        'an hour later, at once'
    """
    return anyio.run(main, *args, backend=backend, backend_options=virtual_time(backend))


class _InlineThreads(trio.abc.Instrument):
    def before_run(self) -> None:
        runner_of_loop.set(run_inline)


class _VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._selector_of_time = _JumpingSelector()
        super().__init__(self._selector_of_time)
        # In a task: anyio looks at the current one to know its event loop.
        self.run_until_complete(self._run_threads_inline())

    async def _run_threads_inline(self) -> None:
        runner_of_loop.set(run_inline)

    def time(self) -> float:
        return self._selector_of_time.now

    @property
    def _clock_resolution(self) -> float:
        # asyncio runs timers that are due before now plus this. The system's nanosecond is lost in
        # a float after some months, and a timer due right now would then never be run.
        return max(1e-9, math.ulp(self.time()))

    @_clock_resolution.setter
    def _clock_resolution(self, seconds: float) -> None:
        pass  # asyncio gives the system's


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for a timer: where nothing is ready, the awaited time is simply over."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # Without a timer only a thread or a socket can wake the loop, and those take real time.
        ready = super().select(None if timeout is None else 0)
        if timeout is not None and not ready:
            self.now += timeout
        return ready


async def run_inline(function: Callable[[], Any], *, limiter: anyio.CapacityLimiter) -> Any:
    """Call *function* here and now; stands in for ``run_in_thread`` in virtual time.

    ``virtual_time`` puts it in place of threads on its event loops. The limiter is honoured, so
    that what waits for a free thread waits here, too.
    """
    async with limiter:
        await checkpoint()
        return function()
