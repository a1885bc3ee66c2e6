"""The waits of items: for room in the window, for a permit, for the end of a backoff.

Every wait for a permit or a backoff ends with the item's time, or when the run stops.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import anyio
from attrs import define, field

from batchllm.core import CallCost, CallTooLargeError, ScopeParkedError
from batchllm.engine.ending import Ending, Phase
from batchllm.engine.failures import Failure, no_permit, out_of_time, stopped
from batchllm.engine.item import ItemRun
from batchllm.gate import CallerLimits, Gate, Permit, Refusal

__all__ = ["Waits", "Wakeup", "Window"]


@define(eq=False)
class Wakeup:
    """Wakes the feed whenever something changes that it waits for.

    The parts that change such things have it from the start: the window, the cap on calls in
    flight and what listens to the gates. It is level-free: the feed looks at the state itself,
    before and after it waits.
    """

    _changed: anyio.Event | None = field(default=None, init=False)

    def wake(self) -> None:
        """Let the feed look again; costs an attribute test while it does not wait."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def wait(self) -> None:
        """Wait until something has changed."""
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()


@define(eq=False)
class Window:
    """Counts items, so that the feed knows when to pull the next.

    The window holds items that are ready, calling, or finished and unread. An item that waits for
    a backoff or a cooldown is outside; there may be *max_sleeping* of them.

    Args:
        size: Items that may hold room.
        max_sleeping: Items that may wait outside.
        wakeup: Of the feed.

    Attributes:
        taken: Items accepted and not delivered, inside or outside.
        sleeping: Those of them in backoff.
        waiting: How many of them wait at which gate.
    """

    size: float
    max_sleeping: float
    wakeup: Wakeup = field(factory=Wakeup)
    taken: int = field(default=0, init=False)
    sleeping: int = field(default=0, init=False)
    waiting: dict[Gate, int] = field(factory=dict, init=False)

    @property
    def cooling(self) -> int:
        """Items that wait for a scope which is cooling down."""
        return sum(count for gate, count in self.waiting.items() if count and gate.closed)

    def count_waiting(self) -> int:
        """Return how many items wait for a permit, at any gate."""
        return sum(self.waiting.values())

    def has_room(self, ahead: int = 0) -> bool:
        """Return whether one more item may come in, behind *ahead* others."""
        taken = self.taken + ahead
        if taken < self.size:
            return True
        outside = self.sleeping + self.cooling
        return taken - outside < self.size and outside < self.max_sleeping

    def wake(self) -> None:
        """Let the feed look again whether there is room."""
        self.wakeup.wake()

    async def changed(self) -> None:
        """Wait until the feed has to look again."""
        await self.wakeup.wait()

    def resize(self, size: int) -> None:
        """Change its size; items that are inside stay."""
        self.size = size
        self.wake()

    def release(self) -> None:
        """Let an item leave for good."""
        self.taken -= 1
        self.wakeup.wake()

    @contextmanager
    def asleep(self) -> Generator[None]:
        """Count an item as outside while it sleeps."""
        self.sleeping += 1
        self.wake()
        try:
            yield
        finally:
            self.sleeping -= 1

    @contextmanager
    def waiting_at(self, gate: Gate) -> Generator[None]:
        """Count an item as outside while it waits at *gate* and the gate's scope cools down."""
        self.waiting[gate] = self.waiting.get(gate, 0) + 1
        self.wake()
        try:
            yield
        finally:
            self.waiting[gate] -= 1


@define(eq=False)
class Waits:
    """The waits of one run for permits, and what all its waits took.

    Args:
        ending: The end of the run.
        callers: The run's cap on calls in flight over all scopes.
        window: Counts those that wait.
        clock: Seconds on the event loop's clock.

    Attributes:
        seconds: What items have waited so far, by cause.
    """

    ending: Ending
    callers: CallerLimits
    window: Window
    clock: Callable[[], float]
    seconds: dict[str, float] = field(
        factory=lambda: dict.fromkeys(("admission_wait", "cooldown_wait", "backoff"), 0.0),
        init=False,
    )

    @property
    def idle(self) -> bool:
        """Return whether no fresh call waits for its turn, now or in the source."""
        return not self.callers.more_to_come and not self.window.count_waiting()

    def wake_feed(self) -> None:
        """Let another item start beside one that may wait before it calls."""
        self.window.wake()

    async def back_off(self, item: ItemRun, seconds: float) -> None:
        """Let *item* sleep for *seconds* outside the window, unless the run stops."""
        now = self.clock()
        try:
            with self.window.asleep(), self.ending.until(Phase.DRAINING):
                await anyio.sleep(seconds)
        finally:  # also of a sleep that was cut off
            slept = min(self.clock() - now, seconds)  # no more of a pause of the whole process
            self.seconds["backoff"] += slept
            item.spend(slept)

    async def for_permit(
        self, gate: Gate, cost: CallCost, item: ItemRun, refusal: Refusal | None = None
    ) -> Permit | Failure:
        """Wait until *gate* lets a call of *item* start, or return why it will not start.

        Args:
            gate: Where.
            cost: What the call takes.
            item: Whose call it is.
            refusal: Of its last call at *gate*.
        """
        began = self.clock()
        permit: Permit | None = None
        try:
            with (
                self.window.waiting_at(gate),
                self.ending.until(Phase.DRAINING, item.deadline),
            ):
                permit = await gate.admit(
                    cost,
                    self.callers,
                    priority=item.work.priority,
                    item=item,
                    untried=gate not in item.called,
                    refusal=refusal,
                )
        except (ScopeParkedError, CallTooLargeError) as error:
            # An endpoint that is given up may have stopped the run: then the rest is stopped.
            down = isinstance(error, ScopeParkedError) and not gate.parked
            return stopped(self.ending) if down and self.ending.stopping else no_permit(error)
        finally:
            if permit is None:  # out of time, cancelled or refused: its wait counts all the same
                self._note(item, gate, self.clock() - began)
        if self.ending.stopping:
            if permit is not None:  # granted in the very turn in which the run was stopped
                permit.undo()
            return stopped(self.ending)
        if permit is None:
            return out_of_time(item, self.clock(), _in_words(gate, self.clock() - began))
        item.waited(permit.admission_wait, permit.cooldown_wait)
        self.seconds["admission_wait"] += permit.admission_wait
        self.seconds["cooldown_wait"] += permit.cooldown_wait
        return permit

    def _note(self, item: ItemRun, gate: Gate, seconds: float) -> None:
        """Book a wait that ended without a permit, under what held the gate at last."""
        cause = "cooldown_wait" if gate.closed else "admission_wait"
        self.seconds[cause] += seconds
        item.waited(*((0.0, seconds) if gate.closed else (seconds, 0.0)))


def _in_words(gate: Gate, seconds: float) -> str:
    what = "its scope to open again after a refusal" if gate.closed else "a free call or its pace"
    scope = f" ({gate.scope})" if gate.scope else ""
    return f"at last it waited {seconds:.1f} s for {what}{scope}"
