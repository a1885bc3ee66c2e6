"""The meaning of a refusal: the quota is spent, or single calls leak through its edge.

Both look alike at first: a bucket filled at 1.01 times its rate refuses 1 % of calls and accepts
the next one. So after a refusal nothing is sent for a moment, and what was sent from the refused
call on decides: if more than half of it was refused, the quota is spent.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from enum import Enum
from math import inf
from statistics import median
from typing import Final

from attrs import define, field

from batchllm.policy.events import Send
from batchllm.policy.send_log import Point
from batchllm.policy.windows import Episode

__all__ = ["Diagnosis", "Meaning", "RefusalTimes"]

_SHORTEST: Final = 0.1
"""Seconds that are waited for refusals at least: an event loop may be late by as much."""
_LONGEST: Final = 5.0
"""Seconds that are waited at most: a server that refuses more slowly is judged without."""
_REMEMBERED: Final = 9
"""Refusals whose median time counts: odd, and few enough to follow a server that changes."""


class Meaning(Enum):
    """The meaning of the refusals of one episode."""

    LONE = "lone"
    """A single call was sent and refused: the next one will show what it meant."""
    SPENT = "spent"
    LEAK = "leak"


@define(eq=False)
class RefusalTimes:
    """The time that a server takes to refuse."""

    _last: deque[float] = field(factory=lambda: deque[float](maxlen=_REMEMBERED), init=False)

    @property
    def patience(self) -> float:
        """Seconds after which a call that drew no refusal counts as accepted."""
        if not self._last:
            return 1.0
        return min(_LONGEST, max(_SHORTEST, 2 * median(self._last)))

    def add(self, seconds: float) -> None:
        """Note the time from a send to its refusal."""
        self._last.append(seconds)


@define(eq=False)
class Diagnosis:
    """The refusals of one episode, until it is known what they mean.

    Attributes:
        at: When the first of them arrived.
        hinted_until: The latest instant that a server asked to wait for.
        pending: Marks of calls sent after the first refused one that nothing is known of yet.
        unsent: Marks of calls that never left, so that they were not accepted either.
    """

    at: float
    pending: set[int]
    hinted_until: float = field(default=-inf, init=False)
    unsent: set[int] = field(factory=set[int], init=False)
    refused: list[tuple[int, Send]] = field(factory=list, init=False)
    _hints: dict[int, float] = field(factory=dict[int, float], init=False)

    @property
    def first(self) -> Send:
        """The refused call that was sent first."""
        return self.refused[0][1]

    @property
    def begun(self) -> Point:
        """The point at which the first refused call was sent."""
        return Point(self.first.sent_at, self.first.mark)

    @property
    def empty(self) -> Point:
        """The point at which the last refused call was sent."""
        last = self.refused[-1][1]
        return Point(last.sent_at, last.mark)

    def add(self, now: float, send: Send, hint: float | None) -> None:
        """Note a refusal at *now* that asked to wait *hint* seconds."""
        insort(self.refused, (send.mark, send))
        self.pending.discard(send.mark)
        if hint is not None:
            self.hinted_until = max(self.hinted_until, now + hint)
            self._hints[send.mark] = now + hint

    def drop_hints(self) -> None:
        """Forget how long to wait, since the reason for it is over."""
        self.hinted_until = -inf
        self._hints.clear()

    def meaning(self, sent: int) -> Meaning:
        """Judge, after *sent* calls in all; what drew no refusal counts as accepted.

        A call sent at the very instant of the refused one shows nothing: the server may have
        taken it before its quota was spent.
        """
        refused, accepted = len(self.refused), self._accepted(sent)
        if refused == 1 and accepted <= 0:
            return Meaning.LONE
        return Meaning.SPENT if refused > accepted else Meaning.LEAK

    def _accepted(self, sent: int) -> int:
        """Return how many calls were taken that were sent after the instant of the refused one."""
        later = sent - max(self.first.end_of_instant, self.first.mark + 1)
        accepted = later - sum(mark >= sent - later for mark, _ in self.refused)
        return accepted - sum(mark >= sent - later for mark in self.unsent)

    def _taken(self, sent: int) -> float:
        """Return the share that was taken at least of what was sent from the refused call on.

        A bucket that had nothing left then gave its rate since, to one call.
        """
        accepted = self._accepted(sent)
        return max(0, accepted - 1) / (len(self.refused) + max(0, accepted))

    def binding_until(self, sent: int) -> float:
        """Return until when refusals bind the scope that no accepted call came after.

        A hint is a floor: only a call that was sent later and accepted shows that it is over.
        """
        until, last = -inf, sent - 1
        for mark, _ in reversed(self.refused):
            while last in self.unsent:
                last -= 1
            if mark != last:
                break
            until = max(until, self._hints.get(mark, -inf))
            last -= 1
        return until

    def beside(self) -> int:
        """Return how many calls the server had taken when it refused, by the clearest of them."""
        return max(send.others - place for place, (_, send) in enumerate(self.refused))

    def episode(
        self, back: Point, *, sent: int, leak: bool, canaries: int, taken_at: float | None
    ) -> Episode:
        """Return the record of the whole episode, once calls are taken again.

        Args:
            back: Where the quota came back.
            sent: Calls that were sent until now.
            leak: Whether the server refused single calls only.
            canaries: How many canaries were refused.
            taken_at: When the accepted canary was sent; ``None`` if there was none.
        """
        return Episode(
            begun=self.begun,
            empty=self.empty,
            back=back,
            leak=leak,
            canaries=canaries,
            hinted=self.hinted_until > -inf,
            single=len(self.refused) == 1,
            taken_at=taken_at,
            taken=self._taken(sent) if leak and taken_at is None else 0.0,
        )
