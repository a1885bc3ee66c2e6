"""The delivery of finished results: collected, or through a stream to a reader.

A result comes here once it is complete and committed. ``run_batch`` keeps its results itself, so
nothing has to be woken per item. ``stream_batch`` passes them on through a memory object stream:
one hop for all that have finished since the last, since a hop costs as much as starting a task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import anyio
from anyio.lowlevel import checkpoint_if_cancelled
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import define, field

from batchllm.core import WorkItemResult

__all__ = ["Collector", "Delivery", "OrderedResultStream", "ResultStream"]

Result = WorkItemResult[Any, Any]


class Delivery(Protocol):
    """Takes the results of a batch, one by one, and never waits.

    What bounds the results that are held is the window: see ``holds_room`` and ``has_room``.

    Attributes:
        holds_room: Whether a result holds its item's room in the window until it is read.
    """

    holds_room: ClassVar[bool]

    def put(self, result: Result) -> None:
        """Take *result*."""

    def has_room(self, index: int) -> bool:
        """Return whether the item at *index* may be started, as far as results are concerned."""
        ...

    def pass_over(self, index: int) -> None:
        """Take note that the item at *index* has no result in this run."""

    def close(self) -> None:
        """Take note that no further result will come."""

    def unread(self) -> list[Result]:
        """Return what is finished and unread."""
        ...


@define(eq=False)
class Collector:
    """Takes results that are read when the batch has ended.

    Results hold no room: they are read already.

    Args:
        on_result: Called for each.
    """

    holds_room: ClassVar[bool] = False
    on_result: Callable[[], None] | None = None

    def put(self, result: Result) -> None:
        """Take *result*."""
        if self.on_result is not None:
            self.on_result()

    def has_room(self, index: int) -> bool:
        """Return that there is room for the item at *index*."""
        return True

    def pass_over(self, index: int) -> None:
        """Take note of it as of a result: a queue of work waits for the last of its items."""
        if self.on_result is not None:
            self.on_result()

    def close(self) -> None:
        """Take note that no further result will come."""

    def unread(self) -> list[Result]:
        """Return nothing: a collector keeps no results."""
        return []


@define(eq=False)
class ResultStream:
    """Passes results on to readers in the order of completion.

    A result keeps its item's room in the window until it is read, so a slow reader slows the feed.

    The stream holds one chunk of results. While the chunk is in it, further results join the
    chunk; a reader takes it whole if no other reader waits, else one result of it.
    """

    holds_room: ClassVar[bool] = True
    _chunk: list[Result] = field(factory=list, init=False)
    """The results that are in the stream, or on their way to a reader that has not run yet."""
    _taken: deque[Result] = field(factory=deque, init=False)
    _send: MemoryObjectSendStream[list[Result]] = field(init=False)
    _receive: MemoryObjectReceiveStream[list[Result]] = field(init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[list[Result]](1)

    def put(self, result: Result) -> None:
        """Take *result*."""
        self._pass_on([result])

    def _pass_on(self, results: list[Result]) -> None:
        if self._closed:
            self._taken += results
        elif self._chunk:
            self._chunk += results
        elif results:
            self._chunk = results
            self._send.send_nowait(results)

    def has_room(self, index: int) -> bool:
        """Return that the window alone says how many items may be started."""
        return True

    def pass_over(self, index: int) -> None:
        """Do nothing: no result waits for another."""

    def close(self) -> None:
        """Take note that no further result will come; what is here can still be read."""
        self._closed = True
        self._send.close()

    def discard(self) -> None:
        """End the stream, whatever is still under way; what is unread stays in ``unread``."""
        self.close()
        self._taken += self._chunk
        self._chunk = []
        self._receive.close()

    def unread(self) -> list[Result]:
        """Return what is finished and unread."""
        return [*self._taken, *self._chunk]

    async def get(self) -> Result | None:
        """Return the next result, or ``None`` after the last."""
        if self._taken:
            # No hop, and so no turn for other tasks: the next chunk comes with one.
            await checkpoint_if_cancelled()
        while not self._taken:
            try:
                chunk = await self._receive.receive()
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                return None
            except BaseException:
                self._give_back()
                raise
            self._take(chunk)
        return self._taken.popleft()

    def _take(self, chunk: list[Result]) -> None:
        if chunk is not self._chunk:
            return  # given back by a reader that was cancelled; it comes again
        self._chunk = []
        self._taken += chunk
        if len(self._taken) > 1 and self._receive.statistics().tasks_waiting_receive:
            rest = list(self._taken)
            self._taken = deque(rest[:1])
            self._pass_on(rest[1:])

    def _give_back(self) -> None:
        """Pass a chunk on again that was handed to a reader which was cancelled natively.

        Such a reader loses what it was handed in the same turn. If the chunk was handed to another
        one, that one finds that it is not the chunk any more, and waits for this one.
        """
        if self._chunk and not self._receive.statistics().current_buffer_used:
            rest, self._chunk = list(self._chunk), []
            self._pass_on(rest)


@define(eq=False)
class OrderedResultStream(ResultStream):
    """Passes results on in input order, holding back at most *limit* of them.

    They hold no room in the window, since what is held back has this limit of its own.
    """

    holds_room: ClassVar[bool] = False
    limit: int = 1_000
    _held: dict[int, Result | None] = field(factory=dict, init=False)
    _next: int = field(default=0, init=False)

    def put(self, result: Result) -> None:
        """Take *result*, and pass on what it was holding back."""
        self._held[result.submission_index] = result
        self._pass_on_due()

    def pass_over(self, index: int) -> None:
        """Wait for the result of no such item."""
        if index == self._next and not self._held:
            self._next += 1  # a million in a row, as a run goes on that was nearly done
        else:
            self._held[index] = None
            self._pass_on_due()

    def _pass_on_due(self) -> None:
        due: list[Result] = []
        while self._next in self._held:
            result = self._held.pop(self._next)
            self._next += 1
            if result is not None:
                due.append(result)
        self._pass_on(due)

    def has_room(self, index: int) -> bool:
        """Return whether the item at *index* may be started without holding back too many."""
        return index < self._next - len(self._taken) - len(self._chunk) + self.limit

    def close(self) -> None:
        """Take note that no further result will come: what was held back follows, gaps and all."""
        if not self._closed:
            self._pass_on(self._held_back())
            self._held.clear()
        super().close()

    def unread(self) -> list[Result]:
        """Return what is finished and unread, held back or not."""
        return [*super().unread(), *self._held_back()]

    def _held_back(self) -> list[Result]:
        held = (self._held[index] for index in sorted(self._held))
        return [result for result in held if result is not None]
