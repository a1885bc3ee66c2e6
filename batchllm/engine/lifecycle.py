"""Strategies are prepared once and cleaned up once, on every path out of a run.

Runs that overlap share a preparation; see ``leases.py``.

Only instances that override ``prepare`` or ``cleanup`` are kept, so a million items with a strategy
each, or with a composite each over the same parts, leave nothing behind. Parts of a composite come
before it and go after it.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
from attrs import define, evolve, field

from batchllm.core import (
    EndCause,
    LLMCallStrategy,
    PrepareError,
    ProgramError,
    StrategyError,
    Termination,
)
from batchllm.engine.ending import Ending
from batchllm.engine.guard import Failed, Ok, TimedOut, in_words, only_error
from batchllm.engine.hooks import HookTable, StrategyShape, call_hook
from batchllm.engine.leases import Lease, Turn, take_lease
from batchllm.transport import ConnectionStats

__all__ = ["Lifecycle", "connect_seconds_of"]


@define(eq=False)
class _Held:
    """A strategy that this run holds, and how its ``prepare`` failed for this run."""

    strategy: LLMCallStrategy[Any]
    lease: Lease
    error: PrepareError | None = None
    failed_in: Ending | None = None


@define(eq=False)
class Lifecycle:
    """Owns what strategies keep ready, during one run or several that follow each other.

    Args:
        hooks: Knows which strategies have something to prepare.
        prepare_timeout: Seconds for each ``prepare``.
        cleanup_timeout: Seconds for each ``cleanup``.
    """

    _hooks: HookTable
    _prepare_timeout: float | None
    _cleanup_timeout: float
    _known: dict[int, _Held] = field(factory=dict, init=False)
    _composites: dict[int, weakref.ref[Any]] = field(factory=dict, init=False)
    _connections: dict[int, ConnectionStats] = field(factory=dict, init=False)

    @property
    def holds_any(self) -> bool:
        """Return whether there is anything to clean up."""
        return bool(self._known)

    def connections(self) -> dict[str, Any]:
        """Return the connections of all strategies, in numbers, those cleaned up included."""
        found = dict(self._connections)
        for entry in self._known.values():
            found.update(_connections_of(entry.strategy))
        return ConnectionStats.sum_of(found.values()).as_dict()

    def is_ready(self, strategy: LLMCallStrategy[Any], shape: StrategyShape) -> bool:
        """Return whether *strategy*, which is of this *shape*, can be called at once."""
        entry = self._known.get(id(strategy))
        if entry is not None:
            return entry.lease.ready
        return id(strategy) in self._composites if strategy.parts else not shape.managed

    async def prepare(
        self, strategy: LLMCallStrategy[Any], ending: Ending, deadline: float = math.inf
    ) -> bool:
        """Get *strategy* and its parts ready; callers that come meanwhile wait for the first.

        Args:
            strategy: Which one.
            ending: The end of the run that needs it.
            deadline: When to wait no longer for what another caller has begun.

        Returns:
            Whether it is ready; if not, the deadline came first.

        Raises:
            PrepareError: It raised, took too long, or serves another event loop. The run ends.
            StrategyError: It is a part of itself, so that none of them can come first.
        """
        held = self._known.get(id(strategy))
        if held is None:
            # Before any waiting: two items that come from two sides would wait for each other.
            _refuse_circles(strategy)
        # Each run holds the parts itself, so that none is cleaned up while what uses it is held.
        for part in strategy.parts:
            if self.is_ready(part, self._hooks.shape_of(part)):
                continue
            if not await self.prepare(part, ending, deadline):
                return False
        if not self._hooks.shape_of(strategy).managed:
            self._remember(strategy)
            return True
        held = self._known.get(id(strategy))
        if held is None:
            # Known before the first await, so that it is cleaned up even when it is cancelled.
            held = self._known[id(strategy)] = _Held(strategy, self._take(strategy, ending))
        while (turn := held.lease.turn) is not None:
            with anyio.CancelScope(deadline=deadline) as waiting:
                await turn.over.wait()
            if waiting.cancelled_caught:
                return False
            if turn.error is not None and held.failed_in is not ending:
                # Of its own, since each run adds its partial result.
                error = PrepareError(str(turn.error))
                error.__cause__ = turn.error.__cause__
                held.error, held.failed_in = error, ending
                ending.fail(error, Termination(EndCause.PREPARE_FAILED, str(error)))
        if held.error is not None and held.failed_in is ending:
            raise held.error
        return held.lease.ready or await self._prepare_first(held, ending)

    def _remember(self, strategy: LLMCallStrategy[Any]) -> None:
        """Note that the parts of a composite are ready, for as long as it is there."""
        key = id(strategy)
        with suppress(TypeError):  # one with slots throughout is looked at again each time
            # When it goes, its key is taken out: the reference is then passed as the default.
            gone = partial(self._composites.pop, key)
            self._composites[key] = weakref.ref(strategy, gone)

    def _take(self, strategy: LLMCallStrategy[Any], ending: Ending) -> Lease:
        alone = self._hooks.shape_of(strategy).managed and not strategy.per_loop
        try:
            return take_lease(strategy, alone=alone)
        except StrategyError as error:
            failure = PrepareError(str(error))
            ending.fail(failure, Termination(EndCause.PREPARE_FAILED, str(failure)))
            raise failure from None

    async def _prepare_first(self, held: _Held, ending: Ending) -> bool:
        lease = held.lease
        turn = lease.turn = Turn()
        try:
            await self._prepare_one(held, ending)
            lease.ready = True
            return True
        except PrepareError as error:
            turn.error = held.error = error
            held.failed_in = ending
            raise
        except ProgramError as error:
            turn.error = held.error = PrepareError(str(error))
            held.failed_in = ending
            raise
        finally:
            # To the end of the order: parts are cleaned up after what is built of them.
            self._known[id(held.strategy)] = self._known.pop(id(held.strategy))
            lease.turn = None
            turn.over.set()

    async def _prepare_one(self, held: _Held, ending: Ending) -> None:
        name = type(held.strategy).__name__
        held.lease.begun = True
        ended = await call_hook(held.strategy.prepare, seconds=self._prepare_timeout)
        if isinstance(ended, Ok):
            return
        if isinstance(ended, Failed):
            what = f"raised {in_words(ended.error)}"
        else:
            what = f"took longer than prepare_timeout ({self._prepare_timeout} s)"
        failure = PrepareError(f"{name}.prepare() {what}; no item can run without it")
        ending.fail(failure, Termination(EndCause.PREPARE_FAILED, str(failure)))
        raise failure from ended.error

    async def close(self) -> list[str]:
        """Let go of everything, last prepared first; what no other run holds is cleaned up.

        Each cleanup is shielded and has a deadline.

        Returns:
            A sentence for each ``cleanup`` that raised or took too long.
        """
        warnings: list[str] = []
        self._composites.clear()
        while self._known:
            _, held = self._known.popitem()
            if held.lease.begun:
                # Taken before they are closed, since a loop's numbers end with its connections.
                last = _connections_of(held.strategy).items()
                self._connections.update((key, evolve(stats, open=0)) for key, stats in last)
            if held.lease.leave():
                warnings.extend(await self._end(held))
        return warnings

    async def _end(self, held: _Held) -> list[str]:
        """Clean up what was begun; a run that comes meanwhile waits, and prepares anew."""
        lease = held.lease
        turn = lease.turn = Turn()
        try:
            return await self._clean_up(held.strategy) if lease.begun else []
        finally:
            lease.end()
            lease.turn = None
            turn.over.set()

    async def _clean_up(self, strategy: LLMCallStrategy[Any]) -> list[str]:
        """Clean up one, in a task of its own, so that a scope it leaves open dies with the task."""
        said: list[str] = []

        async def run() -> None:
            match await call_hook(strategy.cleanup, seconds=self._cleanup_timeout):
                case Ok():
                    pass
                case TimedOut():
                    said.append(
                        f"took longer than cleanup_timeout ({self._cleanup_timeout:g} s) and was "
                        "cancelled"
                    )
                case Failed(error):
                    said.append(f"raised {in_words(error)}")

        try:
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run)
        except BaseExceptionGroup as group:
            error = only_error(group)
            if not isinstance(error, ProgramError):
                raise
            said.append(f"broke a rule: {error}")
        return [f"{type(strategy).__name__}.cleanup() {words}" for words in said]


def connect_seconds_of(strategy: LLMCallStrategy[Any]) -> float:
    """Return the time that a connection of *strategy* takes to be made; 0 if it knows none."""
    return ConnectionStats.sum_of(_connections_of(strategy).values()).connect_seconds


def _connections_of(strategy: LLMCallStrategy[Any]) -> Mapping[int, ConnectionStats]:
    stats = getattr(strategy, "connection_stats", None)
    found = stats() if callable(stats) else {}
    if not isinstance(found, Mapping):
        return {}  # a mock has any method there is
    return {key: one for key, one in found.items() if isinstance(one, ConnectionStats)}


def _refuse_circles(strategy: LLMCallStrategy[Any]) -> None:
    """Raise where *strategy* or one of its parts is, by way of its own parts, a part of itself."""
    fine: set[int] = set()

    def look(one: LLMCallStrategy[Any], path: tuple[LLMCallStrategy[Any], ...]) -> None:
        if any(one is above for above in path):
            names = " → ".join(type(each).__name__ for each in (*path, one))
            msg = f"{names}: a strategy cannot be a part of itself; take it out of `parts`"
            raise StrategyError(msg)
        if id(one) in fine:
            return
        for part in one.parts:
            look(part, (*path, one))
        fine.add(id(one))

    if strategy.parts:
        look(strategy, ())
