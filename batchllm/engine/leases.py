"""The users of a strategy: overlapping runs, pools and single calls share one ``prepare``.

What is shared is kept with the strategy itself, by event loop, since nothing else outlives a run.
"""

from __future__ import annotations

import os
import weakref
from threading import Lock
from typing import Any, Final

import anyio
from attrs import define, field

from batchllm.core import LLMCallStrategy, PrepareError, StrategyError
from batchllm.transport import has_ended, loop_of_now

__all__ = ["Lease", "Turn", "take_lease"]

_LEASES: Final = "_batchllm_leases"


@define(eq=False)
class Turn:
    """One run prepares or cleans up, and the others wait.

    Attributes:
        over: Set when it is over, however it went.
        error: What every run gets that has waited for it.
    """

    over: anyio.Event = field(factory=anyio.Event)
    error: PrepareError | None = None


@define(eq=False)
class Lease:
    """The state that the runs of one event loop share of one strategy.

    Attributes:
        holders: Runs that use it. Changed under the lock of its table only.
        begun: Whether ``prepare`` was begun, so that there is something to clean up.
        ready: Whether it is prepared.
        turn: What one of the runs does with it now.
    """

    _table: _Leases | None
    holders: int = 1
    begun: bool = False
    ready: bool = False
    turn: Turn | None = None

    def leave(self) -> bool:
        """Hold it no longer; return whether no other run does, so that it is to be cleaned up."""
        if self._table is not None:
            return self._table.leave(self)
        return True

    def end(self) -> None:
        """Forget it after its cleanup, unless a run has come for it meanwhile."""
        self.begun = self.ready = False
        if self._table is not None:
            self._table.forget(self)


class _Leases:
    """The leases of one strategy, by event loop. It stays with the strategy and is no part of it.

    Args:
        strategy: Whose they are.
    """

    def __init__(self, strategy: LLMCallStrategy[Any] | None = None) -> None:
        self._strategy = weakref.ref(self if strategy is None else strategy)
        self._by_loop: dict[Any, Lease] = {}
        # Invariant: entries are added and removed, and holders counted, under the lock.
        self._lock = Lock()
        self._pid = os.getpid()

    def __reduce__(self) -> Any:
        return _Leases, ()  # what is pickled or copied is used by no run

    def belongs_to(self, strategy: LLMCallStrategy[Any]) -> bool:
        """Return whether they are those of *strategy*, and not of one that it is a copy of."""
        return self._strategy() is strategy

    def take(self, strategy: LLMCallStrategy[Any], *, alone: bool) -> Lease:
        """Hold the running loop's lease.

        Raises:
            StrategyError: The strategy is used on another loop, and serves one *alone*.
        """
        loop = loop_of_now()
        if self._pid != os.getpid():
            # A forked child: another thread of the parent may have held the lock.
            self._lock, self._by_loop, self._pid = Lock(), {}, os.getpid()
        with self._lock:
            for ended in [one for one in self._by_loop if one is not loop and has_ended(one)]:
                del self._by_loop[ended]
            lease = self._by_loop.get(loop)
            if lease is not None:
                lease.holders += 1
                return lease
            if self._by_loop and alone:
                raise _elsewhere(strategy)
            lease = self._by_loop[loop] = Lease(self)
            return lease

    def leave(self, lease: Lease) -> bool:
        with self._lock:
            lease.holders -= 1
            return lease.holders == 0

    def forget(self, lease: Lease) -> None:
        with self._lock:
            if lease.holders == 0:
                for loop in [one for one, its in self._by_loop.items() if its is lease]:
                    del self._by_loop[loop]


def take_lease(strategy: LLMCallStrategy[Any], *, alone: bool) -> Lease:
    """Hold *strategy* for one run on the running event loop.

    Args:
        strategy: What the run uses.
        alone: Whether it serves one event loop at a time.

    Raises:
        StrategyError: It is used on another loop at present, and serves one at a time.
    """
    attributes = getattr(strategy, "__dict__", None)
    if attributes is None:  # slots throughout: there is no place to share
        return Lease(None)
    found = attributes.get(_LEASES)
    if found is not None and not found.belongs_to(strategy):
        attributes.pop(_LEASES, None)
    # Atomic, so that two threads that come together get the same.
    leases: _Leases = attributes.setdefault(_LEASES, _Leases(strategy))
    return leases.take(strategy, alone=alone)


def _elsewhere(strategy: LLMCallStrategy[Any]) -> StrategyError:
    name = type(strategy).__name__
    return StrategyError(
        f"this {name} is in use on another event loop, and what its prepare() and cleanup() do "
        f"may serve one loop at a time only; make a {name} for each event loop, or set "
        f"{name}.per_loop = True if it keeps what it opens per event loop"
    )
