"""The slow tail: a call that takes very long is made a second time, and the first answer wins.

A wrapper of the guarded call, off by default. The second copy is admitted like any call, and only
if it takes nothing from other calls: at the end of a batch or in a pool, with the gate open
and calm and room to spare. If it takes as long again, there is a third. What they cost is counted;
providers bill the losers, too.
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

__all__ = ["CallEnded", "Hedging"]

_LOOK_AGAIN: Final = 1.0
"""Seconds between looks whether another copy may be made by now; slow calls take far longer."""
_CALM: Final = 60.0
"""Seconds without a pause of the scope: the period of most quotas, so none is nearly used up."""
_NAMES: Final = ("second", "third")
"""The further copies of one call. If one call in a hundred stalls, two copies do so once in ten
thousand calls, which a batch of some thousand meets now and then, and three once in a million."""

CallEnded: TypeAlias = "Reply | Failure"
Copy: TypeAlias = Callable[[], Awaitable[CallEnded]]
Fits: TypeAlias = Callable[[], bool] | None
"""A function that says if the budget has room for one more call; ``None`` if there is no budget."""


@define(eq=False)
class Hedging:
    """Make calls with further copies in reserve.

    Args:
        config: When to make one.
        clock: Seconds on the event loop's clock.
        waits: Know whether a fresh call waits for its turn.
        events: Get the event of each further copy.
    """

    config: HedgeConfig
    clock: Callable[[], float]
    waits: Waits
    events: Events
    _policies: dict[Gate, HedgePolicy] = field(factory=dict, init=False)

    @property
    def count(self) -> int:
        """Further copies so far."""
        return sum(policy.hedges for policy in self._policies.values())

    async def call(
        self, gate: Gate, item: ItemRun, first: Copy, again: Copy, fits: Fits
    ) -> CallEnded:
        """Make *first*, and *again* each time that all copies take very long and it *fits*.

        Returns:
            The reply that came first, else the failure of *first*.
        """
        policy = self._policy_of(gate)
        race, started = _Race(), self.clock()
        ended: CallEnded | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._reserve, tasks, race, policy, gate, item, again, fits)
            ended = await first()
            if not isinstance(ended, Reply):
                await race.wait_for_copies()
            _end(tasks, "the call has ended")
        if race.answer is not None:
            return race.answer
        if isinstance(ended, Reply):
            policy.on_ok(self.clock() - started)
        assert ended is not None  # only a further copy cancels the first, and then it has won
        return ended

    async def _reserve(
        self,
        tasks: TaskGroup,
        race: _Race,
        policy: HedgePolicy,
        gate: Gate,
        item: ItemRun,
        again: Copy,
        fits: Fits,
    ) -> None:
        """Make a further copy once the last is slow and everything else allows it."""
        for name in _NAMES:
            slow = await self._until_slow(policy, gate, fits)
            if race.lost:
                return
            race.under_way += 1
            policy.on_hedge()
            self.events.emit(
                ProcessingEvent.HEDGE_STARTED, {"item_id": item.work.item_id, "after": slow}
            )
            tasks.start_soon(self._copy, tasks, race, item, name, again)

    async def _until_slow(self, policy: HedgePolicy, gate: Gate, fits: Fits) -> float:
        """Wait until a copy that begins now is slow, and another one takes nothing from others."""
        begun = self.clock()
        while True:
            slow = policy.slow()
            left = _LOOK_AGAIN if slow is None else begun + slow - self.clock()
            if slow is not None and left <= 0 and self._allowed(policy, gate, fits):
                return slow
            await anyio.sleep(max(left, _LOOK_AGAIN) if left <= 0 else left)

    async def _copy(
        self, tasks: TaskGroup, race: _Race, item: ItemRun, name: str, again: Copy
    ) -> None:
        try:
            ended = await again()
            if isinstance(ended, Reply) and race.answer is None:
                race.answer = ended
                item.note(f"a {name} copy of the call answered first; each may be billed")
                _end(tasks, f"the {name} copy has won")
        finally:
            race.end_copy()

    def _allowed(self, policy: HedgePolicy, gate: Gate, fits: Fits) -> bool:
        calm = policy.allows() and self.waits.idle and gate.calm_for(_CALM)
        return calm and (fits is None or fits())

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
    """The copies of one call.

    Attributes:
        answer: The reply of a further copy, if one came first.
        under_way: Further copies that have not ended.
        lost: Whether the first has failed, so that no more of them are made.
    """

    answer: Reply | None = None
    under_way: int = 0
    lost: bool = False
    _over: anyio.Event | None = None

    async def wait_for_copies(self) -> None:
        """Wait until those under way have ended; one of them may still have the answer."""
        self.lost = True
        if self.under_way:
            self._over = anyio.Event()
            await self._over.wait()

    def end_copy(self) -> None:
        """Note that one of them has ended."""
        self.under_way -= 1
        if self._over is not None and not self.under_way:
            self._over.set()
