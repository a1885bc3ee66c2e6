"""Finishing what is paid for: a cancellation leaves it a short time, and never more."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager

import anyio
from attrs import define, field

from batchllm.engine.ending import Ending, Phase

__all__ = ["Shelter"]


@define(eq=False)
class Shelter:
    """Shields the hooks of finished results from cancellation, for *grace* seconds after it.

    Args:
        grace: Seconds that they have in all, however long each may take without a cancellation.
    """

    grace: float
    _until: float = field(default=math.inf, init=False)
    _open: set[anyio.CancelScope] = field(factory=set, init=False)

    @contextmanager
    def open(self) -> Generator[None]:
        """Shield the block."""
        scope = anyio.move_on_at(self._until, shield=True)
        self._open.add(scope)
        try:
            with scope:
                yield
        finally:
            self._open.discard(scope)

    def close(self) -> None:
        """Let what is inside, and what comes still, end within the grace that begins now."""
        self._until = min(self._until, anyio.current_time() + self.grace)
        for scope in self._open:
            scope.deadline = min(scope.deadline, self._until)

    async def watch(self, ending: Ending) -> None:
        """Close when *ending* cancels its run, or this task is cancelled with what is outside.

        What is inside a shield learns nothing of either.
        """
        try:
            with ending.until(Phase.OVER):
                await ending.reached(Phase.CANCELLING)
        finally:
            self.close()
