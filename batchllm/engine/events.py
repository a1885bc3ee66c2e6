"""Events on their way to observers: in order, none dropped, and never faster than they listen.

Each observer has a queue and a task of its own. Emitting is synchronous and costs nothing without
observers; when a queue holds more than 1,000 events the feed pauses until it has been worked off.
What is queued when the run ends is still delivered, for as long as ``_DRAIN`` says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import define, field

from batchllm.core import BaseObserver, ProcessingEvent
from batchllm.engine.guard import Failed, TimedOut, in_words
from batchllm.engine.hooks import call_hook
from batchllm.engine.slow_hooks import SlowHooks

__all__ = ["Events"]

_QUEUE: Final = 1_000
"""Events in one queue from which on the feed pauses: half a second of a run in which 1,000 items a
second end, with two events each."""
_PATIENCE: Final = 5.0
"""Seconds for one event, as many as a progress callback has by default."""
_DRAIN: Final = 30.0
"""Seconds for all that is queued when the run has ended: a full queue at 30 ms an event, as long as
a request to a server takes. A stuck observer that had ``_PATIENCE`` for each event would keep the
result back for 83 minutes."""

_Item = tuple[ProcessingEvent, dict[str, Any]]


@define(eq=False)
class _Queue:
    """The events of one observer.

    Attributes:
        observer: Gets them.
        send: Where they are put in.
        receive: Where they are taken out.
        drain: Ends the delivery, once the run has ended and its time is over.
        left: How many it has not dealt with yet.
        errors: How often it raised; ``first_error`` says what at first.
        timeouts: How often it took too long for one event.
    """

    observer: BaseObserver
    send: MemoryObjectSendStream[_Item]
    receive: MemoryObjectReceiveStream[_Item]
    wanted: Collection[ProcessingEvent] | None
    drain: anyio.CancelScope = field(factory=anyio.CancelScope)
    left: int = 0
    errors: int = 0
    first_error: str = ""
    timeouts: int = 0

    def warnings(self) -> Iterable[str]:
        """Give a sentence for each thing that went wrong."""
        name = f"observer {type(self.observer).__name__}"
        if self.errors:
            yield f"{name} raised {self.errors} times; first: {self.first_error}"
        if self.timeouts:
            yield f"{name} took longer than {_PATIENCE:g} s {self.timeouts} times and was cancelled"
        if self.drain.cancelled_caught:
            yield (
                f"{name} had {self.left} events left {_DRAIN:g} s after the end of the run, and "
                "they were dropped"
            )


@define(eq=False)
class Events:
    """Hands the events of one run to its observers.

    Args:
        observers: In any number.
        wall_clock: Seconds since the epoch, for ``timestamp``.
        slow: Reports observers that hold the event loop.

    Attributes:
        active: If an observer gets events now; kept, since every item asks for it.
    """

    observers: Sequence[BaseObserver] = ()
    wall_clock: Callable[[], float] = time.time
    slow: SlowHooks = field(factory=SlowHooks)
    active: bool = field(default=False, init=False)
    _queues: list[_Queue] = field(factory=list, init=False)
    _relieved: anyio.Event | None = field(default=None, init=False)

    def start(self, tasks: TaskGroup) -> None:
        """Begin to deliver, in *tasks*; the deliveries end by ``close``."""
        for observer in self.observers:
            if getattr(observer.on_event, "__func__", None) is BaseObserver.on_event:
                continue  # it is called in other ways
            send, receive = anyio.create_memory_object_stream[_Item](float("inf"))
            wanted = getattr(observer, "wanted_events", None)  # it need not have our base
            queue = _Queue(observer, send, receive, wanted)
            self._queues.append(queue)
            self.active = True
            tasks.start_soon(self._deliver, queue, name=f"observer {type(observer).__name__}")

    def emit(self, event: ProcessingEvent, data: dict[str, Any] | None = None) -> None:
        """Queue *event* for every observer, each with a mapping of its own."""
        if not self.active:
            return
        stamped = {"timestamp": self.wall_clock(), **(data or {})}
        for queue in self._queues:
            if queue.wanted is not None and event not in queue.wanted:
                continue
            # A delivery that was cancelled takes nothing any more.
            with suppress(anyio.BrokenResourceError):
                queue.send.send_nowait((event, dict(stamped)))
                queue.left += 1

    async def room(self) -> None:
        """Wait until no queue is over its length."""
        while any(
            queue.receive.statistics().current_buffer_used > _QUEUE for queue in self._queues
        ):
            self._relieved = anyio.Event()
            await self._relieved.wait()

    def close(self) -> None:
        """Take no further events; what is queued is still delivered, for ``_DRAIN`` in all."""
        self.active = False
        for queue in self._queues:
            queue.send.close()
            queue.drain.deadline = anyio.current_time() + _DRAIN

    def discard(self) -> None:
        """Drop what has not been delivered, once no delivery runs any more."""
        self.active = False
        for queue in self._queues:
            queue.send.close()
            queue.receive.close()

    def warnings(self) -> Iterable[str]:
        """Give a sentence for each thing that went wrong with an observer."""
        for queue in self._queues:
            yield from queue.warnings()

    async def _deliver(self, queue: _Queue) -> None:
        with queue.receive, queue.drain:
            async for event, data in queue.receive:
                ended = await call_hook(
                    queue.observer.on_event,
                    event,
                    data,
                    seconds=_PATIENCE,
                    name=f"{type(queue.observer).__name__}.on_event",
                    slow=self.slow,
                )
                if isinstance(ended, Failed):
                    queue.errors += 1
                    queue.first_error = queue.first_error or in_words(ended.error)
                elif isinstance(ended, TimedOut):
                    queue.timeouts += 1
                queue.left -= 1
                if self._relieved is not None:
                    self._relieved.set()
