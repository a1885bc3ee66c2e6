"""The deadlines of calls in flight, which a pause of the whole process moves.

A process may stand still for as long as it likes: Ctrl-Z, ``docker pause``, a virtual machine that
is moved. Its clock goes on meanwhile, and when it runs again every deadline of those minutes is
over at once, on both event loops before any task can say otherwise: all calls in flight would be
cancelled, whose answers have come and are paid for, and taken for an endpoint that is dead. So
calls have no deadline that the event loop knows. One task looks at the clock each `BEAT` seconds
while there are calls, and a look that is late by more than `LATE` shows that nothing ran.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Final

import anyio
from attrs import define, field

from batchllm.engine.ending import Ending, Phase
from batchllm.engine.item import ItemRun

__all__ = ["CallTimer", "CallTimers"]

BEAT: Final = 1.0
"""Seconds between two looks. A pause counts from the last one, so that a call may get as much more
time than it had left, which cuts off nothing that is paid for."""
LATE: Final = 1.0
"""Seconds by which a look is late only if nothing ran: collections of garbage and busy machines
make it some tenths. Code that holds the event loop for so long does not let it take an answer."""
_SPARE: Final = 64
"""Places of ended calls, beyond as many as there are calls, that are left until they are passed: to
clear the queue takes some µs a place, so that it costs each call that much once."""


@define(eq=False)
class CallTimer:
    """The deadline of one call, on the event loop's clock.

    Attributes:
        item: Whose call it is.
        scope: Is cancelled when the time is over.
        end: When the time of the call is over.
        stall: When the next piece of a streamed answer has to be there.
        fixed: When the wall-clock time of its item is over, which no pause moves.
        listed: Its place in the queue: no later than when it is due, unless a pause has moved that.
    """

    item: ItemRun
    scope: anyio.CancelScope
    end: float
    fixed: float
    stall: float = math.inf
    listed: float = math.inf

    @property
    def due(self) -> float:
        """Return when the call is cancelled."""
        return min(self.end, self.fixed, self.stall)


@define(eq=False)
class CallTimers:
    """Cancels the calls of one run whose time is over.

    Args:
        clock: Seconds on the event loop's clock.

    Attributes:
        stood_still: Seconds of pauses while there were calls.
    """

    clock: Callable[[], float]
    stood_still: float = field(default=0.0, init=False)
    _timers: dict[CallTimer, None] = field(factory=dict, init=False)
    _queue: list[tuple[float, int, CallTimer]] = field(factory=list, init=False)
    _listed: int = field(default=0, init=False)
    _seen: float = field(default=-math.inf, init=False)
    _next_look: float = field(default=math.inf, init=False)
    _wakeup: anyio.Event | None = field(default=None, init=False)

    def start(self, timer: CallTimer) -> None:
        """Begin to watch the time of a call."""
        if self._timers:
            self.now()  # before it is among those that have stood still
        else:
            self._seen = self.clock()  # there may have been no look while there was no call
        self._timers[timer] = None
        self._list(timer)

    def stop(self, timer: CallTimer) -> None:
        """Watch it no more."""
        self._timers.pop(timer, None)
        if len(self._queue) > 2 * len(self._timers) + _SPARE:  # nearly all ended long before
            # In place, since a look may be going over it.
            self._queue[:] = [one for one in self._queue if one[2] in self._timers]
            heapq.heapify(self._queue)

    def _list(self, timer: CallTimer) -> None:
        """Put the call in the queue, where it may stand already for another instant."""
        self._listed += 1
        timer.listed = timer.due
        heapq.heappush(self._queue, (timer.listed, self._listed, timer))
        self._look_by(timer.listed)

    def stall_after(self, timer: CallTimer, seconds: float) -> bool:
        """Expect the next piece of an answer within *seconds*.

        Returns:
            Whether the call has time for so long otherwise.
        """
        timer.stall = self.now() + seconds
        if timer in self._timers:
            if timer.due < timer.listed:  # a later one is found when the earlier is looked at
                self._list(timer)
        else:  # it had no end until now
            self.start(timer)
        return timer.stall < min(timer.end, timer.fixed)

    def now(self) -> float:
        """Return the time, after a pause since the last look has moved the deadlines.

        The first to ask moves them, which may be a call whose answer is there before the next look.
        """
        now = self.clock()
        paused = now - self._seen
        self._seen = now
        if paused > BEAT + LATE and self._timers:
            self._move(paused)
        return now

    def running(self) -> float:
        """Return the time less all pauses: seconds in which answers could be taken."""
        return self.now() - self.stood_still

    async def sleep(self, seconds: float) -> None:
        """Sleep until the process has run for so long."""
        end = self.running() + seconds
        while (left := end - self.running()) > 0:  # noqa: ASYNC110 - a pause is no event
            await anyio.sleep(min(left, BEAT))

    async def serve(self, ending: Ending) -> None:
        """Cancel calls when their time is over, until the run is over, too."""
        with ending.until(Phase.OVER):
            while True:
                self._next_look = self._look()
                self._wakeup = anyio.Event()
                with anyio.move_on_at(self._next_look):
                    await self._wakeup.wait()

    def _look(self) -> float:
        """Cancel the calls whose time is over; return when to look again."""
        now, queue = self.now(), self._queue
        while queue and queue[0][0] <= now:
            listed, _, timer = heapq.heappop(queue)
            if timer not in self._timers or listed != timer.listed:
                continue  # it has ended, or stands there anew
            if timer.due > now:
                self._list(timer)  # a pause or a piece of its answer has moved it
                continue
            self.stop(timer)
            timer.scope.cancel("its time is over")
        if not self._timers:
            return math.inf
        return min(now + BEAT, queue[0][0])

    def _move(self, paused: float) -> None:
        """Let the calls, and the stopwatches of their items, have stood still for *paused*."""
        self.stood_still += paused
        for timer in self._timers:
            timer.end += paused
            timer.stall += paused
        for item in {timer.item for timer in self._timers}:
            item.stand_still(paused)

    def _look_by(self, due: float) -> None:
        """See to it that the task that watches looks by *due*, and soon if there was no call."""
        soon = min(due, self._seen + BEAT)
        if soon < self._next_look and self._wakeup is not None:
            self._next_look = soon
            self._wakeup.set()
