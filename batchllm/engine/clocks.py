"""Clocks that tell code that holds the event loop from a process that was not run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from attrs import frozen

__all__ = ["Clocks", "Reading"]

if sys.platform == "win32":

    def _preemptions() -> int:
        return 0  # Windows does not count them, so there every wait counts

else:
    import resource

    # macOS counts for the whole process only: more is excused, nothing is wrongly accused.
    _WHOSE: int = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)

    def _preemptions() -> int:
        return resource.getrusage(_WHOSE).ru_nivcsw


@frozen
class Clocks:
    """Where time is read; tests give their own.

    Attributes:
        wall: Seconds of real time.
        cpu: Seconds for which this thread has computed.
        preemptions: How often the system took the processor from this thread.
    """

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.thread_time
    preemptions: Callable[[], int] = _preemptions

    def read(self) -> Reading:
        """Read all three; it takes 2 to 3 µs."""
        return Reading(self.wall(), self.cpu(), self.preemptions())


@frozen
class Reading:
    """What the clocks showed at one moment."""

    wall: float
    cpu: float
    preemptions: int

    def held(self, before: Reading, seconds: float) -> bool:
        """Return whether what ran since *before* held its thread for longer than *seconds*.

        Code takes long for one of three reasons: it computes, it waits (for a disk, a server), or
        the system did not run the process: a busy machine, a container that has used up its
        share. A clock on the wall cannot tell the third from the others. But computing shows on
        the thread's own clock, and a thread that waits gives the processor back by itself. Code
        that both waited and was interrupted is let off: better no advice than a wrong one.
        """
        if self.wall - before.wall <= seconds:
            return False
        computed = self.cpu - before.cpu > seconds
        return computed or self.preemptions == before.preemptions
