"""The longest wait of a test for what is going to happen: a guard against hanging."""

from collections.abc import Callable

import anyio

PATIENCE = 120.0
"""Seconds; below the suite's own limit for a test, so that the test itself says what is missing."""


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task, thread or process does in its own time."""
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.005)
