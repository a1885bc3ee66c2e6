"""The slow tail: a call that takes very long is made a second time, and the first answer wins.

A wrapper of the guarded call, off by default. The second copy is admitted like any call, and only
if it takes nothing from other calls: at the end of a batch or in a pool, with the gate open
and calm and room to spare. What it costs is counted; providers bill the loser, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from batchllm.core import HedgeConfig, ProcessingEvent, Reply
from batchllm.engine.events import Events
from batchllm.engine.failures import Failure
from batchllm.engine.item import ItemRun
from batchllm.engine.waiting import Waits
from batchllm.gate import Gate
from batchllm.policy import HedgePolicy

__all__ = ["Hedging"]

_LOOK_AGAIN: Final = 1.0
"""Seconds between looks whether a second copy may be made by now; slow calls take far longer."""
_CALM: Final = 60.0
"""Seconds without a pause of the scope: the period of most quotas, so none is nearly used up."""

CallEnded: TypeAlias = "Reply | Failure"
Copy: TypeAlias = Callable[[], Awaitable[CallEnded]]


@define(eq=False)
class Hedging:
    """Make calls with a second copy in reserve.

    Args:
        config: When to make one.
        clock: Seconds on the event loop's clock.
        waits: Know whether a fresh call waits for its turn.
        events: Get the event of each second copy.
    """

    config: HedgeConfig
    clock: Callable[[], float]
    waits: Waits
    events: Events
    _policies: dict[Gate, HedgePolicy] = field(factory=dict, init=False)

    @property
    def count(self) -> int:
        """Second copies so far."""
        return sum(policy.hedges for policy in self._policies.values())

    async def call(
        self, gate: Gate, item: ItemRun, first: Copy, second: Copy, fits: Callable[[], bool]
    ) -> CallEnded:
        """Make *first*, and *second* if it takes very long and *fits*; the first answer wins.

        Returns:
            The reply that came first, else the failure of *first*.
        """
        policy = self._policy_of(gate)
        race, started = _Race(), self.clock()
        ended: CallEnded | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._reserve, tasks, race, policy, gate, item, second, fits)
            ended = await first()
            if not isinstance(ended, Reply) and race.under_way is not None:
                await race.under_way.wait()
            _end(tasks, "the call has ended")
        if race.second is not None:
            return race.second
        if isinstance(ended, Reply):
            policy.on_ok(self.clock() - started)
        assert ended is not None  # only the second copy cancels the first, and then it has won
        return ended

    async def _reserve(
        self,
        tasks: TaskGroup,
        race: _Race,
        policy: HedgePolicy,
        gate: Gate,
        item: ItemRun,
        second: Copy,
        fits: Callable[[], bool],
    ) -> None:
        """Make the second copy once the first is slow and everything else allows it."""
        begun = self.clock()
        while True:
            slow = policy.slow()
            left = _LOOK_AGAIN if slow is None else begun + slow - self.clock()
            if slow is not None and left <= 0 and self._allowed(policy, gate) and fits():
                break
            await anyio.sleep(left if left > 0 else _LOOK_AGAIN)
        race.under_way = anyio.Event()
        policy.on_hedge()
        self.events.emit(
            ProcessingEvent.HEDGE_STARTED, {"item_id": item.work.item_id, "after": slow}
        )
        try:
            ended = await second()
            if isinstance(ended, Reply):
                race.second = ended
                item.note("a second copy of the call answered first; both may be billed")
                _end(tasks, "the second copy has won")
        finally:
            race.under_way.set()

    def _allowed(self, policy: HedgePolicy, gate: Gate) -> bool:
        return policy.allows() and self.waits.idle and gate.calm_for(_CALM)

    def _policy_of(self, gate: Gate) -> HedgePolicy:
        policy = self._policies.get(gate)
        if policy is None:
            config = self.config
            policy = self._policies[gate] = HedgePolicy(
                config.max_share, config.min_samples, config.min_delay, config.delay
            )
        return policy


def _end(tasks: TaskGroup, reason: str) -> None:
    """End the copy that is left over.

    Leaving a group is a checkpoint, at which a cancellation from outside would take the answer
    that has just come and is paid for. So it waits until the group is left; every copy in it is
    cancelled all the same, so the shield makes nothing longer.
    """
    tasks.cancel_scope.shield = True
    tasks.cancel_scope.cancel(reason)


@define(eq=False)
class _Race:
    second: Reply | None = None
    under_way: anyio.Event | None = None
