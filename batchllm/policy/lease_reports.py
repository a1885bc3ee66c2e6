"""The reports of one worker of a shared quota: what is gathered until its next request takes it.

A report counts once, whatever becomes of messages: until an answer to it is there, the same one
goes again by the same number, and what comes meanwhile waits for the next.
"""

from __future__ import annotations

from typing import Final

from attrs import define, evolve, field

from batchllm.core import CallCost
from batchllm.policy.bucket import Limit
from batchllm.policy.leases import CallEnd, Correction, LeaseReport

__all__ = ["LeaseReports"]

_MOST_CORRECTIONS: Final = 1_000
"""Corrections of one report; what is given back beyond them is lost."""
_MOST_ENDS: Final = 1_000
"""Ends of calls of one report; the others go with the next."""


@define(eq=False)
class LeaseReports:
    """Gathers what a worker has to report. Live state, for one clock.

    Attributes:
        urgent: Whether others wait for what is to be reported, so that it goes at once.
    """

    urgent: bool = field(default=False, init=False)
    _corrections: list[Correction] = field(factory=list[Correction], init=False)
    _found: list[Limit] = field(factory=list[Limit], init=False)
    _ends: list[tuple[float, CallEnd]] = field(factory=list[tuple[float, CallEnd]], init=False)
    """Each with the instant when the call ended."""
    _number: int = field(default=0, init=False)
    _sent: LeaseReport | None = field(default=None, init=False)
    """The report whose answer is not there yet."""

    @property
    def has_ends(self) -> bool:
        """Return whether calls have ended that are not reported."""
        return bool(self._ends)

    def correct(self, at: float, booked: CallCost, took: CallCost) -> None:
        """Note that the call of the slot at *at* took something else than was booked for it."""
        given = took.input_tokens - booked.input_tokens
        made = took.output_tokens - booked.output_tokens
        if given or made:
            self._corrections.append(Correction(at, given, made))

    def find(self, limit: Limit) -> None:
        """Note a limit that the server reported."""
        self._found.append(limit)

    def end(self, now: float, end: CallEnd) -> None:
        """Note that a call ended at *now*, or that its slot was over without one."""
        self._ends.append((now, end))

    def restart(self, now: float) -> None:
        """Count what is still to be reported as ended at *now*, by another clock.

        Instants of the clock before mean nothing by this one, and Trio's begins anywhere within
        eleven days.
        """
        self._ends = [(now, end) for _, end in self._ends]

    def next(self, now: float, closed_for: float) -> tuple[int, LeaseReport]:
        """Return the report that goes with a request at *now*, and its number."""
        self.urgent = False
        if self._sent is None:
            self._number += 1
            self._sent = LeaseReport(
                corrections=tuple(self._corrections[:_MOST_CORRECTIONS]),
                found=tuple(self._found),
                ends=tuple([evolve(end, ago=now - at) for at, end in self._ends[:_MOST_ENDS]]),
                closed_for=max(0.0, closed_for),
            )
            self._corrections, self._found = [], []
            del self._ends[:_MOST_ENDS]
        return self._number, self._sent

    def on_answer(self, number: int) -> bool:
        """Note that report *number* was answered; returns whether that is new."""
        if number != self._number or self._sent is None:
            return False
        self._sent = None
        return True
