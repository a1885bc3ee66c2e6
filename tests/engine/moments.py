"""Cancellation from outside, at a moment that a test chooses."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from anyio.lowlevel import checkpoint


@asynccontextmanager
async def cancelled_at(instant: float, turns: int) -> AsyncGenerator[anyio.CancelScope]:
    """Cancel the block at that instant, after so many more turns of the loop."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                await anyio.sleep(instant)
                for _ in range(turns):
                    await checkpoint()
                scope.cancel()

            group.start_soon(cancel)
            yield scope
            group.cancel_scope.cancel()
