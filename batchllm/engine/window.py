"""Room for items: those that are ready, calling, or finished and unread."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import anyio
from attrs import define, field

__all__ = ["Window"]


@define(eq=False)
class Window:
    """Counts items, so that the feed knows when to pull the next.

    An item that waits for a backoff or a cooldown holds no room; there may be *max_sleeping* of
    them.

    Attributes:
        size: Items that may hold room.
        max_sleeping: Items that may wait outside.
        cooling: How many items wait for a scope that is cooling down.
        taken: Items accepted and not handed over.
        sleeping: Those of them in backoff.
    """

    size: int
    max_sleeping: int
    cooling: Callable[[], int] = lambda: 0
    taken: int = field(default=0, init=False)
    sleeping: int = field(default=0, init=False)
    _news: anyio.Event | None = field(default=None, init=False)

    @property
    def has_room(self) -> bool:
        """Whether one more item may come in."""
        if self.taken < self.size:
            return True
        outside = self.sleeping + self.cooling()
        return self.taken - outside < self.size and outside < self.max_sleeping

    def resize(self, size: int) -> None:
        """Change its size; items that are inside stay."""
        self.size = size
        self.wake()

    def release(self) -> None:
        """An item has left for good."""
        self.taken -= 1
        self.wake()

    @contextmanager
    def asleep(self) -> Generator[None]:
        """The time that an item sleeps outside."""
        self.sleeping += 1
        self.wake()
        try:
            yield
        finally:
            self.sleeping -= 1

    def wake(self) -> None:
        """Let the feed look again."""
        if self._news is not None:
            self._news.set()
            self._news = None

    async def news(self) -> None:
        """Wait until something has changed."""
        if self._news is None:
            self._news = anyio.Event()
        await self._news.wait()
