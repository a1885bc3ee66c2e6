"""Blocking work in virtual time: in place, where a thread would let the clock run away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

__all__ = ["run_inline"]


async def run_inline(function: Callable[[], Any], *, limiter: anyio.CapacityLimiter) -> Any:
    """Call *function* here and now; stands in for ``run_in_thread`` in virtual time.

    ``virtual_time`` puts it in place of threads on its event loops. The limiter is honoured, so
    that what waits for a free thread waits here, too.
    """
    async with limiter:
        await checkpoint()
        return function()
