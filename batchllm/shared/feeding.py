"""The task of a shared gate that asks for leases: ahead of need, and never more often than useful.

A gate may be served by several runs at once. Each has a task, and one of them asks at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import anyio
from attrs import define, field

from batchllm.core import CallCost
from batchllm.policy import LeasedBucket
from batchllm.shared.stores import GateUnreachableError, LeaseStore

__all__ = ["Feeder", "Need"]

_BEAT: Final = 2.0
"""Seconds between two requests of a worker that needs no slot: to hear of limits and pauses."""
_SHORTEST: Final = 0.002
"""Seconds between two requests at least; a lease is a round trip."""
_FIRST_RETRY, _LONGEST_RETRY = 0.1, 2.0
"""Seconds between tries while the authority does not answer."""
_PATIENCE: Final = 30.0
"""Seconds for which a gate that is opened waits for its authority, which may start beside it."""
_TIMEOUT: Final = 5.0
"""Seconds for one answer."""


@define(eq=False)
class Need:
    """Wakes the tasks that ask for leases while they wait for that."""

    _event: anyio.Event | None = field(default=None, init=False)
    _deaf: bool = field(default=False, init=False)

    def wake(self) -> None:
        """Have them look again; costs an attribute test while none waits."""
        if self._event is not None and not self._deaf:
            self.hurry()

    def hurry(self) -> None:
        """Have them look again, also if they wait for the time of the next request."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self, seconds: float, *, deaf: bool = False) -> None:
        """Wait until there is something to ask or to report, or *seconds* have passed.

        Args:
            seconds: At most.
            deaf: Whether calls that lack a slot, which say so at every turn, are not heard.
        """
        self._deaf = deaf
        if self._event is None:
            self._event = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._event.wait()


class NeedsLeases(Protocol):
    """A gate, as far as its leases are concerned."""

    clock: Callable[[], float]

    def demand(self) -> Sequence[CallCost]:
        """Return what the calls take that could start if there were slots."""
        ...

    def closed_for(self) -> float:
        """Return the seconds for which it pauses after a refusal."""
        ...

    def on_lease(self) -> None:
        """Hand out what a lease has given."""


@define(eq=False)
class Feeder:
    """Asks the authority of one shared gate.

    Args:
        store: The authority.
        bucket: Takes the leases.
        need: Woken when a call lacks a slot.

    Attributes:
        problem: Why the authority does not answer; ``None`` while it does.
    """

    store: LeaseStore
    bucket: LeasedBucket
    need: Need
    problem: str | None = field(default=None, init=False)
    _asking: bool = field(default=False, init=False)
    _retry: float = field(default=_FIRST_RETRY, init=False)
    _not_before: float = field(default=0.0, init=False)

    async def join(self, gate: NeedsLeases) -> None:
        """Ask for the first time, so that what cannot work is seen at once.

        Raises:
            ConfigError: The store cannot be used, or others have declared other limits.
            GateUnreachableError: It did not answer for 30 s.
        """
        self.bucket.restart(gate.clock())
        self._not_before = 0.0
        give_up = gate.clock() + _PATIENCE
        while True:
            try:
                await self._ask(gate)
            except GateUnreachableError:
                if gate.clock() >= give_up:
                    raise
                await anyio.sleep(_LONGEST_RETRY / 4)
            else:
                return

    async def run(self, gate: NeedsLeases) -> None:
        """Ask as long as the gate is used.

        Raises:
            ConfigError: Others have declared other limits meanwhile.
        """
        while True:
            now = gate.clock()
            due = self.bucket.due(now, gate.demand(), _BEAT)
            early = max(self._not_before, min(self.bucket.again_at, due)) - now
            if early > 0 or due > now or self._asking:
                deaf = early > 0
                await self.need.wait(max(_SHORTEST, early if deaf else due - now), deaf=deaf)
                continue
            try:
                await self._ask(gate)
            except GateUnreachableError as error:
                self._on_silence(gate, str(error))

    async def _ask(self, gate: NeedsLeases) -> None:
        self._asking = True
        try:
            asked_at = gate.clock()
            request = self.bucket.ask(asked_at, gate.demand(), gate.closed_for())
            lease = None
            with anyio.move_on_after(_TIMEOUT):
                lease = await self.store.lease(request)
            if lease is None:
                msg = f"the authority of a shared gate did not answer within {_TIMEOUT:g} s"
                raise GateUnreachableError(msg)
        finally:
            self._asking = False
        now = gate.clock()
        self.bucket.on_lease(request, lease, asked_at, now)
        self.problem, self._retry = None, _FIRST_RETRY
        self.bucket.cut_off = False
        self._not_before = now + _SHORTEST
        gate.on_lease()

    def _on_silence(self, gate: NeedsLeases, problem: str) -> None:
        """Wait before the next try; calls wait, too, since no slot comes."""
        self.problem, self.bucket.cut_off = problem, True
        self._not_before = gate.clock() + self._retry
        self._retry = min(_LONGEST_RETRY, 2 * self._retry)
        gate.on_lease()
