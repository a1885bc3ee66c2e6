"""The stores that keep the book of a shared quota: the protocol, and the one for one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from anyio.lowlevel import checkpoint
from attrs import define, field

from batchllm.core import BatchError
from batchllm.policy import Lease, LeaseBook, LeaseRequest

__all__ = ["GateUnreachableError", "LeaseStore", "MemoryLeases", "boot_clock"]


class GateUnreachableError(BatchError):
    """The authority of a shared gate does not answer. Calls wait for it, and none starts."""


@runtime_checkable
class LeaseStore(Protocol):
    """The authority of one or more shared quotas.

    One that keeps its book elsewhere reads it, calls ``LeaseBook.lease`` and writes it back, all in
    one transaction; the clock is read inside it.
    """

    async def lease(self, request: LeaseRequest) -> Lease:
        """Book slots for the calls of one worker.

        Raises:
            ConfigError: The worker declares other limits than those that are at work.
            GateUnreachableError: There is no answer now; it is asked again.
        """
        ...


@define(eq=False)
class MemoryLeases:
    """Keeps the books in memory: for the server, and for gates of one process.

    Args:
        clock: Seconds; the same for all who ask.
        lost: Whether an earlier store of the same quota may have had workers: nothing is given
            until their slots are over.
    """

    clock: Callable[[], float] = field(default=time.monotonic)
    lost: bool = False
    _books: dict[str, LeaseBook] = field(factory=dict, init=False)

    async def lease(self, request: LeaseRequest) -> Lease:
        """Book slots for the calls of one worker; see ``LeaseStore``."""
        await checkpoint()
        book = self._books.get(request.scope)
        if book is None:
            book = self._books[request.scope] = LeaseBook()
            if self.lost:
                book.keep_silent()
        return book.lease(self.clock(), request)


def boot_clock() -> float:
    """Return seconds of a clock that all processes of the machine read alike.

    Where there is one it goes on while the machine sleeps, as the windows of servers do.
    """
    kind = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if kind is None else time.clock_gettime(kind)
