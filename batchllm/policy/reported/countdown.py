"""One limit of which replies say what is left, and never when more comes back.

Gateways report so: LiteLLM names limit and remaining, and no reset. No more is sent than the newest
reply left; after that its successor has to say more, or one call tries. A try that is refused makes
the next one wait twice as long; three that are taken although the reply to each says that nothing
is left prove that the number means something else, and it holds nothing back from then on.
"""

from __future__ import annotations

from math import inf
from typing import Final

from batchllm.core import Dimension, LimitHint
from batchllm.policy.reported.scale import Scale

__all__ = ["Countdown"]

_FIRST_TRY: Final = 1.0
"""Seconds after the newest reply, or the last try, until one call tries; doubles if refused."""
_MOST_DOUBLINGS: Final = 4
"""Doublings of it: 16 s, so that no silence is longer than one that a refusal makes."""
_PROOFS: Final = 3
"""Tries in a row, taken with nothing left, that prove the number wrong."""


class Countdown:
    """Follows what is left of one limit. Live state for one clock; ``now`` is an argument.

    Args:
        dimension: What is limited.

    Attributes:
        amount: The limit itself, ``None`` if no reply named it.
        binds: Whether what was reported holds calls back.
        answered_at: When a call was accepted last.
        sure: Whether its period is known: never.
    """

    __slots__ = (
        "_held", "_left", "_left_at", "_left_order", "_proofs", "_refused", "_taken", "_tried_at",
        "_tries", "_trying", "amount", "answered_at", "binds", "dimension",
    )  # fmt: skip

    sure: Final = False

    def __init__(self, dimension: Dimension) -> None:
        self.dimension: Dimension = dimension
        self.amount: int | None = None
        self.answered_at = -inf
        self.binds = False
        self._left = inf  # what may be sent after `_left_order`, as the reply at `_left_at` said
        self._left_at = 0.0
        self._left_order = 0
        self._taken = Scale(dimension)
        self._held = Scale(dimension)  # of calls under way together
        self._refused = False
        self._tries = 0
        self._tried_at = -inf
        self._trying = False  # whether that try has not ended
        self._proofs = 0

    def used(self, now: float, sent: int) -> float:
        """Return the share of the amount that is taken."""
        if not self.amount or not self.binds:
            return 0.0
        return min(1.0, max(0.0, 1 - self._room(sent) / self.amount))

    def next_time(self, now: float, units: int, sent: int) -> float:
        """Return the earliest instant from *now* on when *units* more may be sent.

        Args:
            now: Seconds on any monotonic clock.
            units: What the call takes, in our own estimate.
            sent: All units that were booked so far, in the same estimate.
        """
        if not units or not self.binds or self._room(sent) >= self._need(units):
            return now
        since = max(self._left_at, self._tried_at)
        return max(now, since + _FIRST_TRY * 2.0**self._tries)

    def on_take(self, now: float, units: int, sent: int) -> None:
        """Note that *units* are sent at *now*, *sent* of them in all with these."""
        if units and self.binds and self._room(sent) < 0:
            self._tried_at, self._trying = now, True

    def on_release(self, units: int, sent_at: float, order: int) -> None:
        """Note that a call booked at *sent_at*, as the *order*-th, never left.

        If it was a try, another may go.
        """
        if order <= self._left_order:
            self._left_order -= units
        if self._trying and units and sent_at == self._tried_at:
            self._tried_at, self._trying = -inf, False

    def passes_over(self, hint: LimitHint, now: float, order: int) -> bool:
        """Return ``False``: to take in what a reply left takes no longer than to decide on it."""
        return False

    def observe(self, hint: LimitHint, now: float, sent_at: float, order: int) -> None:
        """Learn what the reply to a call reported.

        Args:
            hint: What it said of this limit; what makes no sense has no effect.
            now: When it came.
            sent_at: When its call was sent.
            order: All units booked up to and with that call.
        """
        left = hint.remaining
        if left is None or left < 0 or self._proofs >= _PROOFS:
            return
        self.amount = hint.amount or self.amount
        if self.binds and sent_at <= self._left_at:
            self._compare(left, order)
            return
        self._taken.add(self._left - left, order - self._left_order)
        self._left, self._left_at, self._left_order = left, now, order
        self.binds = True

    def on_accepted(self, now: float, sent_at: float) -> None:
        """Note that a call was accepted, which may prove that more was left than was reported."""
        self.answered_at = now
        if sent_at < self._tried_at:
            return
        self._tries, self._trying = 0, False
        if not self.binds or self._left >= 1:
            self._proofs = 0
            return
        self._proofs += 1
        self.binds = self._proofs < _PROOFS

    def on_refused(self, now: float, sent_at: float) -> None:
        """Note that a call was refused: what was tried is tried again later."""
        self._refused = True
        if self._trying and sent_at >= self._tried_at:
            self._tries, self._trying = min(_MOST_DOUBLINGS, self._tries + 1), False
            self._proofs = 0

    def _compare(self, left: int, order: int) -> None:
        """Take what was *left* after a call that was under way beside the one that counts.

        A busy server does not take calls in the order in which they were sent, so of those that
        were under way together the one counts that leaves the least. One that leaves far less saw
        the window before.
        """
        less = (self._left - left) + (self._left_order - order) * self._scale
        if 0 < less < (self.amount or 0) / 2:
            self._held.add(self._left - left, order - self._left_order)
            self._left, self._left_order = left, order

    @property
    def _scale(self) -> float:
        """Return the units that the server takes for each one that was booked.

        One that reserves more for a call than it takes in the end shows that only while calls are
        under way together; if it never refuses for it, it has enough.
        """
        taken = self._taken.factor
        return max(taken, self._held.factor) if self._refused else taken

    def _room(self, sent: int) -> float:
        return self._left - (sent - self._left_order) * self._scale

    def _need(self, units: int) -> float:
        need = units * self._scale
        # A call that is larger than the limit is the server's to refuse.
        return need if self.amount is None else min(need, float(self.amount))
