"""The feed: reads the source, and starts items as long as there is room for them.

It alone pulls, and pulls the next only while the window, the outbox and the calls have room. What
becomes of an item is not its business: it hands each on and forgets it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import anyio
from anyio.lowlevel import checkpoint
from attrs import define, field

from batchllm.core import BatchError, InvalidItemError, LLMWorkItem, SourceError
from batchllm.engine.guard import contains, in_words
from batchllm.engine.idset import IdSet
from batchllm.engine.intake import END, Source, pull, read_item
from batchllm.engine.observing import Events
from batchllm.engine.outbox import Collector, Outbox
from batchllm.engine.window import Window
from batchllm.gate import CallerLimits

__all__ = ["Feed", "Taken"]

Taken: TypeAlias = LLMWorkItem[Any, Any, Any] | InvalidItemError

# Small, since what is alive at once is what the garbage collector has to look at.
_BREATHE = 8


@define(eq=False, kw_only=True)
class Feed:
    """Feeds one run from one source, once.

    Args:
        source: Where items come from.
        window: Room for items.
        outbox: Where results go; one that is full of unread results stops the feed.
        callers: The run's cap on calls in flight.
        events: What observers have not read yet stops the feed, too.
        reads_ahead: Whether to start items before a call is free for them.
        clock: Seconds on the event loop's clock.
        accept: Takes each item, or what is wrong with it, with its index and the time.
        fail: Takes the error of a source that failed.
        texts: Whether a prompt may be a list of texts.

    Attributes:
        accepted: Items so far.
        closing: Whether no further item may start.
    """

    source: Source
    window: Window
    outbox: Collector | Outbox
    callers: CallerLimits
    events: Events
    reads_ahead: bool
    clock: Callable[[], float]
    accept: Callable[[Taken, int, float], None]
    fail: Callable[[SourceError], None]
    texts: bool = False
    accepted: int = field(default=0, init=False)
    closing: bool = field(default=False, init=False)
    _ids: IdSet = field(factory=IdSet, init=False)
    _pulling: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)

    @property
    def total(self) -> int:
        """Items of the source where that is known, else items accepted so far."""
        size = self.source.size
        return self.accepted if size is None else max(size, self.accepted)

    def open(self) -> None:
        """Begin to read.

        Raises:
            InvalidItemError: The source is nothing to read items from.
        """
        try:
            self.source.open()
        except BatchError:
            raise
        except Exception as error:
            self._failed(error)

    async def run(self) -> None:
        """Start items until the source is at its end, or the feed is closed."""
        with self._pulling:
            while not self.closing and await self._run_once():
                while not self._has_room():
                    await self.window.news()
                if self.events.active:
                    await self.events.room()

    def close(self) -> None:
        """Start no further item, and stop waiting for one."""
        self.closing = True
        self._pulling.cancel("the batch is ending")

    async def _run_once(self) -> bool:
        """Start as many items as calls are free, then let them run; whether more may come."""
        now = self.clock()
        in_flight = self.callers.in_flight
        burst = self._burst()
        self.source.begin_burst()
        for _ in range(burst):
            if self.closing or not self._has_room():
                self.source.end_burst()
                return True
            if self.source.may_wait:
                value = await self._pull()
                now = self.clock()
            else:
                value = self._pull_now()
            if value is END:
                self.source.end_burst()
                return False
            self._take(value, now)
        self.source.end_burst()
        if self._takes_all(in_flight, burst):
            # Nothing can be started before a call ends, so there is no need to look again once
            # these have started: in a steady state that is a turn of the event loop per item.
            await self.window.news()
        else:
            await checkpoint()
        return True

    def _takes_all(self, in_flight: int, burst: int) -> bool:
        """Return whether *burst* items beside calls *in_flight* leave no call free.

        Only if something is in flight, so that its end is sure to wake the feed. A new item that
        may wait before it calls wakes it, too: one that waits for a permit or a ``prepare``, and
        each composite as it begins.
        """
        if self.reads_ahead or self.source.may_wait or not in_flight:
            return False
        return in_flight + burst >= self.callers.calls

    def _burst(self) -> int:
        """How many items to start in one go: they take the free calls without having to wait."""
        if self.reads_ahead:
            return _BREATHE
        return max(1, min(_BREATHE, self.callers.calls - self.callers.in_flight))

    def _has_room(self) -> bool:
        if not self.reads_ahead and self.callers.full:
            return False
        return self.window.has_room and self.outbox.has_room(self.accepted)

    async def _pull(self) -> Any:
        try:
            return await pull(self.source, max(1, self.window.size - self.window.taken))
        except Exception as error:
            return self._failed(error)

    def _pull_now(self) -> Any:
        try:
            return self.source.next_now()
        except BaseException as error:  # noqa: ASYNC103
            if contains(error):
                raise
            return self._failed(error)  # noqa: ASYNC104

    def _failed(self, error: BaseException) -> Any:
        failure = SourceError(
            f"the items raised {in_words(error)}, after {self.accepted} of them; what was "
            "finished is in .partial"
        )
        failure.__cause__ = error
        self.fail(failure)
        return END

    def _take(self, value: object, now: float) -> None:
        index = self.accepted
        self.accepted += 1
        work = read_item(value, index, texts=self.texts)
        if isinstance(work, LLMWorkItem) and not self._ids.add(work.item_id):
            work = InvalidItemError(
                f"item {index}: its id {work.item_id!r} came before; ids must be unique"
            )
        size = self.source.size
        if size is not None:
            self.callers.more_to_come = self.accepted < size
        self.window.taken += 1
        self.accept(work, index, now)
