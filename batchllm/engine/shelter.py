"""Finishing what is paid for: a cancellation leaves it a short time, and never more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

__all__ = ["shelter"]


async def shelter(call: Callable[[], Awaitable[None]], grace: float) -> bool:
    """Await *call*, shielded; a cancellation from outside leaves it *grace* seconds.

    What *call* has done must be kept elsewhere: after a cancellation this raises it, once *call*
    has ended.

    Args:
        call: What to finish.
        grace: Seconds that it has after a cancellation, however long it may take without one.

    Returns:
        Whether *call* ended by itself.
    """
    scope = anyio.CancelScope(shield=True)

    async def watch() -> None:
        # Out here, since whatever is inside the shield learns nothing of a cancellation.
        try:
            await anyio.sleep_forever()
        finally:
            scope.deadline = min(scope.deadline, anyio.current_time() + grace)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        with scope:
            await call()
        tasks.cancel_scope.cancel("what was sheltered has ended")
    return not scope.cancelled_caught
