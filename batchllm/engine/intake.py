"""The source of items: any iterable, sync or async, read lazily and closed by us."""

from __future__ import annotations

import inspect
import logging
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextvars import Context
from functools import partial
from typing import Any

import anyio
from attrs import define, field

from batchllm.core import InvalidItemError, LLMWorkItem, as_work_item, kind_of
from batchllm.engine.guard import (
    Failed,
    TimedOut,
    contains,
    in_words,
    shielded,
    surface_cancellation,
)
from batchllm.engine.loop_watch import SEVERAL, SLOW_SECONDS, SourceWatch
from batchllm.engine.tables import rows_as_items
from batchllm.engine.work_queue import WorkQueue
from batchllm.llm_strategies import ThreadRunner, run_in_thread

__all__ = [
    "END",
    "BlockingSource",
    "Source",
    "blocking_source",
    "pull",
    "read_item",
    "unreadable",
]

logger = logging.getLogger("batchllm")

END = object()
"""Stands for an item when a source has no further one."""

_QUICK = 0.005
"""Seconds for a chunk, below which the next is twice as large: a hop to a thread is 2 % of it."""
_CLOSE_SECONDS = 5.0
"""Seconds that a source has to close: a cursor needs a round trip to its database."""


@define(eq=False)
class BlockingSource:
    """An iterable whose ``next()`` may block, to be read in a thread."""

    items: Iterable[Any]
    run_sync: ThreadRunner = run_in_thread

    def __attrs_post_init__(self) -> None:
        if isinstance(self.items, AsyncIterable):
            msg = (
                f"blocking_source() was given {kind_of(self.items)}, which is asynchronous and "
                "blocks nothing; give it to the batch as it is"
            )
            raise InvalidItemError(msg)
        _check_iterable(rows_as_items(self.items), "items of blocking_source()")


def blocking_source(
    items: Iterable[Any], *, run_sync: ThreadRunner = run_in_thread
) -> BlockingSource:
    """Have *items* read in a worker thread, because each ``next()`` may take long.

    It is read in chunks that are no larger than the room for items. Use it for a database cursor,
    a slow file system or a generator that computes.

    Args:
        items: What to read.
        run_sync: Calls a function in a thread.

    Raises:
        InvalidItemError: *items* cannot be iterated over, or not for items.
    """
    return BlockingSource(items, run_sync)


def _check_iterable(items: object, what: str) -> None:
    """Refuse what is no iterable, and what can be iterated over but gives no items.

    Raises:
        InvalidItemError: It is one of these; *what* is its name in the message.
    """
    given = f"{what} is {kind_of(items)}"
    if isinstance(items, str | bytes):
        msg = f"{given}, a single text; give a list of prompts, or use call() for one prompt"
    elif isinstance(items, Mapping):
        msg = (
            f"{given}, which gives only its keys; give its .items() where they are "
            "{id: prompt}, or its .values()"
        )
    elif not isinstance(items, Iterable) or isinstance(items, type):
        msg = f"{given}; give an iterable or an async iterable of items"
    else:
        return
    raise InvalidItemError(msg)


@define(eq=False)
class _ThreadReader:
    """Reads chunks in a thread; one that is left alone there closes the iterator itself.

    Chunks grow while they come quickly. Where ``next()`` takes its time items are read one by
    one, so that none waits for those behind it.
    """

    run_sync: ThreadRunner
    error: BaseException | None = field(default=None, init=False)
    _limiter: anyio.CapacityLimiter = field(factory=lambda: anyio.CapacityLimiter(1), init=False)
    _most: int = field(default=1, init=False)
    _reading: bool = field(default=False, init=False)
    _left: bool = field(default=False, init=False)

    async def take(self, iterator: Iterator[Any], room: int) -> list[Any]:
        """Read at most *room* items; what the iterator raises after some is kept in ``error``."""
        chunk: list[Any] = await self.run_sync(
            partial(self._take, iterator, room), limiter=self._limiter
        )
        return chunk

    def leave(self) -> bool:
        """Leave, and return whether a thread still reads; it then closes the iterator."""
        self._left = True
        return self._reading

    def _take(self, iterator: Iterator[Any], room: int) -> list[Any]:
        # `_reading` is set before `_left` is looked at, and the other way round in `leave`: so
        # the iterator is closed, whichever thread is first.
        self._reading = True
        before, most = time.perf_counter(), min(room, self._most)
        chunk: list[Any] = []
        try:
            while len(chunk) < most and not self._left:
                item = next(iterator, END)
                if item is END:
                    break
                chunk.append(item)
        except BaseException as error:  # noqa: ASYNC103
            self.error = error
        self._most = 2 * most if time.perf_counter() - before < _QUICK else 1
        self._reading = False
        close = getattr(iterator, "close", None)
        if self._left and close is not None:
            close()
        return chunk


@define(eq=False)
class Source:
    """Reads one iterable of items, one at a time or, in a thread, a chunk at a time.

    Args:
        items: What the user gave.
        watch: Notices a ``next()`` that holds the event loop.

    Attributes:
        may_wait: Whether reading is asynchronous.
    """

    items: Any
    watch: SourceWatch = field(factory=SourceWatch)
    may_wait: bool = field(default=False, init=False)
    _iterator: Any = field(default=None, init=False)
    _chunk: deque[Any] = field(factory=deque, init=False)
    _reader: _ThreadReader = field(init=False)
    _queue: WorkQueue | None = field(init=False)
    _size: int | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._queue = self.items if isinstance(self.items, WorkQueue) else None

    @property
    def size(self) -> int | None:
        """``len(items)`` as it was when they were opened; ``None`` where it is not known."""
        return self._size if self._queue is None else self._queue.total

    def context_of(self, item_id: str) -> Context | None:
        """Return the context in which an item was added; ``None`` for the run's own."""
        return None if self._queue is None else self._queue.take_context(item_id)

    def open(self) -> None:
        """Begin to iterate.

        Raises:
            InvalidItemError: *items* cannot be iterated over, or is a single text or a mapping.
        """
        self._size = _size_of(self.items)
        if isinstance(self.items, BlockingSource):
            self._iterator = iter(rows_as_items(self.items.items))
            self._reader = _ThreadReader(self.items.run_sync)
            self.may_wait = True
        elif isinstance(self.items, AsyncIterable):
            self._iterator = aiter(self.items)
            self.may_wait = True
        else:
            items = rows_as_items(self.items)
            _check_iterable(items, "items")
            self._iterator = iter(items)

    def next_now(self) -> Any:
        """Return the next item of a synchronous iterable, or ``END``.

        Raises:
            Exception: What the iterable raised, as of ``pull``.
        """
        try:
            if not self.watch.closely:
                return next(self._iterator, END)
            begun = self.watch.clocks.wall()
            item = next(self._iterator, END)
            self.watch.took(begun)
            return item
        except Exception:
            raise
        except BaseException as error:  # noqa: ASYNC103 - nothing is awaited here
            if contains(error):
                raise
            raise _not_asked_for(error) from error  # noqa: ASYNC104

    def begin_burst(self) -> None:
        """Note that items are read in a row from here on."""
        self.watch.begin_burst()

    def end_burst(self) -> None:
        """Note that the row is over, and log advice if the source holds the loop as a habit.

        Not where an item is read: there a log handler that raises would look like the source.
        """
        if not self.may_wait and self.watch.end_burst():
            logger.warning(
                "Reading the next item held the event loop for more than %.0f ms, %d times: no "
                "call goes on meanwhile. Give the batch blocking_source(items), which reads them "
                "in a thread",
                SLOW_SECONDS * 1000,
                SEVERAL,
            )

    @property
    def has_ready(self) -> bool:
        """Return whether the next item is here already, so that reading it does not wait."""
        return bool(self._chunk)

    async def next(self, room: int) -> Any:
        """Return the next item of an asynchronous or blocking iterable, or ``END``."""
        if isinstance(self.items, BlockingSource):
            if not self._chunk and self._reader.error is None:
                self._chunk = deque(await self._reader.take(self._iterator, room))
            if self._chunk:
                return self._chunk.popleft()
            if self._reader.error is not None:
                raise self._reader.error
            return END
        return await anext(self._iterator, END)

    async def close(self) -> str | None:
        """Close the iterator, shielded, in seconds; return what went wrong, if anything did."""
        iterator, self._iterator = self._iterator, None
        if isinstance(iterator, AsyncIterator):
            closing = getattr(iterator, "aclose", None)
        else:
            closing = getattr(iterator, "close", None)
        if closing is None or (isinstance(self.items, BlockingSource) and self._reader.leave()):
            return None

        async def close() -> None:
            value = closing()
            if inspect.isawaitable(value):
                await value

        ended = await shielded(close, _CLOSE_SECONDS)
        if isinstance(ended, Failed):
            return f"closing the items raised {in_words(ended.error)}"
        if isinstance(ended, TimedOut):
            return f"closing the items took longer than {_CLOSE_SECONDS:g} s and was given up"
        return None


def _size_of(items: Any) -> int | None:
    sized: Any = items.items if isinstance(items, BlockingSource) else items
    try:
        return len(sized)
    except Exception:  # a user's code; not to know the size is no reason to fail
        return None


async def pull(source: Source, room: int) -> Any:
    """Return the next item; whatever the iterable raises comes out as an ``Exception``.

    Raises:
        Exception: What the iterable raised; a cancellation that was not asked for is wrapped in
            a ``RuntimeError``.
    """
    try:
        return await source.next(room)
    except Exception:
        raise
    except BaseException as error:  # noqa: ASYNC103
        if contains(error):
            raise
        failure = error
    await surface_cancellation()
    raise _not_asked_for(failure) from failure


def _not_asked_for(error: BaseException) -> RuntimeError:
    """Return what stands for a cancellation of no one, or an exception of a kind like it."""
    return RuntimeError(f"{kind_of(error)} that was not asked for")


def read_item(
    value: object, index: int, *, texts: bool = False
) -> LLMWorkItem[Any, Any, Any] | InvalidItemError:
    """Read an item of any shape, or say what is wrong with it."""
    try:
        return as_work_item(value, index, texts=texts)
    except InvalidItemError as error:
        return error
    except Exception as error:
        return unreadable(index, error)


def unreadable(index: int, error: Exception) -> InvalidItemError:
    """Return what is wrong with an item whose own code raised *error* as it was looked at.

    That of a prompt or an id of a class of its user's, such as a proxy of nothing, or the
    ``identity()`` of its own strategy.
    """
    failure = InvalidItemError(f"item {index}: it cannot be read: {in_words(error)}")
    failure.__cause__ = error
    return failure
