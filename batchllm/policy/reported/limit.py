"""One limit as a server reports it, reply by reply: how much is left now, and when more is.

A reply says *amount*, *remaining* and *reset*, not what kind of limit that is. Three kinds are
distinguished by which of them foretells the next reply:

* steady: a bucket that refills all the time. Its reset is the time until it is full, so its period
  is ``reset * amount / (amount - remaining)``, the same in every reply.
* window: all comes back at one instant, which every reply of the window names.
* sliding: what was sent comes back one period later; the reset names the oldest call only.

Until the next reply confirms one of them, *remaining* and *reset* alone steer: no more is sent than
remains until the reset. The numbers are claims: calls that are accepted although nothing should be
left overrule them, and one call is tried early while nothing has confirmed them. The page
``docs/design/reported-limits.md`` has the reasons.
"""

from __future__ import annotations

from math import inf
from typing import Final

from batchllm.core import Dimension, LimitHint
from batchllm.policy.reported.period import CLOCKS, Kind, PeriodEvidence
from batchllm.policy.reported.reading import COARSE, Reading
from batchllm.policy.reported.scale import Scale
from batchllm.policy.reported.settling import Settling
from batchllm.policy.reported.spacing import Spacing
from batchllm.policy.reported.sparing import says_as_much

__all__ = ["ReportedLimit"]

_JITTER: Final = 0.1
"""Seconds by which calls may overtake each other on the way, and come late for a window."""
_FIRST_TRY: Final = 1.0
"""Seconds after which a claim that nothing confirms is tried by one call; doubles if refused."""
_PROOFS: Final = 3
"""Accepted calls that prove that something was left, and replies that prove another limit."""
# Looked up once: Python 3.11 takes 0.4 µs for a member of an enum, and each call asks for these.
_UNKNOWN, _STEADY, _WINDOW, _SLIDING = Kind.UNKNOWN, Kind.STEADY, Kind.WINDOW, Kind.SLIDING


class ReportedLimit:
    """Follows one limit of a server. Live state for one clock; ``now`` is an argument.

    Args:
        dimension: What is limited.
        steady: Whether the provider documents that it refills all the time; else unknown.

    Attributes:
        amount: The limit itself, ``None`` if no reply named it.
        kind: How the limit comes back, as the last replies showed.
        period: Seconds in which the whole amount comes back, ``None`` until replies have shown it.
    """

    __slots__ = (
        "_end", "_evidence", "_factor", "_force", "_last", "_last_end", "_late", "_left",
        "_left_at", "_left_order", "_level", "_most", "_odd", "_proofs", "_rate", "_refused",
        "_settling", "_spacing", "_steady", "_taken", "_tried_at", "_tries", "amount", "dimension",
        "kind", "period",
    )  # fmt: skip

    def __init__(self, dimension: Dimension, *, steady: bool = False) -> None:
        self.dimension = dimension
        self.amount: int | None = None
        self._steady = steady
        self._evidence = PeriodEvidence(steady=steady)
        self._last: Reading | None = None
        self._left: float | None = None  # what may be sent after `_left_order`, seen at `_left_at`
        self._left_at = 0.0
        self._left_order = 0
        # What a steady limit held when a call was last sent, when that was, and what was booked
        # before it; None as long as the newest reply counts.
        self._level: tuple[float, float, int] | None = None
        self._end: float | None = None  # when all of it is back
        self._last_end: float | None = None  # the same, as a reply named it
        self._late = 0.0
        self._spacing = Spacing()
        self._taken = Scale(dimension)
        self._settling = Settling()
        self._refused = 0
        self._odd = 0
        self._force = True
        self._proofs = 0
        self._tries = 0
        self._tried_at: float | None = None
        self._take_stock()

    # -- asking ------------------------------------------------------------------------------

    @property
    def sure(self) -> bool:
        """Return whether replies agree on kind and period."""
        return bool(self.amount) and self._evidence.sure

    @property
    def settled(self) -> bool:
        """Return whether the period is so sure that it can be announced."""
        if self.kind is _STEADY:
            return self.sure and self._settling.done
        return self.sure

    @property
    def binds(self) -> bool:
        """Return whether what was reported holds calls back at all."""
        return self._left is not None and (self._force or self.kind is not _UNKNOWN)

    def used(self, now: float, sent: int) -> float:
        """Return the share of the amount that is taken at *now*."""
        if not self.amount or self._left is None:
            return 0.0
        return min(1.0, max(0.0, 1 - self._room(now, sent) / self._most))

    def next_time(self, now: float, units: int, sent: int) -> float:
        """Return the earliest instant from *now* on when *units* more may be sent.

        Args:
            now: Seconds on any monotonic clock.
            units: What the call takes, in our own estimate.
            sent: All units that were booked so far, in the same estimate.
        """
        if not units or not self.binds:
            return now
        # A call that is larger is the server's to refuse.
        need = min(units * self._factor, self._most)
        room = self._room(now, sent)
        rate = self._rate
        if rate is not None:
            return now if room >= need else now + (need - room) / rate
        if room >= need:
            return max(now, self._spacing.next)
        if self._end is None:
            return now
        end = max(now, self._end)
        if self._may_try:
            return min(end, max(now, self._left_at + _FIRST_TRY * 2.0**self._tries))
        return end

    def _take_stock(self) -> None:
        """Keep what each call asks for, and only a reply changes."""
        evidence, amount, burst = self._evidence, self.amount, self._evidence.burst
        self.kind, self.period = evidence.kind, evidence.period
        # The units that are there at once at most.
        self._most: float = burst if burst is not None else amount or inf
        # The units that come back in a second, if they do so all the time.
        self._rate: float | None = None
        if amount and self.kind is _STEADY and self.period is not None:
            self._rate = amount / self.period
        # The units that the server takes for each one that is booked.
        self._factor = self._taken.factor

    @property
    def _may_try(self) -> bool:
        return self.kind is _UNKNOWN and self.amount is not None and self._tried_at is None

    def _room(self, now: float, sent: int) -> float:
        """Return what may still be sent at *now*, below 0 if too much was."""
        left = self._left
        if left is None:
            return inf
        rate = self._rate
        if rate is not None and self._last is not None:
            level, at, order = self._level or (left, self._last.sent_at, self._left_order)
            # What comes to a full bucket is lost, but only what was not sent by then: else calls
            # that no reply ends (a server that is gone) would be missing from it for ever.
            level += max(0.0, now - at) * rate - (sent - order) * self._factor
            return min(self._most, level)
        left = self._roll(now, sent, left)
        return left - (sent - self._left_order) * self._factor

    def _unspent(self, now: float, last: Reading, left: float) -> float:
        """Return what would be there at *now* if nothing had been sent since the *last* reply."""
        rate = self._rate
        if rate is None:
            return self._roll(now, self._left_order, left)
        return left + max(0.0, now - last.sent_at) * rate

    def _roll(self, now: float, sent: int, left: float) -> float:
        """Go on to the window that *now* lies in, and return what it began with."""
        end = self._end
        if end is None or now < end:
            return left
        length = self.period or self._evidence.longest
        self._left_order, self._left_at = sent, end
        self._tried_at = None
        if self.amount is None or length <= 0:
            self._end = None
            self._left = inf  # how much is back is not known, so nothing holds back
            return inf
        self._end = end + length * (1 + (now - end) // length)
        self._left = self.amount - self._late
        self._late = 0.0
        return self._left

    # -- sending -----------------------------------------------------------------------------

    def on_take(self, now: float, units: int, sent: int) -> None:
        """Note that *units* are sent at *now*, *sent* of them in all with these."""
        if self._left is None or not units:
            return
        if self._rate is not None:
            before = sent - units
            self._level = (self._room(now, before), now, before)
            return
        room = self._room(now, sent)
        if room < 0 and self._may_try:
            self._tried_at = now
        end, period, amount = self._end, self.period, self.amount
        if end is None:
            return
        if now >= end - _JITTER:
            self._late += units * self._factor
        if self.kind is _WINDOW and self.dimension == "requests" and period and amount:
            self._spacing.take(now, units, room=room, end=end, period=period, amount=amount)

    def on_release(self, units: int, sent_at: float, order: int) -> None:
        """Note that a call booked at *sent_at*, as the *order*-th, never left: it is taken back."""
        if order <= self._left_order and self._last is not None:
            self._left_order -= units
            self._last.order -= units
            level = self._level
            self._level = level and (level[0], level[1], level[2] - units)
        self._spacing.take_back(units)
        if self._tried_at == sent_at:
            self._tried_at = None

    # -- learning ----------------------------------------------------------------------------

    def passes_over(self, hint: LimitHint, now: float, order: int) -> bool:
        """Return whether ``observe`` need not have *hint*, of which it takes the same."""
        if self._left is None or self._last is None:
            return False
        left = self._left - (order - self._left_order) * self._factor
        since, replies = now - self._last.at, self._evidence.replies
        return says_as_much(hint, self.amount, left, since=since, replies=replies)

    def observe(self, hint: LimitHint, now: float, sent_at: float, order: int) -> None:
        """Learn what the reply to a call reported.

        Args:
            hint: What it said of this limit; what makes no sense has no effect.
            now: When it came.
            sent_at: When its call was sent.
            order: All units booked up to and with that call.
        """
        reading = Reading.of(hint, now, sent_at, order)
        last = self._last
        if reading is None or (reading.reset is None and self.period is None):
            return
        if last is not None and (sent_at, order) <= (last.sent_at, last.order):
            # Calls of one instant overtake each other: what is left after them is the least.
            if sent_at >= last.sent_at - _JITTER and self._left_at == last.at:
                self._left = min(self._left or 0.0, reading.remaining)
                self._level = None
            return
        if self._is_odd(reading):
            return
        sent = max(0, order - (last.order if last is not None else 0)) * self._factor
        self._evidence.add(last, reading, sent, self._refused)
        self._take_stock()
        if last is not None:
            self._learn_scale(last, reading)
        self._follow_end(reading)
        self._take_stock()
        self._last = reading
        self._left, self._left_at, self._left_order = reading.remaining, now, order
        self._level, self._proofs = None, 0
        self._settling.add(self.period, reading)

    def on_accepted(self, now: float, sent_at: float) -> None:
        """Note that a call was accepted, which may prove that more was left than was reported."""
        last = self._last
        tried = self._tried_at is not None and sent_at >= self._tried_at
        if tried:
            self._tried_at = None
        if last is None or last.remaining >= 1 or self._left is None or sent_at <= last.sent_at:
            return
        if not tried and sent_at < last.sent_at + _JITTER:
            return
        if self._unspent(now, last, self._left) >= 1:
            return  # something came back meanwhile, as the limit says
        self._proofs += 1
        if tried or self._proofs >= _PROOFS:
            self._overrule()

    def on_refused(self, now: float, sent_at: float) -> None:
        """Note that a call was refused: a claim that was tried stands for longer."""
        self._refused += 1
        if self._tried_at is not None and sent_at >= self._tried_at:
            self._tries += 1
            self._tried_at = None

    def _overrule(self) -> None:
        self._force = False
        self._evidence = PeriodEvidence(steady=self._steady)
        self._last = self._left = self._end = self._last_end = self._level = None
        self._proofs = 0
        self._tried_at = None
        self._take_stock()

    def _is_odd(self, reading: Reading) -> bool:
        """Return whether *reading* names another limit than before; the third in a row counts."""
        known, amount = self.amount, reading.amount
        if amount is None or known is None or not self.sure or known / 2 < amount < 2 * known:
            self._odd = 0
            self.amount = amount or known
            return False
        self._odd += 1
        if self._odd < _PROOFS:
            return True
        self._overrule()
        self._odd, self._force, self.amount = 0, True, amount
        return False

    def _follow_end(self, reading: Reading) -> None:
        """Keep the end of the window, and measure the time from one end to the next."""
        if reading.reset is None:
            return
        end = reading.latest + (reading.resolution if reading.resolution >= COARSE else 0.0)
        margin = CLOCKS + 2 * reading.resolution
        known = self._last_end
        if known is None or self.kind is _SLIDING:
            self._last_end = end
        elif reading.earliest <= known + margin:
            # The same window; the reply that came fastest names its end best.
            early = self.kind is not _WINDOW and end < known - margin
            self._last_end = end if early else min(known, end)
        else:
            self._evidence.add_window(end - known)
            self._last_end = end
        self._end = self._last_end

    def _learn_scale(self, last: Reading, reading: Reading) -> None:
        """Compare what the server took with what was booked, so that estimates may be wrong."""
        booked = reading.order - last.order
        if self.dimension == "requests" or booked <= 0:
            return
        before: float = last.remaining
        if self._rate is not None:
            if reading.used < 1:
                return
            before += (reading.sent_at - last.sent_at) * self._rate
            if self.amount is not None:
                before = min(before, self.amount)  # a bucket that is full takes no more in
        elif reading.earliest > last.latest + CLOCKS + 2 * reading.resolution:
            return  # another window
        self._taken.add(before - reading.remaining, booked)
