"""Handing results of settled chunks out, beside the loop that polls.

A reader may be slow, or an online repair may wait for a quota for hours: polls, cancellations and
deadlines of other batches go on meanwhile. What waits is numbers of chunks, whose results are on
the disk; while several wait no further chunk is filled, so that the disk is bounded, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import anyio
from attrs import define, field

from batchllm.core import LLMCallStrategy
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.publishing import Publisher
from batchllm.provider_batch.rows import LineRow
from batchllm.provider_batch.states import Chunk

__all__ = ["HandingOut"]

Copies = Sequence[tuple[LineRow, LLMCallStrategy[Any]]]


@define(eq=False)
class HandingOut:
    """Passes on what is ready, the first first.

    Args:
        board: Shown how many chunks wait.
        publisher: Passes them on.
    """

    board: Board
    publisher: Publisher
    _waiting: deque[Chunk | Copies] = field(factory=deque, init=False)
    _more: anyio.Event = field(factory=anyio.Event, init=False)
    _done: anyio.Event = field(factory=anyio.Event, init=False)

    def add(self, what: Chunk | Copies) -> None:
        """Pass on what is here of a chunk that is settled, or items with strategies of their own.

        It returns at once: nothing that is due waits for a reader.
        """
        self._waiting.append(what)
        self._more.set()
        self._show()

    @property
    def idle(self) -> bool:
        """Return whether all that was added has been passed on."""
        return not self._waiting

    async def finished(self) -> None:
        """Wait until all that was added has been passed on."""
        while self._waiting:
            await self._done.wait()

    async def run(self) -> None:
        """Pass on what is added; it ends when it is cancelled."""
        while True:
            while self._waiting:
                await self._pass_on(self._waiting[0])
                self._waiting.popleft()
                self._show()
            self._done.set()
            self._done, self._more = anyio.Event(), anyio.Event()
            await self._more.wait()

    async def _pass_on(self, what: Chunk | Copies) -> None:
        if isinstance(what, Chunk):
            await self.publisher.publish_chunk(what)
            return
        for row, strategy in what:
            await self.publisher.publish_copy(row, strategy)

    def _show(self) -> None:
        self.board.unread = len(self._waiting)
        self.board.look()
