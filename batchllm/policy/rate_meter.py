"""The rates that the record of a scope shows: what was accepted between two points, over that time.

A bucket's rate shows from one moment when nothing was left to the next, a window's from one
recovery to the next. Which of them counts, and what becomes of the pace, is for the quota search.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import define, field

from batchllm.policy.send_log import SHORTEST, Point, SendLog
from batchllm.policy.windows import Episode

__all__ = ["ENOUGH", "LOOK_BACK", "MINUTE", "RateMeter"]

ENOUGH: Final = 30
"""Accepted calls from which a measured rate is within one part in thirty: a bucket that was at its
bottom twice has accepted its rate in between, to one call."""
LOOK_BACK: Final = 300.0
"""Seconds that a rate is measured over at most."""
MINUTE: Final = 60.0
"""Seconds of the period that most quotas have."""
_EPISODES: Final = 32
"""Episodes that are remembered, so that thirty calls can be measured even if each was the last."""


@define(eq=False)
class RateMeter:
    """The episodes of one scope, and the rates between them in calls per second. Live state.

    Args:
        log: What the scope sent, and what was refused of it.

    Attributes:
        since: From where a first rate is measured: a pause before it was no quota's.
        episodes: The last ones, oldest first; each is added when it has been measured.
    """

    log: SendLog
    since: Point | None = None
    episodes: deque[Episode] = field(factory=lambda: deque[Episode](maxlen=_EPISODES), init=False)

    def first(self, episode: Episode) -> tuple[int, float]:
        """Measure from the first send, or from where the quota came back before.

        Returns:
            How many calls were accepted, and their rate.
        """
        first = self.episodes[-1].back if self.episodes else self.log.first or episode.begun
        if self.since is not None and self.since.at > first.at:
            first = self.since
        begin = self.log.point(max(first.at, episode.begun.at - MINUTE))
        end = episode.empty if episode.canaries else episode.back
        if episode.taken:  # calls were taken all along, and none was sent while it was judged
            end = self.log.now(self.log.last_at)
        return self.log.measure(begin, end)

    def between_empties(self, episode: Episode, look_back: float) -> tuple[int, float]:
        """Measure a bucket, up to where *episode* found nothing left.

        Args:
            episode: The present one.
            look_back: Seconds that are measured at most.

        Returns:
            How many calls were accepted, and their rate.
        """
        return self._since([each.empty for each in self.episodes], episode.empty, look_back)

    def between_returns(self, episode: Episode, look_back: float) -> float:
        """Return the rate of a window, over *look_back* seconds at most before it came back."""
        return self._since([each.back for each in self.episodes], episode.back, look_back)[1]

    def at_most(self, episode: Episode, look_back: float) -> float:
        """Bound a leak: after a few calls it shows no less than two calls more would have."""
        if self.episodes:
            last = self.episodes[-1].empty
        else:
            last = self.log.point(episode.empty.at - look_back)
        few, _ = self.log.measure(last, episode.empty)
        return (few + 2) / max(SHORTEST, episode.empty.at - last.at)

    def has_minute(self, episode: Episode) -> bool:
        """Return whether the first send was a minute before *episode* at least."""
        first = self.log.first
        return first is not None and episode.begun.at - first.at >= MINUTE

    def minute_before(self, episode: Episode) -> float:
        """Return the rate over the minute before *episode* began.

        Or since the first send, or the recovery of a window: in a pause nothing was asked for.
        """
        first = self.log.first or episode.begun
        since = max(first.at, episode.begun.at - MINUTE)
        if self.episodes and self.episodes[-1].is_window:
            since = max(since, self.episodes[-1].back.at)
        return self.log.measure(self.log.point(since), episode.begun)[1]

    def _since(self, points: list[Point], end: Point, look_back: float) -> tuple[int, float]:
        """Measure from the last of *points* from which on enough was accepted, to *end*."""
        begin = self.log.point(end.at - look_back)
        for point in reversed(points):
            if point.at < begin.at:
                break
            if self.log.accepted(point, end) >= ENOUGH:
                return self.log.measure(point, end)
        else:
            if points:
                begin = points[0]  # all that is known
        return self.log.measure(begin, end)
