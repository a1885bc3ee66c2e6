"""Looking for a batch that may have been created: when, how long, what the looks prove. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final

from attrs import frozen

from batchllm.provider_batch.options import OnAmbiguous

__all__ = ["Found", "Refinding", "Strength"]

_LOOKS: Final = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds after the create at which it is looked for."""
_AGAIN: Final = 30.0
"""Seconds from the first look of a new process to its second."""
_ROUNDED: Final = 1.0
"""Seconds by which a provider's time may seem to be behind, since it is reported in whole ones."""
_LATER: Final = 300.0
"""Seconds between looks after the last of these."""
_GIVEN_UP: Final = 25 * 3_600.0
"""Seconds after which a batch would have ended and is listed, if it ever was."""


class Strength(Enum):
    """The kinds of key by which a provider lets a batch be found again."""

    EXACT = "exact"
    """A name or metadata of ours."""
    STATISTICAL = "statistical"
    """Time and number of lines only."""


class Found(Enum):
    """The results of a look."""

    ADOPT = "adopt"
    ABSENT = "absent"
    """There is none: another create is allowed."""
    LOOK_AGAIN = "look again"


@frozen
class Refinding:
    """The rules of one provider.

    Attributes:
        strength: Of its key.
        absent_after: Seconds after the create from which an empty list proves that there is no
            batch.
        on_ambiguous: Whether a create may be repeated where nothing proves that.
    """

    strength: Strength
    absent_after: float
    on_ambiguous: OnAmbiguous = "quarantine"

    def next_look(self, since: float, looked: float | None, looks: int) -> float:
        """Return the seconds after the create at which to look next.

        Args:
            since: Seconds since the create.
            looked: The same at the last look of this process; ``None`` before its first.
            looks: How often this process has looked.
        """
        if looked is None:
            # A process that finds the create of another one looks at once; its own, after a while.
            return next((at for at in _LOOKS[:1] if at >= since), since)
        due = next((at for at in _LOOKS if at > looked + _ROUNDED), looked + _LATER)
        if looked < self.absent_after:
            due = min(due, self.absent_after + _ROUNDED)  # the first that can prove anything
        # It takes two, and a new process may have come when the time for both was over.
        return min(due, looked + _AGAIN) if looks < 2 else due

    def judge(self, since: float, found: int, looks: int) -> Found:
        """Return what a look has shown.

        Args:
            since: Seconds since the create.
            found: Batches that are this one, or may be.
            looks: Complete looks of this process, this one included; one alone may have seen a list
                that lags.
        """
        if found == 1 or (found > 1 and self.strength is Strength.EXACT):
            return Found.ADOPT
        if found or looks < 2 or since < self.absent_after:
            return Found.LOOK_AGAIN
        if self.strength is Strength.EXACT or self.on_ambiguous == "resubmit":
            return Found.ABSENT
        return Found.ABSENT if since > _GIVEN_UP else Found.LOOK_AGAIN
