"""The end of a run, as a state machine: it only ever moves on towards its end.

Running → draining → cancelling → over. A drain lets calls in flight finish and starts none; a
cancellation ends them. The first request is named as the cause. Whatever has to stop at a phase
does it in a block of `Ending.until`, so that the state machine calls nothing: it cancels scopes.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum, IntEnum

import anyio
from attrs import define, field

from batchllm.core import EndCause, JournalError, Termination
from batchllm.engine.guard import contains, in_words

__all__ = ["CANCEL", "DRAIN", "Ending", "Phase", "Stop", "cause_of"]


class Stop(Enum):
    """The fate of calls in flight when a run is asked to stop."""

    DRAIN = "drain"
    CANCEL = "cancel"


DRAIN = Stop.DRAIN
CANCEL = Stop.CANCEL


class Phase(IntEnum):
    """The phase of a run."""

    RUNNING = 0
    DRAINING = 1
    CANCELLING = 2
    OVER = 3


@define(eq=False)
class Ending:
    """The end of one run.

    Attributes:
        phase: How far it has got.
        stopping: Whether no further call may start; kept, since every call asks for it.
        termination: Why it ends, once that is known.
        error: What the caller gets in place of a result if the run itself failed.
    """

    phase: Phase = field(default=Phase.RUNNING, init=False)
    stopping: bool = field(default=False, init=False)
    termination: Termination | None = field(default=None, init=False)
    error: Exception | None = field(default=None, init=False)
    _bounded: dict[anyio.CancelScope, Phase] = field(factory=dict, init=False)

    @property
    def cancelled_by_us(self) -> bool:
        """Return whether the run itself is cancelling its calls in flight."""
        return self.phase is Phase.CANCELLING

    @contextmanager
    def until(self, phase: Phase, deadline: float = math.inf) -> Generator[anyio.CancelScope]:
        """Cancel the block when the run reaches *phase*, or at *deadline*.

        Args:
            phase: The first phase in which the block must not go on.
            deadline: On the event loop's clock.
        """
        with anyio.CancelScope(deadline=deadline) as scope:
            self._bounded[scope] = phase
            if self.phase >= phase:
                scope.cancel("the run is ending")
            try:
                yield scope
            finally:
                del self._bounded[scope]

    async def reached(self, phase: Phase) -> None:
        """Wait until the run has reached *phase*."""
        with self.until(phase):
            await anyio.sleep_forever()

    def request(self, how: Stop, termination: Termination) -> bool:
        """Ask for the end.

        Returns:
            Whether this moved the run on; a second drain, or a drain after a cancellation, does
            not.
        """
        target = Phase.DRAINING if how is Stop.DRAIN else Phase.CANCELLING
        if self.phase >= target:
            return False
        self.phase, self.stopping = target, True
        if self.termination is None:
            self.termination = termination
        self._cancel(Phase.DRAINING, target)
        return True

    def fail(self, error: Exception, termination: Termination) -> bool:
        """Ask for a drain because the run itself failed with *error*; the first error is kept."""
        if self.error is None:
            self.error = error
        return self.request(Stop.DRAIN, termination)

    def close(self, otherwise: Termination | None = None) -> Termination:
        """End it now; *otherwise* is the reason if none was given before.

        Calls are left alone: either all have ended, or a scope further out cancels them.
        """
        self.phase, self.stopping = Phase.OVER, True
        if self.termination is None:
            self.termination = otherwise or Termination()
        self._cancel(Phase.OVER, Phase.OVER)
        return self.termination

    def describe(self) -> Termination:
        """Return why it ends, or that it has not ended."""
        if self.termination is not None:
            return self.termination
        return Termination(EndCause.RUNNING, "the batch is running")

    def _cancel(self, first: Phase, last: Phase) -> None:
        # In the order of the phases, so that no item is started any more when calls are cancelled.
        for phase in sorted({p for p in self._bounded.values() if first <= p <= last}):
            for scope in [scope for scope, p in self._bounded.items() if p is phase]:
                scope.cancel("the run is ending")


def cause_of(error: BaseException) -> Termination:
    """Return what to call the end of a run that came as *error*."""
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return Termination(EndCause.CALLER_CANCELLED, "the batch was cancelled from outside")
    if isinstance(error, JournalError):
        return Termination(EndCause.JOURNAL_FAILED, str(error))
    if contains(error):
        return Termination(EndCause.INTERRUPTED, f"the batch was ended by {in_words(error)}")
    return Termination(EndCause.PROGRAM_ERROR, in_words(error))
