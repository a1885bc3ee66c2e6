"""Reports hooks that hold the event loop: each once, by name, with the time that it took."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from attrs import define, field

from batchllm.engine.loop_watch import Clocks

__all__ = ["SlowHooks"]

logger = logging.getLogger("batchllm")

_SLOW: Final = 0.1
"""Seconds. Every answer and timer that comes meanwhile is late by as much; a log line or a row in
a list takes a thousandth of it."""


@define(eq=False)
class SlowHooks:
    """Calls the hooks of one run and times those that are not async.

    Args:
        warnings: Where to put a sentence about each slow one.
        clocks: Where to read time; they distinguish a hook that holds the loop from a process
            that the system did not run.
    """

    warnings: list[str] = field(factory=list)
    clocks: Clocks = field(factory=Clocks)
    _reported: set[str] = field(factory=set, init=False)

    def call(self, name: str, hook: Callable[..., Any], *args: Any) -> Any:
        """Return what *hook* returns, an awaitable of an async one included."""
        if name in self._reported:
            return hook(*args)
        before = self.clocks.read()
        try:
            return hook(*args)
        finally:
            wall = self.clocks.wall()
            if self.clocks.held(before, wall, _SLOW):
                self._report(name, wall - before.wall)

    def _report(self, name: str, seconds: float) -> None:
        self._reported.add(name)
        text = (
            f"{name} blocked the event loop for {seconds:.2f} s, and with it every call; make it "
            "async, or wrap it in in_thread(…)"
        )
        self.warnings.append(text)
        logger.warning("%s (said once)", text)
