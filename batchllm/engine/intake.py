"""Where items come from: any iterable, sync or async, read lazily and closed by us."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import anyio
import anyio.to_thread
from attrs import define, field

from batchllm.core import InvalidItemError, LLMWorkItem, as_work_item
from batchllm.engine.guard import Failed, contains, settle, shielded

__all__ = ["END", "BlockingSource", "Source", "blocking_source", "pull", "read_item"]

END = object()
"""What a source gives when it has no further item."""

_SLOW = 0.02
_CLOSE_SECONDS = 5.0


@define(eq=False)
class BlockingSource:
    """An iterable whose ``next()`` may block, to be read in a thread."""

    items: Iterable[Any]


def blocking_source(items: Iterable[Any]) -> BlockingSource:
    """Have *items* read in a worker thread, because each ``next()`` may take long.

    It is read in chunks that are no larger than the room for items. Use it for a database cursor,
    a slow file system or a generator that computes.
    """
    return BlockingSource(items)


@define(eq=False)
class Source:
    """Reads one iterable of items, one at a time or, in a thread, a chunk at a time.

    Args:
        items: What the user gave.
        clock: Seconds, to notice a ``next()`` that blocks the event loop.
    """

    items: Any
    clock: Callable[[], float]
    _iterator: Any = field(default=None, init=False)
    _chunk: list[Any] = field(factory=list, init=False)
    _warned: bool = field(default=False, init=False)
    _suspect: bool = field(default=False, init=False)

    @property
    def size(self) -> int | None:
        """``len(items)`` where it is known beforehand."""
        try:
            return len(self.items)
        except TypeError:
            return None

    def open(self) -> None:
        """Begin to iterate.

        Raises:
            InvalidItemError: *items* cannot be iterated over, or is a single text.
        """
        if isinstance(self.items, BlockingSource):
            self._iterator = iter(self.items.items)
        elif isinstance(self.items, AsyncIterable):
            self._iterator = aiter(self.items)
        elif isinstance(self.items, str | bytes):
            msg = "items is a single text; give a list of prompts, or use call() for one prompt"
            raise InvalidItemError(msg)
        elif isinstance(self.items, Iterable):
            self._iterator = iter(self.items)
        else:
            name = type(self.items).__name__
            msg = f"items is a {name}; give an iterable or an async iterable of items"
            raise InvalidItemError(msg)

    @property
    def may_wait(self) -> bool:
        """Whether reading is asynchronous."""
        return isinstance(self.items, BlockingSource) or isinstance(self._iterator, AsyncIterator)

    def next_now(self) -> Any:
        """The next item of a synchronous iterable, or ``END``."""
        if not self._suspect:
            return next(self._iterator, END)
        before = self.clock()
        item = next(self._iterator, END)
        if self.clock() - before > _SLOW and not self._warned:
            self._warned = True
            warnings.warn(
                "reading the next item blocked the event loop for more than "
                f"{_SLOW * 1000:.0f} ms; wrap the items in blocking_source(items)",
                RuntimeWarning,
                stacklevel=2,
            )
        return item

    def took(self, seconds: float) -> None:
        """A burst of items took *seconds*; a slow one has each further ``next()`` timed."""
        if seconds > _SLOW and not self.may_wait:
            self._suspect = True

    async def next(self, room: int) -> Any:
        """The next item of an asynchronous or blocking iterable, or ``END``."""
        if isinstance(self.items, BlockingSource):
            if not self._chunk:
                self._chunk = await anyio.to_thread.run_sync(
                    _take, self._iterator, room, abandon_on_cancel=True
                )
            return self._chunk.pop(0) if self._chunk else END
        return await anext(self._iterator, END)

    async def close(self) -> str | None:
        """Close the iterator, sheltered and with a deadline; what went wrong, if anything did."""
        iterator, self._iterator = self._iterator, None
        if isinstance(iterator, AsyncIterator):
            closing = getattr(iterator, "aclose", None)
        else:
            closing = getattr(iterator, "close", None)
        if closing is None:
            return None

        async def close() -> None:
            value = closing()
            if inspect.isawaitable(value):
                await value

        ended = await shielded(close, _CLOSE_SECONDS)
        if isinstance(ended, Failed):
            return f"closing the items raised {type(ended.error).__name__}: {ended.error}"
        return None


def _take(iterator: Iterator[Any], room: int) -> list[Any]:
    chunk: list[Any] = []
    for item in iterator:
        chunk.append(item)
        if len(chunk) >= room:
            break
    return chunk


async def pull(source: Source, room: int) -> Any:
    """The next item; whatever the iterable raises comes out as an ``Exception``.

    Raises:
        Exception: What the iterable raised; a cancellation that nobody asked for is wrapped in
            a ``RuntimeError``.
    """
    try:
        return await source.next(room)
    except Exception:
        raise
    except BaseException as error:
        if contains(error):
            raise
        failure = error
    await settle()
    msg = f"the items raised {type(failure).__name__}"
    raise RuntimeError(msg) from failure


def read_item(value: object, index: int) -> LLMWorkItem[Any, Any, Any] | InvalidItemError:
    """Read an item of any shape, or say what is wrong with it."""
    try:
        return as_work_item(value, index)
    except InvalidItemError as error:
        return error
