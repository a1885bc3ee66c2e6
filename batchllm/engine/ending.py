"""How a run ends, as a state machine: it only ever moves on towards its end.

Running → draining → cancelling → over. A drain lets calls in flight finish and starts none; a
cancellation ends them. Whoever asks first is named as the cause.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum

from attrs import define

from batchllm.core import EndCause, Termination

__all__ = ["CANCEL", "DRAIN", "Ending", "Phase", "Stop"]


class Stop(Enum):
    """What to do with calls in flight when a run is asked to stop."""

    DRAIN = "drain"
    CANCEL = "cancel"


DRAIN = Stop.DRAIN
CANCEL = Stop.CANCEL


class Phase(IntEnum):
    """How far a run has got."""

    RUNNING = 0
    DRAINING = 1
    CANCELLING = 2
    OVER = 3


@define(eq=False)
class Ending:
    """The end of one run.

    Attributes:
        phase: How far it has got.
        termination: Why it ends, once that is known.
        error: What the caller gets in place of a result, where the run itself failed.
        on_change: Called with each new phase, synchronously.
    """

    phase: Phase = Phase.RUNNING
    termination: Termination | None = None
    error: Exception | None = None
    on_change: Callable[[Phase], None] = lambda phase: None

    @property
    def stopping(self) -> bool:
        """Whether no further call may start."""
        return self.phase is not Phase.RUNNING

    @property
    def cancelled_by_us(self) -> bool:
        """Whether calls in flight are being cancelled by the run itself."""
        return self.phase is Phase.CANCELLING

    def request(self, how: Stop, termination: Termination) -> bool:
        """Ask for the end.

        Returns:
            Whether this moved the run on; a second drain, or a drain after a cancellation, does
            not.
        """
        target = Phase.DRAINING if how is Stop.DRAIN else Phase.CANCELLING
        if self.phase >= target:
            return False
        self.phase = target
        if self.termination is None:
            self.termination = termination
        self.on_change(target)
        return True

    def fail(self, error: Exception, termination: Termination) -> bool:
        """Ask for a drain because the run itself failed with *error*; the first error is kept."""
        if self.error is None:
            self.error = error
        return self.request(Stop.DRAIN, termination)

    def close(self, otherwise: Termination | None = None) -> Termination:
        """End it now; *otherwise* is the reason where none was given before."""
        self.phase = Phase.OVER
        if self.termination is None:
            self.termination = otherwise or Termination()
        return self.termination

    def describe(self) -> Termination:
        """Why it ends, or that it has not ended."""
        if self.termination is not None:
            return self.termination
        return Termination(EndCause.RUNNING, "the batch is running")
