"""Ctrl-C, SIGTERM and the end of a terminal: the first drains the run, the second cancels it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import anyio
from anyio.abc import TaskStatus
from attrs import define, field

from batchllm.api import BatchRun
from batchllm.core import EndCause
from batchllm.engine import CANCEL, DRAIN

__all__ = ["Interrupts"]


@define(eq=False)
class Interrupts:
    """Watches for signals while a run goes on.

    Attributes:
        note: Called with what to show the user.
        count: How many have come.
    """

    note: Callable[[str], None]
    count: int = field(default=0, init=False)

    async def watch(
        self, run: BatchRun[Any], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Stop *run* step by step. After the second signal a third ends the program at once.

        Where an event loop cannot watch signals, as asyncio cannot on Windows, Ctrl-C ends the
        run at once; rows that are written stay.
        """
        try:
            with anyio.open_signal_receiver(*_watched()) as signals:
                task_status.started()
                async for number in signals:
                    if self.count and number not in (signal.SIGINT, signal.SIGTERM):
                        continue  # shell and kernel both send one when a terminal is closed
                    self.count += 1
                    self._stop(run, "Ctrl-C" if number == signal.SIGINT else number.name)
                    if self.count == 2:
                        return
        except NotImplementedError:
            task_status.started()

    def _stop(self, run: BatchRun[Any], name: str) -> None:
        if self.count == 1:
            self.note(f"{name}: no further call starts{_what_may_finish(run)}")
            run.stop(DRAIN, f"{name} interrupted it", cause=EndCause.INTERRUPTED)
        else:
            self.note(f"{name}: cancelling the calls in flight")
            run.stop(CANCEL, f"{name} interrupted it twice", cause=EndCause.INTERRUPTED)


def _watched() -> list[signal.Signals]:
    """Return the signals that ask for an end.

    A terminal that is closed sends SIGHUP. ``nohup`` has a program ignore it, so that it outlives
    the terminal.
    """
    watched = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        watched.append(hang_up)
    return watched


def _what_may_finish(run: BatchRun[Any]) -> str:
    match run.stats()["in_flight"]:
        case 0:
            return ""
        case 1:
            return ", and the 1 call in flight may finish; a second one cancels it"
        case number:
            return f", and the {number} calls in flight may finish; a second one cancels them"
