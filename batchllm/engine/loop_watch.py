"""Notices code that holds the event loop, and sources that do so again and again.

That code held the loop is judged by `Clocks.held`: a clock on the wall alone cannot distinguish
it from a process that was not run. A stopped process (Ctrl-Z, a laptop that sleeps) looks like one
that waits, though. So before a source is blamed three more signs have to come together: it happened
`SEVERAL` times, it took most of the time in which items were taken in, and none of our own work
between was that slow, as it would be if the process were paused now and then.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import Final

from attrs import define, field, frozen

__all__ = ["SEVERAL", "SLOW_SECONDS", "Clocks", "Reading", "SourceWatch"]

SLOW_SECONDS = 0.05
"""A loop that is held so long is late for every timer and every answer by as much."""

SEVERAL = 3
"""So many slow ones are a habit; the first may open a file or connect."""


_WORTH_A_LOOK: Final = SLOW_SECONDS / 10
"""Seconds of one ``next()`` after which all clocks are read, so that it is not taken for a part of
the one after it. Those that take less, eight in a burst, do not add up to a slow one."""

# Stops for a third of the time, during a source that parses for 0.1 ms an item, gave wrong advice.
_MOST: Final = 2 / 3

if sys.platform == "win32":

    def _preemptions() -> int:
        return 0  # Windows does not count them, so there every wait counts

else:
    import resource

    # macOS counts for the whole process only: more is excused, nothing is wrongly accused.
    _WHOSE: int = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)

    def _preemptions() -> int:
        return resource.getrusage(_WHOSE).ru_nivcsw


def _since_collected() -> int:
    """Return the rounds of the garbage collector since it last looked at every object."""
    return gc.get_count()[-1]


@frozen
class Clocks:
    """The clocks that are read; tests give their own.

    Attributes:
        wall: Seconds of real time.
        cpu: Seconds for which this thread has computed.
        preemptions: How often the system took the processor from this thread.
        since_collected: Rounds of the garbage collector since its last full one.
    """

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.thread_time
    preemptions: Callable[[], int] = _preemptions
    since_collected: Callable[[], int] = _since_collected

    def read(self) -> Reading:
        """Read all four before something begins; it takes 2 to 3 µs.

        The wall's clock comes last here and first in `held`: where the processor is taken away
        between two readings, the time that the wall shows never has more than the count has.
        """
        since_collected, preemptions, cpu = self.since_collected(), self.preemptions(), self.cpu()
        return Reading(self.wall(), cpu, preemptions, since_collected)

    def held(self, before: Reading, wall: float, seconds: float) -> bool:
        """Return whether what ran from *before* to *wall* held its thread longer than *seconds*.

        Code takes long for one of three reasons: it computes, it waits (for a disk, a server), or
        the system did not run the process: a busy machine, a container that has used up its
        share. A clock on the wall cannot separate the third from the others. But computing
        shows on the thread's own clock, and a thread that waits gives the processor back by
        itself. Code that both waited and was interrupted is let off: better no advice than a
        wrong one. So is code in which the garbage collector went through every object (0.13 s
        was seen): the objects belong to all, not to the code that made the last one.
        """
        if wall - before.wall <= seconds or self.since_collected() < before.since_collected:
            return False
        computed = self.cpu() - before.cpu > seconds
        return computed or self.preemptions() == before.preemptions


@frozen
class Reading:
    """The clocks at one moment."""

    wall: float
    cpu: float
    preemptions: int
    since_collected: int


@define(eq=False)
class SourceWatch:
    """Judges one synchronous source by the time that its ``next()`` takes.

    Items are read in bursts. A quick source costs one look at the clock before and after each
    burst; after a first slow burst each ``next()`` is measured by itself. That is by the wall's
    clock alone, since a busy machine makes bursts slow, too, and to read all four for each item
    costs a twentieth of what the item does; the others are read where one took long.

    Args:
        clocks: Where to read time.

    Attributes:
        closely: Whether each ``next()`` is to be measured. The first burst is, since a short
            batch has few.
    """

    clocks: Clocks = field(factory=Clocks)
    closely: bool = field(default=True, init=False)
    _before: Reading | None = field(default=None, init=False)
    _slow_bursts: bool = field(default=False, init=False)
    _begun: float = field(default=0.0, init=False)
    _reading: float = field(default=0.0, init=False)
    _held: int = field(default=0, init=False)
    _held_seconds: float = field(default=0.0, init=False)
    _spent: float = field(default=0.0, init=False)
    _advised: bool = field(default=False, init=False)

    def begin_burst(self) -> None:
        """Note that a burst of items begins."""
        self._before = self.clocks.read() if self.closely else None
        self._begun = self.clocks.wall() if self._before is None else self._before.wall
        self._reading = 0.0

    def took(self, begun: float) -> None:
        """Note that one ``next()`` has ended, which began when the wall's clock showed *begun*."""
        wall = self.clocks.wall()
        seconds = wall - begun
        self._reading += seconds
        if seconds <= _WORTH_A_LOOK or self._before is None:
            return
        if seconds > SLOW_SECONDS and self.clocks.held(self._before, wall, SLOW_SECONDS):
            self._held += 1
            self._held_seconds += seconds
        self._before = self.clocks.read()

    def end_burst(self) -> bool:
        """Return whether the user is to be advised now, which is the case once at most."""
        seconds = self.clocks.wall() - self._begun
        if self.closely:
            self._spent += seconds
        if seconds > SLOW_SECONDS:
            self._slow_bursts = True
            if self.closely and seconds - self._reading > SLOW_SECONDS:
                self._held, self._held_seconds = 0, 0.0
        often = self._held >= SEVERAL and self._held_seconds > _MOST * self._spent
        due = often and not self._advised
        self._advised = self._advised or due
        self.closely = self._slow_bursts and not self._advised
        return due
