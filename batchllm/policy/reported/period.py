"""The way and the period in which a reported limit comes back, as its replies show them."""

from __future__ import annotations

from enum import StrEnum
from math import inf, sqrt
from typing import Final

from batchllm.policy.reported.burst import Burst
from batchllm.policy.reported.reading import COARSE, Reading

__all__ = ["CLOCKS", "Kind", "PeriodEvidence"]

CLOCKS: Final = 0.05
"""Seconds that two replies may differ by in the instant that both of them mean."""
_ALIKE: Final = 0.15
"""Share by which two measures of one period may differ."""
_SAME: Final = 0.05
"""Share by which two replies of a bucket may differ, beside what their rounding explains."""
_FADE: Final = 0.9
"""The weight of an older vote beside the one after it: about ten are remembered."""
_FADE_LONG: Final = 0.95
"""The weight for the period of a steady limit, whose readings may be coarse: twenty."""
_READINGS: Final = 1.9
"""Readings, fading, from which a steady period is measured: two."""
_UNSURE: Final = 0.3
"""Error of a steady period, as a share, up to which it is used: most are 0.01 at once, and one of
whole seconds and a period of one second is at 0.2 after twenty replies."""
_EXACT: Final = 0.1
"""Error up to which resets are the better measure than counting what comes back."""
_COUNTED: Final = 8
"""Units that have to come back before their rate is believed, to an eighth."""
_SHORTEST: Final = 0.8
"""Seconds over which they are counted at least; calls overtake each other by a tenth of one."""
_SLIDING: Final = 20
"""Replies before a limit counts as sliding, since that is what none of the others foretells."""


class Kind(StrEnum):
    """The way in which a limit comes back."""

    UNKNOWN = "unknown"
    STEADY = "steady"
    WINDOW = "window"
    SLIDING = "sliding"


class PeriodEvidence:
    """Finds kind and period of one limit. Live state; pure, ``now`` comes with the readings.

    Args:
        steady: Whether the provider documents that it refills all the time.

    Attributes:
        kind: How the limit comes back, as the last replies showed.
        longest: The longest reset so far; no kind has one beyond its period.
        burst: Units that a steady limit holds, if that is less than its amount.
        period: Seconds in which the whole amount comes back, ``None`` until replies have shown it.
        replies: How many were taken in.
    """

    __slots__ = (
        "_counted_from", "_line", "_measured", "_period", "_rate", "_scores", "_small", "_sums",
        "burst", "kind", "longest", "period", "replies",
    )  # fmt: skip

    def __init__(self, *, steady: bool = False) -> None:
        self.kind = Kind.STEADY if steady else Kind.UNKNOWN
        self.longest = 0.0
        self.burst: float | None = None
        self._line = Burst()
        self._small = False
        self.replies = 0
        self._scores = {Kind.STEADY: 0.0, Kind.WINDOW: 0.0, Kind.SLIDING: 0.0}
        self._sums = (0.0, 0.0, 0.0, 0.0)  # resets, shares used, readings, errors; all fading
        self._rate: float | None = None  # periods a second, if resets are too coarse
        self._counted_from: tuple[Reading, int] | None = None
        self._period: float | None = None  # of a window, or of a sliding one
        self._measured = 0
        self.period: float | None = None

    def _period_now(self) -> float | None:
        """Return the period that all replies so far show; kept, since every call asks for it."""
        if self.kind is not Kind.STEADY or self.burst is not None:
            return self._period
        resets, shares, readings, errors = self._sums
        error = sqrt(errors) / resets if resets > 0 and readings >= _READINGS else inf
        if self._rate is not None and error > _EXACT:
            return 1 / self._rate
        return resets / shares if error <= _UNSURE and shares > 0 else None

    @property
    def sure(self) -> bool:
        """Return whether replies agree on kind and period."""
        if self.kind is Kind.UNKNOWN or self.period is None:
            return False
        return self.kind is Kind.STEADY or self._measured >= 1

    def add(self, last: Reading | None, reading: Reading, sent: float, refused: int) -> None:
        """Take in a reply.

        Args:
            last: The reply to the call before it.
            reading: The reply.
            sent: What the calls between the two took, in the server's units.
            refused: Calls of the scope that were refused so far.
        """
        self.longest = max(self.longest, reading.reset or 0.0)
        self.replies += 1
        self._line.add(reading)
        self._judge_burst(reading.amount)
        if last is not None and not self._small:
            self._compare(last, reading, sent)
        if self.kind is Kind.SLIDING and self.replies >= _SLIDING and not self._line.possible:
            self._measured = 1
        self._measure_steady(reading)
        self._count(reading, refused)
        self.period = self._period_now()

    def add_window(self, gap: float) -> None:
        """Take in the seconds from the end of one window to that of a later one."""
        longest = self.longest
        if longest <= 0 or gap <= 0 or self.kind is Kind.SLIDING or self._line.possible:
            return
        period = gap / max(1, round(gap / longest))
        if abs(period - longest) <= _ALIKE * longest + 2 * CLOCKS:
            self._period = max(period, longest)
            self._measured += 1
        elif self._period is None and gap > longest:
            self._period = longest
        self.period = self._period_now()

    def _judge_burst(self, amount: int | None) -> None:
        """Take the limit for a bucket that holds less than *amount*, as long as replies say so.

        Replies that lie on the line of a bucket agree on no other kind, so that nothing is known
        as long as the line does not show the period.
        """
        before, self.burst = self.burst, None
        small = amount is not None and self._line.is_smaller_than(amount)
        period = self._line.period(amount) if small and amount else None
        if period is not None and amount:
            self.kind, self._period, self.burst = Kind.STEADY, period, self._line.holds(amount)
        elif before is not None or (self._line.sure and (small or self.kind is not Kind.STEADY)):
            self.kind, self._period, self._measured = Kind.UNKNOWN, None, 0
            self._scores = dict.fromkeys(self._scores, 0.0)
        # The reply that ends a line shows nothing beside those before it.
        self._small = small or (before is not None and self.burst is None)

    def _compare(self, last: Reading, reading: Reading, sent: float) -> None:
        """Vote for the one kind that foretold *reading*; if several did, nothing is learned."""
        if None in (last.amount, reading.amount, last.reset, reading.reset):
            return
        steady, window = self._fits_steady(last, reading), _fits_window(last, reading, sent)
        if (steady and window) or (self._line.possible and not steady):
            return
        fits = Kind.STEADY if steady else Kind.WINDOW if window else Kind.SLIDING
        for kind in self._scores:
            self._scores[kind] *= _FADE
        self._scores[fits] += 1
        best = max(self._scores, key=self._scores.__getitem__)
        if self._scores[best] >= 1 and best is not self.kind:
            self.kind = best
            self._measured = 0
            if best is Kind.SLIDING:
                self._period = self.longest

    def _fits_steady(self, last: Reading, reading: Reading) -> bool:
        before, after = last.steady, reading.steady
        if before is None or after is None:
            return True
        # A bucket that was once further from full than this has a longer period.
        if after[0] + after[1] < (1 - _ALIKE) * self.longest - reading.resolution:
            return False
        apart = abs(before[0] - after[0])
        return apart <= _SAME * max(before[0], after[0]) + before[1] + after[1]

    def _measure_steady(self, reading: Reading) -> None:
        if reading.reset is None or reading.steady is None:
            return
        share = reading.used / (reading.amount or 1)
        # A time that is cut to whole seconds is off by half of one, now more and now less.
        error = (reading.resolution / 2) ** 2 + (reading.reset * reading.slip) ** 2
        resets, shares, readings, errors = self._sums
        self._sums = (
            _FADE_LONG * resets + reading.reset,
            _FADE_LONG * shares + share,
            _FADE_LONG * readings + 1.0,
            _FADE_LONG * errors + error,
        )

    def _count(self, reading: Reading, refused: int) -> None:
        """Count what comes back, where resets of whole seconds are too coarse to show it."""
        if reading.resolution < COARSE or self.kind is not Kind.STEADY or not reading.amount:
            return
        since = self._counted_from
        if since is None or reading.remaining >= reading.amount - 1:
            self._counted_from = (reading, refused)  # what comes to a full bucket is not seen
            return
        first, refused_before = since
        sent = reading.order - first.order - (refused - refused_before)
        back, took = reading.remaining - first.remaining + sent, reading.sent_at - first.sent_at
        if back < _COUNTED or took < _SHORTEST:
            return
        rate = back / took / reading.amount
        self._rate = rate if self._rate is None else (self._rate + rate) / 2
        if back >= reading.amount:
            self._counted_from = (reading, refused)


def _fits_window(last: Reading, reading: Reading, sent: float) -> bool:
    margin = CLOCKS + last.resolution + reading.resolution
    if reading.earliest <= last.latest + margin and reading.latest >= last.earliest - margin:
        return True
    # Another window: then all was back, but for what was sent since.
    over = reading.at >= last.earliest - margin
    return over and reading.remaining >= (reading.amount or 0) - sent - 1
