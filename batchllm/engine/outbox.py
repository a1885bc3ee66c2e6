"""Where finished results wait for their reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from attrs import define, field

from batchllm.core import WorkItemResult

__all__ = ["Collector", "OrderedOutbox", "Outbox"]

Result = WorkItemResult[Any, Any]


@define(eq=False)
class Collector:
    """Takes results for which nobody waits one by one: handing over is immediate.

    Args:
        on_result: Called for each.
    """

    on_result: Callable[[], None] | None = None
    holds_room: bool = field(default=False, init=False)

    def put(self, result: Result) -> None:
        """Take *result*."""
        if self.on_result is not None:
            self.on_result()

    def has_room(self, index: int) -> bool:
        """Whether the item at *index* may be started, as far as results are concerned."""
        return True

    def close(self) -> None:
        """No further result will come."""

    def unread(self) -> list[Result]:
        """Nothing: nobody reads."""
        return []


@define(eq=False)
class Outbox:
    """Hands results to a reader in the order of completion.

    A result keeps its item's room in the window until it is read, so a slow reader slows the feed.

    Attributes:
        holds_room: Whether results hold room until they are read.
    """

    holds_room: bool = field(default=True, init=False)
    _ready: deque[Result] = field(factory=deque, init=False)
    _news: anyio.Event | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)

    def put(self, result: Result) -> None:
        """Take *result*."""
        self._ready.append(result)
        self._wake()

    def has_room(self, index: int) -> bool:
        """Whether the item at *index* may be started, as far as results are concerned."""
        return True

    def close(self) -> None:
        """No further result will come."""
        self._closed = True
        self._wake()

    def unread(self) -> list[Result]:
        """What is finished and unread."""
        return list(self._ready)

    async def get(self) -> Result | None:
        """The next result, or ``None`` after the last."""
        if self._ready:
            await checkpoint()
        while not self._ready:
            if self._closed:
                await checkpoint()
                return None
            if self._news is None:
                self._news = anyio.Event()
            await self._news.wait()
        return self._ready.popleft()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None


@define(eq=False)
class OrderedOutbox(Outbox):
    """Hands results over in input order, holding back at most *limit* of them."""

    limit: int = 1_000
    _held: dict[int, Result] = field(factory=dict, init=False)
    _next: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.holds_room = False

    def put(self, result: Result) -> None:
        """Take *result*, and release what it was holding back."""
        self._held[result.submission_index] = result
        while self._next in self._held:
            self._ready.append(self._held.pop(self._next))
            self._next += 1
        self._wake()

    def has_room(self, index: int) -> bool:
        """Whether the item at *index* may be started without holding back too many results."""
        return index < self._next - len(self._ready) + self.limit

    def close(self) -> None:
        """No further result will come: what was held back follows, gaps and all."""
        for index in sorted(self._held):
            self._ready.append(self._held.pop(index))
        super().close()

    def unread(self) -> list[Result]:
        """What is finished and unread, held back or not."""
        return [*self._ready, *(self._held[index] for index in sorted(self._held))]
