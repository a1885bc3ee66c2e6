"""Waiting for a permit or a backoff: it ends with the item's time, or when the run stops."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager

import anyio
from attrs import define, field

from batchllm.core import CallCost, CallTooLargeError, ScopeParkedError
from batchllm.engine.ending import Ending
from batchllm.engine.failures import Failure, no_permit, out_of_time, stopped
from batchllm.engine.item import ItemRun
from batchllm.gate import CallerLimits, Gate, Permit, Refusal

__all__ = ["Waiting"]


@define(eq=False)
class Waiting:
    """The waits of one run.

    Args:
        ending: The end of the run.
        callers: The run's cap on calls in flight over all scopes.
        clock: Seconds on the event loop's clock.

    Attributes:
        on_wait: Called when an item begins to wait for something else than a free call, so that
            the feed looks whether another may start in its place.
        seconds: What items have waited so far, by cause.
        at: How many items wait at which gate.
    """

    ending: Ending
    callers: CallerLimits
    clock: Callable[[], float]
    on_wait: Callable[[], None] = lambda: None
    seconds: dict[str, float] = field(
        factory=lambda: dict.fromkeys(("admission_wait", "cooldown_wait", "backoff"), 0.0),
        init=False,
    )
    at: dict[Gate, int] = field(factory=dict, init=False)
    _scopes: set[anyio.CancelScope] = field(factory=set, init=False)

    @property
    def idle(self) -> bool:
        """Whether no fresh call waits for its turn, now or in the source."""
        return not self.callers.more_to_come and not any(self.at.values())

    @property
    def cooling(self) -> int:
        """Items that wait for a scope which is cooling down."""
        return sum(count for gate, count in self.at.items() if count and gate.closed)

    def stop(self) -> None:
        """End every wait, since no call may start any more."""
        for scope in list(self._scopes):
            scope.cancel("the batch is ending")

    @contextmanager
    def until(self, deadline: float = math.inf) -> Generator[anyio.CancelScope]:
        """A scope for waiting that ends at *deadline*, or when the run stops."""
        with anyio.CancelScope(deadline=deadline) as scope:
            self._scopes.add(scope)
            if self.ending.stopping:
                scope.cancel("the batch is ending")
            try:
                yield scope
            finally:
                self._scopes.discard(scope)

    async def for_permit(
        self, gate: Gate, cost: CallCost, item: ItemRun, refusal: Refusal | None = None
    ) -> Permit | Failure:
        """Wait until *gate* lets a call of *item* start, or say why it will not start.

        Args:
            gate: Where.
            cost: What the call takes.
            item: Whose call it is.
            refusal: Of its last call at *gate*.
        """
        self.at[gate] = self.at.get(gate, 0) + 1
        self.on_wait()
        began = self.clock()
        permit: Permit | None = None
        try:
            with self.until(item.deadline):
                permit = await gate.admit(
                    cost,
                    self.callers,
                    priority=item.work.priority,
                    item=item,
                    untried=gate not in item.called,
                    refusal=refusal,
                )
        except (ScopeParkedError, CallTooLargeError) as error:
            # An endpoint that is given up may have stopped the run: then the rest is stopped.
            down = gate.mind.parked is None and isinstance(error, ScopeParkedError)
            return stopped(self.ending) if down and self.ending.stopping else no_permit(error)
        finally:
            self.at[gate] -= 1
            if permit is None:  # out of time, cancelled or refused: its wait counts all the same
                self._note(item, gate, self.clock() - began)
        if self.ending.stopping:
            if permit is not None:  # granted in the very turn in which the run was stopped
                permit.undo()
            return stopped(self.ending)
        if permit is None:
            return out_of_time(item, self.clock(), _in_words(gate, self.clock() - began))
        item.waited(permit.admission_wait, permit.cooldown_wait)
        self.seconds["admission_wait"] += permit.admission_wait
        self.seconds["cooldown_wait"] += permit.cooldown_wait
        return permit

    def _note(self, item: ItemRun, gate: Gate, seconds: float) -> None:
        """Book a wait that ended without a permit, under what held the gate at last."""
        cause = "cooldown_wait" if gate.closed else "admission_wait"
        self.seconds[cause] += seconds
        item.waited(*((0.0, seconds) if gate.closed else (seconds, 0.0)))


def _in_words(gate: Gate, seconds: float) -> str:
    what = "its scope to open again after a refusal" if gate.closed else "a free call or its pace"
    scope = f" ({gate.scope})" if gate.scope else ""
    return f"at last it waited {seconds:.1f} s for {what}{scope}"
