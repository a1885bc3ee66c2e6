"""The pace against a quota that was neither declared nor reported.

The server itself shows its quota: what it accepts from the moment when nothing was left to the
next such moment, over that time, is a token bucket's rate; what it accepts from one recovery to
the next, over that time, is a window's. The pace starts a little below the rate so measured, stays
near it, and rises ever faster (the curve of CUBIC, RFC 9438, with a much smaller dent), so that
a quota that grew is found within minutes and one that did not costs one refusal in a while.
"""

from __future__ import annotations

from math import inf
from typing import Final

from attrs import define, field

from batchllm.policy.learned import Learned
from batchllm.policy.probing import Probing
from batchllm.policy.rate_meter import ENOUGH, LOOK_BACK, MINUTE, RateMeter
from batchllm.policy.send_log import SendLog
from batchllm.policy.windows import Episode, Windows

__all__ = ["SLACK", "Episode", "QuotaSearch"]

_DENT: Final = 0.02
"""Share by which a cut goes below the rate: a bucket that stands at nothing is a dent of 2k
seconds deep full again; 1 % costs more episodes, 4 % more use (each measured)."""
_ROW: Final = 10.0
"""Seconds without a refusal that end a row of cuts; the time of thirty calls if that is more, 1.5k
if that is less: a sliding window refuses sooner while it counts what was sent too fast."""
_ROW_K: Final = 1.5
_RISING: Final = 1.1
"""Times the rate from which on only the last minute is looked back on, since the quota rose."""
_ASKED: Final = 0.8
"""Share of the time since the last cut that has to be paced for a window to be fully asked for."""
_ROSE: Final = 1.25
"""Times the rate from which on a pace that was taken shows that the quota rose meanwhile."""
_FEW_CALLS: Final = 8
"""Calls that k spans at least; thirty once a rate is measured from so many, since fewer calls at
a pace that is 2 % higher do not meet the end of a bucket."""
_FLOOR: Final = 0.85
"""A leak lowers the pace by 15 % at most: a chance second refusal must not halve it, and a quota
that did halve is found within five."""
_FIRST_FLOOR: Final = 0.5
"""Such a share before anything sure was measured: a first estimate may be far too high."""
_BURST_FLOOR: Final = 0.1
"""Such a share if several calls were refused, which is no chance: it was a full bucket's burst."""
_EASED: Final = 0.99
"""Share of the pace that stays at most where a refusal shows no other rate."""
_EASED_EARLY: Final = 0.96
"""Such a share for an early refusal of a window: not even the rate before it is allowed."""
_MINUTE_EARLY: Final = 0.2
"""Share of the way from what an early leak shows to the rate of the minute before it."""
SLACK: Final = 0.02
"""Seconds that a late start may make up for, so that a loop that wakes late keeps the pace."""
_FEW_ACCEPTED: Final = 3
"""Accepted calls below which a first episode shows only that others had used the quota up:
a rate of none or two in the time to its return would take an hour to grow back."""
_SLOWEST: Final = 1 / 20
"""Calls a second: below one in 20 s nothing is learned within the patience of a user."""
_UNDONE: Final = 30
"""Calls without a refusal that undo a guess which a lone one led to: a bucket that gives less than
the pace is empty by then, and chance of 1 % refuses one of thirty in a quarter of cases."""
_EMPTY_K: Final = 2.0
"""Times k from which on a refusal is a quota's: a bucket of just the rate is empty again there."""


@define(eq=False)
class QuotaSearch:
    """Finds the pace of one undeclared limit on calls. Live state, for one clock.

    Args:
        log: What the scope sent, and what was refused of it.
        learned_before: Where an earlier run stood.
        slack: Seconds that a late start may make up for.

    Attributes:
        rate: Calls per second that the server was measured to accept; ``None`` while unknown.
        sure: Whether the last measurement was of enough calls, and taken as it was.
        calls_since: Calls since the last cut.
        confirmed: Whether it gave the rate that was known before.
    """

    log: SendLog
    learned_before: Learned | None = None
    slack: float = SLACK
    rate: float | None = field(default=None, init=False)
    sure: bool = field(default=False, init=False)
    confirmed: bool = field(default=False, init=False)
    calls_since: int = field(default=0, init=False)
    _at: float = field(default=-inf, init=False)
    _paced: float = field(default=0.0, init=False)
    _k_now: float = field(init=False)
    _doubted: float = field(default=_SLOWEST, init=False)
    _k_doubted: float = field(default=0.0, init=False)
    _cut_at: float = field(default=0.0, init=False)
    _trusted: float = field(default=0.0, init=False)
    _guessed_from: float = field(default=0.0, init=False)
    _known: bool = field(default=False, init=False)
    _probing: Probing = field(factory=Probing, init=False)
    _meter: RateMeter = field(init=False)
    _windows: Windows = field(init=False)
    _learned_at: float | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._meter = RateMeter(self.log)
        self._windows = Windows(self.log)
        if self.learned_before is not None and self.learned_before.rate > 0:
            self.rate = self._trusted = self.learned_before.rate
            self._probing.resume(self.rate)
        self._k_now = self._probing.k

    @property
    def episodes(self) -> int:
        """Number of episodes that are remembered."""
        return len(self._meter.episodes)

    # -- the pace ----------------------------------------------------------------------------

    @property
    def pace(self) -> float | None:
        """Calls per second that may start now."""
        if self.rate is None:
            return None
        away = (self._paced - self._k_now) / self._k_now
        return max(_SLOWEST, self.rate * (1 + _DENT * away * away * away))

    @property
    def early(self) -> bool:
        """Return whether a refusal now comes before the pace is back at the rate."""
        return self._paced < self._k_now

    @property
    def too_soon(self) -> bool:
        """Return whether a refusal now comes sooner than a quota refuses that was measured right.

        One that settled and is refused between k and 1.5k has moved, or others share it.
        """
        return self._paced < self._k_now * (1.0 if self._probing.settled else _ROW_K)

    def next_time(self, now: float) -> float:
        """Return the earliest instant for the next start at the present pace."""
        return now if self._at <= now else self._at

    def on_send(self, now: float) -> None:
        """Note a start. Time counts as paced only while calls are sent."""
        pace = self.pace
        if pace is not None:
            self._at = max(self._at, now - self.slack) + 1 / pace
            self._paced += 1 / pace
            self.calls_since += 1
            if self._guessed_from and self.calls_since >= _UNDONE:
                self._raise(self._guessed_from)
                self._guessed_from = 0.0

    def on_unsent(self) -> None:
        """Take back the last start, which never left, so that another call may go in its place."""
        pace = self.pace
        if pace is not None and self.calls_since:
            self._at -= 1 / pace
            self.calls_since -= 1

    def delay(self, until: float) -> None:
        """Keep the next start from coming before *until*."""
        self._at = max(self._at, until)

    @property
    def probe(self) -> float:
        """Seconds of paced time from the last cut back to the rate."""
        return self._k_now

    # -- measuring ---------------------------------------------------------------------------

    def learn(self, episode: Episode, now: float, *, forgiving: bool = False) -> None:
        """Measure the rate again after *episode*, and start below it.

        Args:
            episode: What happened.
            now: When it ended.
            forgiving: Whether refusals were forgiven before this one, so that the quota was used
                up when it came.
        """
        old, pace = self.rate, self.pace
        lone = episode.leak and episode.single
        guessed = not (self._known or self._probing.settled)
        trusted = old is None or not lone or self._paced >= _EMPTY_K * self._k_now
        self._guessed_from = 0.0
        if old is None or pace is None:
            accepted, rate = self._meter.first(episode)
            if not accepted or (accepted < _FEW_ACCEPTED and not self.episodes):
                self._meter.episodes.append(episode)
                return
            self.rate = max(_SLOWEST, rate)
            self.sure = self.confirmed = False
            mostly_pause = episode.pause > accepted / rate / 2
            too_low = mostly_pause and not (episode.canaries or episode.is_window)
            self._probing.begin(self.rate, guessed=too_low)
        else:
            if self._paced > min(_ROW_K * self._k_now, max(_ROW, ENOUGH / old)):
                # A pace far above the rate was taken until now: the quota rose, and falls again.
                self._probing.remember(pace if pace > _ROSE * old else old)
            self.rate = max(_SLOWEST, min(pace, self._seen(episode, pace, forgiving=forgiving)))
            self.confirmed = self._probing.on_rate(self.rate)
            if guessed and not (trusted or self.sure):
                self._guessed_from = pace
            if not (episode.single or self._known) and self.rate < _FIRST_FLOOR * pace:
                self._probing.restart()
            elif self.early and not (self.confirmed or self._known) and episode.is_cheap:
                # What is left of the first burst in a sliding window refuses at any pace, so that
                # a few calls right after it show no rate: 5.8/s of 12, kept for 15 s.
                self._probing.guess()
        if trusted:
            self._trusted = self.rate
        self._windows.on_episode(episode)
        least = (ENOUGH if self.sure else _FEW_CALLS) / self.rate
        k = self._probing.seconds(self.rate, least, episode, confirmed=self.confirmed)
        self._k_now = max(k, self._windows.shortest_probe)
        self._meter.episodes.append(episode)
        self._learned_at = now
        self._cut(now)

    def keep(self, rate: float, now: float) -> None:
        """Go on at *rate*, and leave it soon, since what lowered it may have been noise."""
        assert self.rate is not None
        self._doubted, self._k_doubted = self.rate, self._k_now
        self._guessed_from = 0.0
        self.rate = rate
        self.sure = True
        self._probing.doubt()
        self._k_now = max(self._probing.k, _FEW_CALLS / rate)
        self._cut(now)

    def go_back(self) -> None:
        """Take back the last *keep*, since it was no noise."""
        self.rate, self._k_now = self._doubted, self._k_doubted
        self._probing.go_back()

    def take_back(self) -> None:
        """Take back what lone refusals did to a rate that never settled, since noise is proven."""
        if not self._probing.settled:
            self._raise(self._trusted)

    def _raise(self, rate: float) -> None:
        """Go on from *rate* if that is faster, since what was accepted shows that it may be."""
        if (1 - _DENT) * rate > (self.pace or 0.0):
            self.rate = rate
            self._paced = 0.0

    def pass_over(self, episode: Episode) -> None:
        """Measure a first rate from the end of *episode* on, which was an overload.

        Nothing was asked for meanwhile. nginx refuses above its cap with a 503 and above its rate
        with a 429: measured from the first send, 20 a second were taken for 7.65.
        """
        taken = episode.back.at if episode.taken_at is None else episode.taken_at
        self._meter.since = self.log.point(taken)

    def skip(self, episode: Episode) -> None:
        """Learn nothing from *episode*, but measure the next one from here."""
        self._guessed_from = 0.0
        self._meter.episodes.append(episode)

    def _cut(self, now: float) -> None:
        assert self.rate is not None
        self._paced = 0.0
        self._cut_at = now
        self.calls_since = 0
        # A bucket that stands at nothing gets a token of air, else the next call meets it empty.
        self._at = now + min(2 / self.rate, 1 / _SLOWEST)

    def _seen(self, episode: Episode, pace: float, *, forgiving: bool) -> float:
        """Return the rate that *episode* shows, with the bounds that its kind sets."""
        assert self.rate is not None
        look_back = MINUTE if pace > _RISING * self.rate else LOOK_BACK
        accepted, bucket = self._meter.between_empties(episode, look_back)
        seen = max(bucket, self._meter.between_returns(episode, look_back))
        self.sure = accepted >= ENOUGH
        # A rate that the pace has left behind is no first estimate any more.
        self._known = self._known or pace > _ROSE * self.rate
        whole = None
        if episode.is_window:
            late = min(_EASED * pace, 1.01 * self.rate)
            probed = _EASED_EARLY * pace if self.early else late
            whole = self._windows.rate(self._meter.episodes, episode, probed)
            seen = self._window_seen(episode, pace, whole or seen)
        elif episode.leak:
            # A spent quota may be a window whose pause is too short now to show it: its refusals
            # come later in each, so that more than a window lies from one to the next.
            seen = min(seen, self._meter.at_most(episode, look_back))
        seen = self._at_least(seen, self._floor(episode, pace, whole=whole is not None))
        if whole is None and (not forgiving or look_back == MINUTE):
            least = self._minute_floor(seen, episode, pace)
            seen = max(seen, least) if self.early else self._at_least(seen, least)
        self._known = self._known or self.sure
        return seen

    def _minute_floor(self, seen: float, episode: Episode, pace: float) -> float:
        """Return the least that the minute before *episode* shows, beside what was *seen*.

        The minute is exact for a window of up to a minute, and above the rate of a bucket. A
        quota that was not used up measures what was sent, not what is allowed; and a sliding
        window gives back in each second what was sent a minute ago, slow stretches as well: a pace
        that followed them down would have them come back for ever.
        """
        assert self.rate is not None
        minute = self._meter.minute_before(episode)
        if self.early and not self._meter.has_minute(episode):
            return 0.0  # the burst of the start is a part of what was accepted until now
        if self.early:
            least = seen + _MINUTE_EARLY * (minute - seen)
        else:
            least = max(min(1.01 * self.rate, minute), (seen + minute) / 2)
        return min(_EASED * pace, least)

    def _window_seen(self, episode: Episode, pace: float, seen: float) -> float:
        """Return *seen*, or what the minute before shows if a hint was longer than needed."""
        if not episode.hinted or episode.canaries:
            return seen
        share = _EASED_EARLY if self.early else _EASED
        return max(seen, min(self._meter.minute_before(episode), share * pace))

    def _floor(self, episode: Episode, pace: float, *, whole: bool) -> float:
        """Return the least that an episode may show.

        Neither a chance second refusal nor a stretch without items may bring the pace down; whole
        windows of which all was asked for need no such bound.
        """
        assert self.rate is not None
        chance = episode.single or episode.is_window
        floor = (_FLOOR if self._known else _FIRST_FLOOR if chance else _BURST_FLOOR) * pace
        floor = max(floor, episode.taken * pace)  # whatever was refused, so much was taken
        if not whole:
            return floor
        asked = self._paced >= _ASKED * (episode.begun.at - self._cut_at)
        return 0.0 if asked else min(floor, _FLOOR * self.rate)

    def _at_least(self, seen: float, least: float) -> float:
        if seen >= least:
            return seen
        self.sure = False
        return least

    # -- memory ------------------------------------------------------------------------------

    def learned(self, now: float) -> Learned | None:
        """Return what to hand to the next run; ``None`` while nothing was found."""
        if self.rate is None or self._learned_at is None:
            return None
        return Learned(rate=self.rate, age=now - self._learned_at)
