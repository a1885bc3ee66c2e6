"""A table of what belongs to an event loop: a plain dict from loop to value.

A strategy may be used by any number of threads and loops at once. The entry of a loop is made by
its first lease and removed, after closing, by the last. Entries of loops that have ended meanwhile
are dropped at the next lease, their descriptors closed without the loop. In a forked child the
table starts empty and the parent's descriptors are closed there: two processes that read from one
socket would each get half of the other's answers.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from threading import Lock
from typing import Any, Final, Generic, Protocol, TypeVar

import anyio
from anyio.lowlevel import current_token
from attrs import define

__all__ = [
    "LoopTable",
    "OneMaker",
    "PerLoop",
    "SharedLock",
    "clock_of_now",
    "has_ended",
    "loop_of_now",
    "on_asyncio",
]

_LOOK_AGAIN: Final = 0.05
"""Seconds until a loop looks again whether another one is done; what it does takes a second."""


class PerLoop(Protocol):
    """A value that lives on one event loop."""

    async def close(self) -> None:
        """Close it on its own loop."""
        ...

    def abandon(self) -> None:
        """Close it without its loop."""
        ...


T = TypeVar("T", bound=PerLoop)


@define(eq=False)
class _Entry(Generic[T]):
    value: T
    leases: int = 0


class LoopTable(Generic[T]):
    """One value for each event loop.

    Args:
        make: Makes the value, in its event loop.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._entries: dict[Any, _Entry[T]] = {}
        # Invariant: entries are added and removed, and leases counted, under the lock. Reading
        # an entry needs none, since only its own loop adds or removes it while it lives.
        self._lock = Lock()
        self._pid = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        # Nothing of a loop can be copied or leave the process; a copy makes its own.
        return LoopTable, (self._make,)

    def __len__(self) -> int:
        return len(self._entries)

    def of_this_loop(self) -> T:
        """Return the running loop's value, which is made if it is not there."""
        if self._pid != os.getpid():
            self._start_anew()
        entry = self._entries.get(current_token().native_token)
        return entry.value if entry is not None else self._enter(0).value

    def peek(self) -> T | None:
        """Return the running loop's value if there is one."""
        entry = self._entries.get(current_token().native_token)
        return None if entry is None or self._pid != os.getpid() else entry.value

    @property
    def leases(self) -> int:
        """The leases on the running loop."""
        entry = self._entries.get(current_token().native_token)
        return 0 if entry is None else entry.leases

    def hold(self) -> None:
        """Take a lease for the running loop."""
        if self._pid != os.getpid():
            self._start_anew()
        self._enter(1)

    async def release(self) -> None:
        """Give one lease back; the last one closes the loop's value."""
        loop = current_token().native_token
        with self._lock:
            entry = self._entries.get(loop)
            if entry is None:
                return
            entry.leases = max(0, entry.leases - 1)
            if entry.leases:
                return
            del self._entries[loop]
        await entry.value.close()

    async def close(self) -> None:
        """Close the running loop's value, whatever leases there are."""
        with self._lock:
            entry = self._entries.pop(current_token().native_token, None)
        if entry is not None:
            await entry.value.close()

    def abandon(self) -> None:
        """Close every value without its loop."""
        entries, self._entries = self._entries, {}
        for entry in entries.values():
            entry.value.abandon()

    def _enter(self, leases: int) -> _Entry[T]:
        loop = current_token().native_token
        with self._lock:
            ended = [other for other in self._entries if other is not loop and has_ended(other)]
            dropped = [self._entries.pop(other) for other in ended]
            entry = self._entries.get(loop)
            if entry is None:
                entry = self._entries[loop] = _Entry(self._make())
            entry.leases += leases
        for one in dropped:
            one.value.abandon()
        return entry

    def _start_anew(self) -> None:
        # Another thread of the parent may have held the lock when the process was forked.
        self._lock = Lock()
        self._pid = os.getpid()
        self.abandon()


class SharedLock:
    """Guards plain state that several event loops share; held for no await.

    A strategy that has one can be pickled and copied: its copy has another.
    """

    def __init__(self) -> None:
        self._lock = Lock()

    def __reduce__(self) -> Any:
        return SharedLock, ()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def claim(self) -> bool:
        """Take it if it is free; return if it was."""
        return self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Give back what ``claim`` took."""
        self._lock.release()


class OneMaker:
    """Lets one event loop at a time do something, and the others wait without blocking.

    A loop that ends in the middle loses its turn.
    """

    def __init__(self) -> None:
        self._lock = Lock()  # invariant: guards _loop, and is held for no await
        self._loop: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return OneMaker, ()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None, None]:
        """Run the block while no other loop does."""
        loop = loop_of_now()
        while not self._claim(loop):  # noqa: ASYNC110 - an event belongs to one loop
            await anyio.sleep(_LOOK_AGAIN)
        try:
            yield
        finally:
            with self._lock:
                if self._loop is loop:
                    self._loop = None

    def _claim(self, loop: Any) -> bool:
        with self._lock:
            if self._loop is not None and not has_ended(self._loop):
                return False
            self._loop = loop
            return True


def loop_of_now() -> Any:
    """Return the running event loop as an object to compare and to ask ``has_ended``."""
    return current_token().native_token


def clock_of_now() -> Callable[[], float]:
    """Return the clock of the running event loop.

    It shows what ``anyio.current_time`` does, which first looks for the loop: that is ten times
    the cost on asyncio and twice on Trio, and a request asks several times.
    """
    token = current_token()
    clock: Callable[[], float] = getattr(
        token.native_token, "time", token.backend_class.current_time
    )
    return clock


def on_asyncio() -> bool:
    """Return whether the running event loop is asyncio's, or uvloop's in its place."""
    return anyio.get_cancelled_exc_class().__module__.startswith("asyncio")


def has_ended(loop: Any) -> bool:
    """Return whether *loop*, of asyncio or Trio, will never run again."""
    is_closed = getattr(loop, "is_closed", None)
    if is_closed is not None:
        return bool(is_closed())
    try:
        loop.run_sync_soon(_nothing, idempotent=True)
    except RuntimeError:
        return True
    return False


def _nothing() -> None:
    """Run in a loop of Trio's only to learn that it still runs."""
