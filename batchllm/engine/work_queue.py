"""A source of items that can be added to while it is being read."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import define, field

from batchllm.core import InvalidItemError, LLMWorkItem
from batchllm.engine.delivery import Collector
from batchllm.engine.idset import IdSet

__all__ = ["WorkQueue"]

Item: TypeAlias = LLMWorkItem[Any, Any, Any]
_Entry: TypeAlias = tuple[Item, object | None]
"""An item, and the token of the room that its producer waited for, if it had to."""

# The queue on whose behalf a task runs: every task of a run inherits it.
_serves: ContextVar[object] = ContextVar("batchllm_work_queue", default=None)


@define(eq=False)
class _Intake:
    """The queue of one run: a stream of items, and the room for those that come from outside.

    The stream takes any number, since what the run itself adds never waits. Producers outside
    borrow tokens of a limiter; items that hold no token take room from it all the same.
    """

    send: MemoryObjectSendStream[_Entry]
    receive: MemoryObjectReceiveStream[_Entry]
    room: anyio.CapacityLimiter
    under_way: int = 0
    _size: float = math.inf
    _without_token: int = 0

    @classmethod
    def open(cls) -> _Intake:
        send, receive = anyio.create_memory_object_stream[_Entry](math.inf)
        return cls(send, receive, anyio.CapacityLimiter(math.inf))

    @property
    def waiting(self) -> int:
        return self.receive.statistics().current_buffer_used

    def put(self, item: Item, token: object | None) -> None:
        self.send.send_nowait((item, token))
        if token is None:
            self._without_token += 1
            self.resize(self._size)

    def resize(self, size: float) -> None:
        self._size = size
        left = size if size == math.inf else max(0, int(size) - self._without_token)
        if self.room.total_tokens != left:
            self.room.total_tokens = left

    async def take(self) -> Item:
        """Return the next item.

        Raises:
            anyio.EndOfStream: None is left, and none is under way that could add one.
        """
        self.end_if_idle()
        try:
            # Without a turn of the event loop per item: the feed starts several in one turn.
            item, token = self.receive.receive_nowait()
        except anyio.WouldBlock:
            item, token = await self.receive.receive()
        self.under_way += 1
        if token is None:
            self._without_token -= 1
            self.resize(self._size)
        else:
            self.room.release_on_behalf_of(token)
        return item

    def end_if_idle(self) -> None:
        # A token without an item belongs to a producer that is about to add one.
        if not (self.under_way or self.waiting or self.room.borrowed_tokens):
            self.send.close()

    def close(self) -> list[Item]:
        """End it; return what was not taken. Producers that wait go on."""
        left: list[Item] = []
        while self.waiting:
            left.append(self.receive.receive_nowait()[0])
        self.send.close()
        self.receive.close()
        self.room.total_tokens = math.inf
        return left


@define(eq=False)
class WorkQueue:
    """Holds the work of one batch: before its run in any number, during it within a limit.

    Iterating over it ends when it is empty and nothing that was taken from it is still under way,
    so that an item's post-processor may add further items.

    Args:
        limit: Items that it takes before a run; 0 is unlimited.

    Attributes:
        total: Items of the batch so far: the best there is to say about its size.
    """

    limit: int = 0
    total: int = field(default=0, init=False)
    _backlog: deque[Item] = field(factory=deque, init=False)
    _ids: IdSet = field(factory=IdSet, init=False)
    _intake: _Intake | None = field(default=None, init=False)
    _contexts: dict[str, Context] = field(factory=dict, init=False)

    @property
    def running(self) -> bool:
        """Return whether a run reads from it."""
        return self._intake is not None

    @property
    def waiting(self) -> int:
        """Items that were not taken yet."""
        return len(self._backlog) + (0 if self._intake is None else self._intake.waiting)

    @property
    def producers(self) -> int:
        """Tasks that wait until they may add an item."""
        return 0 if self._intake is None else self._intake.room.statistics().tasks_waiting

    def put(self, item: Item) -> None:
        """Add *item* before the run.

        Raises:
            InvalidItemError: Its id is there already, or the queue is full.
        """
        if self.limit and len(self._backlog) >= self.limit:
            msg = (
                f"item {item.item_id!r}: max_queue_size is {self.limit}, and so many items wait "
                "for process_all(); raise max_queue_size, or 0 for no limit"
            )
            raise InvalidItemError(msg)
        self._add(item)

    async def put_when_room(self, item: Item, room: int) -> None:
        """Add *item* during the run, once fewer than *room* items wait; first come, first served.

        What the run calls itself, a hook or a strategy, never waits here: the run waits for it.

        Raises:
            InvalidItemError: Its id is there already.
        """
        intake = self._intake
        if intake is None or _serves.get() is self:
            self._add(item)
            return
        intake.resize(room)
        token = object()
        await intake.room.acquire_on_behalf_of(token)
        try:
            self._add(item, token if intake is self._intake else None)
        except BaseException:
            intake.room.release_on_behalf_of(token)
            intake.end_if_idle()
            raise

    def _add(self, item: Item, token: object | None = None) -> None:
        if not self._ids.add(item.item_id):
            msg = f"item {item.item_id!r} was added before; ids must be unique in a batch"
            raise InvalidItemError(msg)
        self.total += 1
        self._contexts[item.item_id] = self._context_of_caller()
        if self._intake is None:
            self._backlog.append(item)
            return
        try:
            self._intake.put(item, token)
        except anyio.ClosedResourceError:
            self._backlog.append(item)  # the run has seen its last item, and is ending

    def _context_of_caller(self) -> Context:
        context = copy_context()
        context.run(_serves.set, self)  # what the item adds itself never waits
        return context

    def take_context(self, item_id: str) -> Context | None:
        """Give away the context in which an item was added, for its task to run in."""
        return self._contexts.pop(item_id, None)

    @contextmanager
    def serving(self) -> Generator[None]:
        """Serve one run; what it does not take waits for the next, whose ids start anew."""
        intake = self._intake = _Intake.open()
        while self._backlog:
            intake.put(self._backlog.popleft(), None)
        token = _serves.set(self)
        try:
            yield
        finally:
            _serves.reset(token)
            self._intake = None
            self._backlog.extendleft(reversed(intake.close()))
            self.total = len(self._backlog)
            self._ids, contexts = IdSet(), self._contexts
            self._contexts = {}
            for item in self._backlog:
                self._ids.add(item.item_id)
                self._contexts[item.item_id] = contexts[item.item_id]

    def done(self) -> None:
        """Note that one item that was taken has its result."""
        if self._intake is not None:
            self._intake.under_way -= 1
            self._intake.end_if_idle()

    def collector(self) -> Collector:
        """Return where a run that reads from here delivers its results."""
        return Collector(self.done)

    def __aiter__(self) -> WorkQueue:
        return self

    async def __anext__(self) -> Item:
        if self._intake is None:
            raise StopAsyncIteration
        try:
            return await self._intake.take()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None
