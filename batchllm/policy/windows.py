"""The episodes of one scope, and the rate that those of a window show.

A bucket gives a call again as soon as it has refilled; a window gives nothing until it ends, and
then its whole amount. So what was accepted from one recovery to the next, over that time, is a
window's rate, as long as every window in between was used up. A recovery is known only to the gap
between the last canary that was refused and the one that was taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

from attrs import define, field, frozen

from batchllm.policy.send_log import Point, SendLog

__all__ = ["Episode", "Windows"]

_WINDOW_PAUSE: Final = 3.0
"""Seconds without acceptance from which on it was a window, and no bucket at its bottom."""
_SHORT: Final = 3.0
_ALONE: Final = 0.5
"""Seconds of a pause up to which it is cheap to probe at once, since those of windows are longer,
and below which a hint bound its call alone, and may have asked for any time."""
_LOOK_BACK: Final = 300.0
"""Seconds of whole windows that are measured together, so that a recovery that is known to a
quarter of a minute weighs little."""
_AT_LEAST: Final = 3
"""Windows that are looked back on, however long they are."""
_COUNTED: Final = 3
"""Windows between two recoveries up to which their number is sure, and so the length of one."""
_SEVERAL: Final = 1.5
"""Lengths between two recoveries from which on a window in between was not used up."""
_PER_WINDOW: Final = 0.75
"""Lengths of a window that a probe takes at least; half of the longest pause if none is known."""


@frozen(kw_only=True)
class Episode:
    """One time that the quota ran out, from the first refusal to where calls were taken again.

    Attributes:
        begun: The first call that was refused.
        empty: The last call that was refused, canaries included.
        back: Where the quota came back: between the last refused canary and the accepted one.
        taken_at: When the accepted canary was sent; ``None`` if there was none.
        leak: Whether the server refused single calls only, and never all of them.
        single: Whether it refused just one.
        canaries: How many canaries were refused.
        hinted: Whether the server said how long to wait.
        taken: Of a leak, the share that was taken at least of what was sent from the first refused
            call on.
    """

    begun: Point
    empty: Point
    back: Point
    leak: bool
    taken_at: float | None = None
    single: bool = True
    canaries: int = 0
    hinted: bool = False
    taken: float = 0.0

    @property
    def refusals(self) -> int:
        """Number of calls that were refused at least."""
        return 1 + self.canaries

    @property
    def pause(self) -> float:
        """Seconds without acceptance."""
        return self.back.at - self.begun.at

    @property
    def is_window(self) -> bool:
        """Return whether the quota came back too late for a bucket's."""
        return not self.leak and (self.pause > _WINDOW_PAUSE or self.canaries > 0)

    @property
    def is_cheap(self) -> bool:
        """Return whether another refusal like it would cost the scope little."""
        return self.pause <= _SHORT and not (self.hinted and self.pause < _ALONE)


@define(eq=False)
class Windows:
    """The length of a scope's window and the rate that whole windows show. Live state.

    Args:
        log: What the scope sent, and what was refused of it.
    """

    log: SendLog
    _length: float = field(default=inf, init=False)
    _longest_pause: float = field(default=0.0, init=False)

    @property
    def shortest_probe(self) -> float:
        """Seconds from a cut back to the rate at least: only a window's end shows its excess."""
        known = 0.0 if self._length == inf else _PER_WINDOW * self._length
        return max(known, self._longest_pause / 2)

    def on_episode(self, episode: Episode) -> None:
        """Note an episode that is to be remembered: a window is no shorter than its pause."""
        if episode.is_window:
            self._longest_pause = max(self._longest_pause, episode.pause)

    def rate(self, before: Iterable[Episode], now: Episode, probed: float) -> float | None:
        """Return the rate over whole windows up to the recovery of *now*.

        Args:
            before: The episodes before it, oldest first.
            now: One whose quota was a window's.
            probed: The rate that is known to be allowed at least, if a window was not used up.

        Returns:
            Calls per second; ``None`` if no recovery of a window is known before.
        """
        back, windows = now.back, [each for each in before if each.is_window]
        if not windows:
            return None
        since = back.at - windows[-1].back.at
        self._measure(since)
        look_back = max(_LOOK_BACK, _AT_LEAST * self._length)
        first = next((e for e in windows if e.back.at >= back.at - look_back), windows[-1])
        begin = first.back
        if len(windows) == 1 and first.taken_at is not None:
            # Too high a rate is mended at the end of the next window; too low a one is not seen.
            begin = Point(first.taken_at, begin.mark)
        _, rate = self.log.measure(begin, back)
        if since <= _SEVERAL * self._length:
            return rate
        # Only the last one was used up: its length shows what it gave.
        _, given = self.log.measure(self.log.point(back.at - self._length), back)
        return max(rate, given, probed)

    def _measure(self, since: float) -> None:
        """Take the time between two recoveries for a whole number of windows."""
        count = 1 if self._length == inf else max(1, round(since / self._length))
        if count <= _COUNTED:
            self._length = since / count
