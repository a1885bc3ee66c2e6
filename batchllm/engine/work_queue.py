"""A source of items that can be added to while it is being read."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import anyio
from attrs import define, field

from batchllm.core import InvalidItemError, LLMWorkItem
from batchllm.engine.idset import IdSet
from batchllm.engine.outbox import Collector

__all__ = ["WorkQueue"]

# The queue on whose behalf a task runs: every task of a run inherits it.
_serves: ContextVar[object] = ContextVar("batchllm_work_queue", default=None)


@define(eq=False)
class WorkQueue:
    """Holds the work of one batch: before its run in any number, during it in *limit*.

    Iterating over it ends when it is empty and nothing that was taken from it is still under way,
    so that an item's post-processor may add further items.

    Args:
        limit: Items that it takes before a run; 0 is unlimited.

    Attributes:
        total: Items of the batch so far: the best there is to say about its size.
        running: Whether a run reads from it.
    """

    limit: int = 0
    total: int = field(default=0, init=False)
    running: bool = field(default=False, init=False)
    _items: deque[LLMWorkItem[Any, Any, Any]] = field(factory=deque, init=False)
    _ids: IdSet = field(factory=IdSet, init=False)
    _under_way: int = field(default=0, init=False)
    _news: anyio.Event | None = field(default=None, init=False)
    _room: int = field(default=1, init=False)
    _waiting: deque[anyio.Event] = field(factory=deque, init=False)

    @property
    def waiting(self) -> int:
        """Items that were not taken yet."""
        return len(self._items)

    def put(self, item: LLMWorkItem[Any, Any, Any]) -> None:
        """Add *item* before the run.

        Raises:
            InvalidItemError: Its id is there already, or the queue is full.
        """
        if self.limit and len(self._items) >= self.limit:
            msg = (
                f"item {item.item_id!r}: max_queue_size is {self.limit}, and so many items wait "
                "for process_all(); raise max_queue_size, or 0 for no limit"
            )
            raise InvalidItemError(msg)
        self._add(item)

    @contextmanager
    def serving(self) -> Generator[None]:
        """The run; what it did not take when it ends waits for the next, whose ids start anew."""
        self.running = True
        token = _serves.set(self)
        try:
            yield
        finally:
            _serves.reset(token)
            self._end()

    def _end(self) -> None:
        self.running = False
        self._under_way = 0
        self._ids = IdSet()
        self.total = len(self._items)
        for item in self._items:
            self._ids.add(item.item_id)
        while self._waiting:
            self._waiting.popleft().set()

    async def put_when_room(self, item: LLMWorkItem[Any, Any, Any], room: int) -> None:
        """Add *item* during the run, once fewer than *room* items wait; first come, first served.

        What the run calls itself, a hook or a strategy, never waits here: the run waits for it.

        Raises:
            InvalidItemError: Its id is there already.
        """
        if _serves.get() is self or not (self._waiting or len(self._items) >= room):
            self._add(item)
            return
        self._room, turn = room, anyio.Event()
        self._waiting.append(turn)
        try:
            await turn.wait()
            self._add(item)
        except BaseException:
            if turn.is_set():
                self._next_turn()  # the next in line takes what was not used
            else:
                self._waiting.remove(turn)
            raise

    def _add(self, item: LLMWorkItem[Any, Any, Any]) -> None:
        if not self._ids.add(item.item_id):
            msg = f"item {item.item_id!r} was added before; ids must be unique in a batch"
            raise InvalidItemError(msg)
        self.total += 1
        self._items.append(item)
        self._wake()

    def done(self) -> None:
        """One item that was taken has its result."""
        self._under_way -= 1
        self._wake()

    def outbox(self) -> Collector:
        """Where a run that reads from here puts its results."""
        return Collector(self.done)

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    def __aiter__(self) -> WorkQueue:
        return self

    async def __anext__(self) -> LLMWorkItem[Any, Any, Any]:
        while not self._items:
            if self._under_way == 0:
                raise StopAsyncIteration
            self._news = anyio.Event()
            await self._news.wait()
        self._under_way += 1
        item = self._items.popleft()
        self._next_turn()
        return item

    def _next_turn(self) -> None:
        if self._waiting and len(self._items) < self._room:
            self._waiting.popleft().set()
