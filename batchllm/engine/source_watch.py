"""Notices a source that holds the event loop again and again, never one that was only paused.

That one ``next()`` held the loop is judged by `Reading.held`. A stopped process (Ctrl-Z, a laptop
that sleeps) looks like one that waits, though, so three more signs have to come together: it
happened `SEVERAL` times, it took most of the time in which items were taken in, and none of our
own work between was that slow, as it would be if the process were paused now and then.
"""

from typing import Final

from attrs import define, field

from batchllm.engine.clocks import Clocks, Reading

__all__ = ["SEVERAL", "SLOW_SECONDS", "SourceWatch"]

SLOW_SECONDS = 0.05
"""A loop that is held so long is late for every timer and every answer by as much."""

SEVERAL = 3
"""So many slow ones are a habit; the first may open a file or connect."""


# Stops for a third of the time, during a source that parses for 0.1 ms an item, gave wrong advice.
_MOST: Final = 2 / 3


@define(eq=False)
class SourceWatch:
    """Judges one synchronous source by the time that its ``next()`` takes.

    Items are read in bursts. A quick source costs one look at the clock before and after each
    burst; after a first slow burst each ``next()`` is measured by itself.

    Args:
        clocks: Where to read time.

    Attributes:
        closely: Whether each ``next()`` is to be measured. The first burst is, since a short
            batch has few.
    """

    clocks: Clocks = field(factory=Clocks)
    closely: bool = field(default=True, init=False)
    _slow_bursts: bool = field(default=False, init=False)
    _begun: float = field(default=0.0, init=False)
    _reading: float = field(default=0.0, init=False)
    _held: int = field(default=0, init=False)
    _held_seconds: float = field(default=0.0, init=False)
    _spent: float = field(default=0.0, init=False)
    _advised: bool = field(default=False, init=False)

    def begin_burst(self) -> None:
        """Note that a burst of items begins."""
        self._begun, self._reading = self.clocks.wall(), 0.0

    def took(self, before: Reading, after: Reading) -> None:
        """Note what the clocks showed before and after one ``next()``."""
        seconds = after.wall - before.wall
        self._reading += seconds
        if after.held(before, SLOW_SECONDS):
            self._held += 1
            self._held_seconds += seconds

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
