"""Events on their way to observers: in order, none dropped, and never faster than they listen.

Each observer has a queue and a task of its own. Emitting is synchronous and costs nothing without
observers; when a queue holds more than 1,000 events the feed pauses until it has been worked off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import define, field

from batchllm.core import BaseObserver, ProcessingEvent
from batchllm.engine.guard import Failed, TimedOut, in_words
from batchllm.engine.hooks import call_hook
from batchllm.engine.slow_hooks import SlowHooks

__all__ = ["Events"]

_QUEUE = 1_000
_PATIENCE = 5.0

_Item = tuple[ProcessingEvent, dict[str, Any]]


@define(eq=False)
class _Line:
    observer: BaseObserver
    send: MemoryObjectSendStream[_Item]
    receive: MemoryObjectReceiveStream[_Item]
    wanted: Collection[ProcessingEvent] | None
    errors: int = 0
    timeouts: int = 0
    first_error: str = ""


@define(eq=False)
class Events:
    """Hands the events of one run to its observers.

    Args:
        observers: In any number.
        wall_clock: Seconds since the epoch, for ``timestamp``.
        slow: Reports observers that hold the event loop.
    """

    observers: Sequence[BaseObserver] = ()
    wall_clock: Callable[[], float] = time.time
    slow: SlowHooks = field(factory=SlowHooks)
    _lines: list[_Line] = field(factory=list, init=False)
    _open: bool = field(default=False, init=False)
    _relieved: anyio.Event | None = field(default=None, init=False)

    @property
    def active(self) -> bool:
        """Return whether there is a listener."""
        return self._open

    def start(self, tasks: TaskGroup) -> None:
        """Begin to deliver, in *tasks*; the deliveries end by ``close``."""
        for observer in self.observers:
            if getattr(observer.on_event, "__func__", None) is BaseObserver.on_event:
                continue  # it is called in other ways
            send, receive = anyio.create_memory_object_stream[_Item](float("inf"))
            wanted = getattr(observer, "wanted_events", None)  # it need not have our base
            line = _Line(observer, send, receive, wanted)
            self._lines.append(line)
            self._open = True
            tasks.start_soon(self._deliver, line, name=f"observer {type(observer).__name__}")

    def emit(self, event: ProcessingEvent, data: dict[str, Any] | None = None) -> None:
        """Queue *event* for every observer, each with a mapping of its own."""
        if not self._open:
            return
        stamped = {"timestamp": self.wall_clock(), **(data or {})}
        for line in self._lines:
            if line.wanted is not None and event not in line.wanted:
                continue
            # A delivery that was cancelled takes nothing any more.
            with suppress(anyio.BrokenResourceError):
                line.send.send_nowait((event, dict(stamped)))

    async def room(self) -> None:
        """Wait until no queue is over its length."""
        while any(line.receive.statistics().current_buffer_used > _QUEUE for line in self._lines):
            self._relieved = anyio.Event()
            await self._relieved.wait()

    def close(self) -> None:
        """Take no further events; what is queued is still delivered."""
        self._open = False
        for line in self._lines:
            line.send.close()

    def discard(self) -> None:
        """Drop what has not been delivered, once no delivery runs any more."""
        self.close()
        for line in self._lines:
            line.receive.close()

    def warnings(self) -> Iterable[str]:
        """A sentence for each observer that raised or was too slow."""
        for line in self._lines:
            name = type(line.observer).__name__
            if line.errors:
                yield f"observer {name} raised {line.errors} times; first: {line.first_error}"
            if line.timeouts:
                yield (
                    f"observer {name} took longer than {_PATIENCE:g} s {line.timeouts} times and "
                    "was cancelled"
                )

    async def _deliver(self, line: _Line) -> None:
        with line.receive:
            async for event, data in line.receive:
                ended = await call_hook(
                    line.observer.on_event,
                    event,
                    data,
                    seconds=_PATIENCE,
                    name=f"{type(line.observer).__name__}.on_event",
                    slow=self.slow,
                )
                if isinstance(ended, Failed):
                    line.errors += 1
                    line.first_error = line.first_error or in_words(ended.error)
                elif isinstance(ended, TimedOut):
                    line.timeouts += 1
                if self._relieved is not None:
                    self._relieved.set()
