"""Moments at which tests end a run: which of them on which backend, and a cancellation at one."""

import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import count, product
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from batchllm.testing import Backend


def is_for(backend: Backend, number: int) -> bool:
    """Return whether a moment is for a backend on this Python: half of them are.

    The backends take turns, and change places on Python 3.13: a suite that runs on an older and on
    a newer one, as for each change, has tried every moment on both. Turns are by the number of ones
    among the binary digits, which has no period: what happens at every second or fourth moment, as
    the commit of a transaction may, is not left to one backend.
    """
    return (number.bit_count() + (backend == "trio") + (sys.version_info >= (3, 13))) % 2 == 0


def moments_for(backend: Backend) -> Iterator[int]:
    """Return the moments, from 1 on, that are for a backend on this Python."""
    return (number for number in count(1) if is_for(backend, number))


def share(backend: Backend, *choices: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return the half of all combinations that is for a backend on this Python.

    Either half has all combinations of any choices but one.
    """
    return [
        tuple(value for _, value in combination)
        for combination in product(*map(enumerate, choices))
        if is_for(backend, sum(place.bit_count() for place, _ in combination) % 2)
    ]


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
