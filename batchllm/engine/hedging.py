"""The slow tail: a call that takes very long is made a second time, and the first answer wins.

A wrapper of the guarded call, off by default. The second copy is admitted like any call, and only
where it cannot take anything from anybody: at the end of a batch or in a pool, with the gate open
and calm and room to spare. What it costs is counted; providers bill the loser, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from batchllm.core import HedgeConfig, ProcessingEvent, Reply
from batchllm.engine.item import ItemRun
from batchllm.gate import Gate
from batchllm.policy import HedgeMind

__all__ = ["Hedging"]

_LOOK_AGAIN = 1.0
_CALM = 60.0

Copy: TypeAlias = Callable[[], Awaitable[Any]]


@define(eq=False)
class Hedging:
    """Makes calls with a second copy in reserve.

    Args:
        config: When to make one.
        clock: Seconds on the event loop's clock.
        idle: Whether no fresh call waits for its turn.
        tell: Takes the event of each second copy.
    """

    config: HedgeConfig
    clock: Callable[[], float]
    idle: Callable[[], bool]
    tell: Callable[[ProcessingEvent, dict[str, Any]], None]
    minds: dict[Gate, HedgeMind] = field(factory=dict, init=False)

    @property
    def count(self) -> int:
        """Second copies so far."""
        return sum(mind.hedges for mind in self.minds.values())

    async def call(self, gate: Gate, item: ItemRun, first: Copy, second: Copy) -> Any:
        """Make *first*, and *second* where it takes very long; the first answer wins.

        Returns:
            The reply that came first, else the failure of *first*.
        """
        mind = self._mind_of(gate)
        race = _Race()
        started, cut_off = self.clock(), item.cut_off
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._reserve, tasks, race, mind, gate, item, second)
            ended = await first()
            if not isinstance(ended, Reply) and race.under_way is not None:
                await race.under_way.wait()
            race.first = ended
            tasks.cancel_scope.cancel("the call has ended")
        item.cut_off = cut_off  # the loser was; the item has its answer, or goes on
        if race.second is not None:
            return race.second
        if isinstance(race.first, Reply):
            mind.on_ok(self.clock() - started)
        return race.first

    async def _reserve(
        self,
        tasks: TaskGroup,
        race: _Race,
        mind: HedgeMind,
        gate: Gate,
        item: ItemRun,
        second: Copy,
    ) -> None:
        """Make the second copy once the first is slow and everything else allows it."""
        begun = self.clock()
        while True:
            slow = mind.slow()
            left = _LOOK_AGAIN if slow is None else begun + slow - self.clock()
            if slow is not None and left <= 0 and self._allowed(mind, gate):
                break
            await anyio.sleep(max(left, _LOOK_AGAIN) if left <= 0 else left)
        race.under_way = anyio.Event()
        mind.on_hedge()
        self.tell(ProcessingEvent.HEDGE_STARTED, {"item_id": item.work.item_id, "after": slow})
        try:
            ended = await second()
            if isinstance(ended, Reply):
                race.second = ended
                item.note("a second copy of the call answered first; both may be billed")
                tasks.cancel_scope.cancel("the second copy has won")
        finally:
            race.under_way.set()

    def _allowed(self, mind: HedgeMind, gate: Gate) -> bool:
        return mind.allows() and self.idle() and gate.calm_for(_CALM)

    def _mind_of(self, gate: Gate) -> HedgeMind:
        mind = self.minds.get(gate)
        if mind is None:
            config = self.config
            mind = self.minds[gate] = HedgeMind(
                config.max_share, config.min_samples, config.min_delay, config.delay
            )
        return mind


@define(eq=False)
class _Race:
    first: Any = None
    second: Reply | None = None
    under_way: anyio.Event | None = None
