"""The search for a quota that nobody told: a bracket with memory.

``lo`` is the highest pace that is proven, ``hi`` the lowest that was refused. Between refusals the
server itself tells the quota: what it accepts from the moment when nothing was left to the next
such moment, over that time, is a token bucket's rate; what it accepts from one recovery to the
next, over that time, is a window's. The pace goes to that number, is raised only after a trial in
which it was really used, and probes beyond it ever more rarely.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from math import inf, sqrt
from typing import Final

from attrs import define, frozen

__all__ = ["Learned", "QuotaSearch"]

_TOLERANCE: Final = 0.02
_BIN: Final = 0.25
_FIRST_STEP: Final = 0.015
_LARGEST_STEP: Final = 0.5
_PROBE_AFTER: Final = 60.0
_PROBE_LATEST: Final = 1800.0
_CLIMB: Final = 1.1
_CLIMB_EVERY: Final = 2.0
_USED: Final = 0.9
_PROMPT: Final = 3.0
_ENOUGH: Final = 60
_ANCHORS: Final = 8


@frozen(kw_only=True)
class Learned:
    """What one run found out about a quota and the next may start from.

    Attributes:
        lo: The highest proven pace, units per second.
        hi: The lowest pace that was refused; ``inf`` where none was.
        age: Seconds since this was last confirmed.
    """

    lo: float
    hi: float
    age: float = 0.0


@frozen
class _Point:
    """An instant, and the units that had been sent before it."""

    at: float
    mark: int


@frozen
class _Anchor:
    """The end of an episode: the last refusal, and the first call accepted after it."""

    empty: _Point
    recovery: _Point


@define(eq=False)
class _Refusal:
    sent_at: float
    mark: int
    units: int


class QuotaSearch:
    """Finds the pace of one undeclared limit. Live state, for one dimension and one clock.

    Args:
        window: The longest window that the server is thought to use, seconds.
        learned: Where an earlier run stood.
    """

    __slots__ = (
        "_anchors", "_at", "_bins", "_climbing", "_confirmed", "_episode",
        "_first_send", "_last_episode", "_leftovers", "_probe_every", "_probing", "_proven",
        "_refusals", "_sent", "_step", "_trial_from", "_trial_mark", "_window", "_windowed",
        "hi", "lo", "moved", "pace",
    )  # fmt: skip

    def __init__(self, *, window: float = 60.0, learned: Learned | None = None) -> None:
        self._window = window
        self.pace: float | None = None
        self.lo = 0.0
        self.hi = inf
        self.moved = False
        self._at = -inf
        self._sent = 0
        self._bins: deque[tuple[float, int]] = deque()
        self._refusals: deque[_Refusal] = deque()
        self._first_send: float | None = None
        self._episode: _Point | None = None
        self._last_episode = -inf
        self._anchors: deque[_Anchor] = deque(maxlen=_ANCHORS)
        self._windowed = False
        self._climbing = False
        self._proven = False
        self._leftovers = 0
        self._probing = False
        self._step = _FIRST_STEP
        self._probe_every = _PROBE_AFTER
        self._trial_from = -inf
        self._trial_mark = 0
        self._confirmed: float | None = None
        if learned is not None and learned.lo > 0:
            self.pace = self.lo = 0.9 * learned.lo
            self.hi = max(self.lo, learned.hi)

    # -- admission ---------------------------------------------------------------------------

    def next_time(self, now: float) -> float:
        """The earliest instant for the next start at the present pace."""
        return now if self._at <= now else self._at

    def on_send(self, now: float, units: int = 1) -> int:
        """Note a start of *units*; returns its mark, to be handed back if it is refused."""
        mark = self._sent
        bins = self._bins
        if not bins or now >= bins[-1][0] + _BIN:
            self._new_bin(now, mark)
        self._sent = mark + units
        if self.pace is not None:
            if now >= self._trial_from + self._trial_length():
                self._end_trial(now)
            self._at = max(self._at, now - _TOLERANCE) + units / self.pace
        return mark

    def _new_bin(self, now: float, mark: int) -> None:
        if self._first_send is None:
            self._first_send = self._trial_from = now
        self._bins.append((now, mark))
        while len(self._bins) > 2 and self._bins[1][0] < now - 4 * self._window:
            self._bins.popleft()

    # -- refusals ----------------------------------------------------------------------------

    def isolated(self, sent_at: float) -> bool:
        """Whether a refusal of a call sent at *sent_at* is noise on a quota that is known."""
        if self.pace is None or not self._proven or self.pace * self._window < 300:
            return False
        if any(abs(other.sent_at - sent_at) <= 1.0 for other in self._refusals):
            return False
        since = [each for each in self._refusals if each.sent_at >= self._trial_from]
        return len(since) + 1 <= max(1.0, 0.003 * (self._sent - self._trial_mark))

    def on_refused(self, sent_at: float, mark: int, units: int = 1) -> None:
        """Note that what was sent at *sent_at* was not accepted."""
        self._refusals.append(_Refusal(sent_at, mark, units))
        while self._refusals[0].sent_at < sent_at - 4 * self._window:
            self._refusals.popleft()

    def on_release(self, mark: int, units: int) -> None:
        """Forget a call that never left."""
        self._sent = max(mark, self._sent - units)

    def on_episode(self, sent_at: float, mark: int) -> None:
        """Note that the quota ran out: the call sent at *sent_at* was the first to be refused."""
        self._episode = _Point(sent_at, mark)

    def on_canary(self, now: float) -> None:
        """Keep a double distance after a canary: what it took may be all that there is."""
        if self.pace is not None:
            self._at = max(self._at, now + 2 / self.pace)

    def on_resume(self, now: float, sent_at: float, mark: int) -> None:
        """Take up the pace again: the call sent at *sent_at* was accepted after an episode."""
        if self._episode is None or self._first_send is None:
            return
        back = _Point(sent_at, mark)
        episode, self._episode = self._episode, None
        if self._is_noise(episode):
            return
        start = self._point(max(self._first_send, episode.at - self._window))
        last = self._anchors[-1] if self._anchors else _Anchor(start, start)
        self._windowed = self._windowed or back.at - episode.at > _PROMPT
        before = self.lo, self.hi, self.pace
        if self.pace is None:
            self.pace = self._first_estimate(start, episode, back)
        elif self._probing:
            self._probing = False
            self.hi = max(min(self.hi, self.pace), self.lo)
            self.pace = self.lo
            self._step = _FIRST_STEP
            self._probe_every = min(_PROBE_LATEST, 2 * self._probe_every)
        elif self._proven:
            self._narrow(last.empty, episode)
        else:
            self._estimate(start, episode, back)
        final = max(self._refusals, key=lambda each: each.mark)
        self._anchors.append(_Anchor(_Point(final.sent_at, final.mark), back))
        self._last_episode = episode.at
        self._confirmed = sent_at
        self._at = max(sent_at + 2 / self.pace, now + 1 / self.pace)
        self._start_trial(now)
        self.moved = before != (self.lo, self.hi, self.pace)

    def _is_noise(self, episode: _Point) -> bool:
        """Whether a first refusal, a single one, says too little to put a pace on it.

        A real quota refuses again as soon as it has run out again, and then with more to measure.
        """
        if self.pace is not None or self._last_episode > episode.at - 1.1 * self._window:
            return False
        self._last_episode = episode.at
        return len(self._refusals) == 1

    def _first_estimate(self, start: _Point, episode: _Point, now: _Point) -> float:
        low, high = self._rate(start, now), self._rate(start, episode)
        self.lo, self.hi = low / 2, max(low, high)
        # A bucket recovers at once and then only the pace tells; a window needs a whole one.
        self._climbing = not self._windowed
        return low

    def _estimate(self, start: _Point, episode: _Point, now: _Point) -> None:
        """Before anything is proven: what was accepted between episodes is the quota."""
        assert self.pace is not None
        self._climbing = False
        anchor = self._anchor(start, episode)
        bucket = self._rate(anchor.empty, episode)
        window = min(bucket, self._rate(anchor.recovery, now))
        accepted = self._accepted(anchor.empty, episode)
        estimate = bucket if window > 0.9 * bucket else window
        estimate *= 1 - max(0.003, min(0.05, 0.5 / accepted))
        floor = (0.85 if self._windowed else 0.5) * self.pace
        # What an earlier burst left behind refuses any pace: then the refusal is no upper bound.
        if not self._windowed or episode.at - self._anchors[-1].recovery.at >= self._window / 2:
            self.hi = min(self.hi, self.pace)
        self.pace = min(self.pace, max(estimate, floor))
        self.hi = max(self.hi, self.pace)
        self.lo = min(self.pace, max(0.97 * window, self.lo if self.lo < window else 0.0))

    def _anchor(self, start: _Point, episode: _Point) -> _Anchor:
        """The latest anchor that lies far enough back to measure from."""
        span = 0.75 * self._window if self._windowed else 0.0
        for anchor in reversed(self._anchors):
            if (
                episode.at - anchor.empty.at >= span
                and self._accepted(anchor.empty, episode) >= _ENOUGH
            ):
                return anchor
        return _Anchor(start, start) if self._windowed else self._anchors[0]

    def _narrow(self, empty: _Point, episode: _Point) -> None:
        """A proven bracket was refused inside, or below: the quota fell."""
        assert self.pace is not None
        pace = self.pace
        since = episode.at - self._last_episode
        if pace <= self.lo * (1 + 1e-9):
            if since < 1.1 * self._window and self._leftovers < 2:
                self._leftovers += 1  # the server still counts what was sent above this pace
                return
            self.lo = pace * (0.985 if since >= 3 * self._window else self._fall(empty, episode))
            self.hi = pace
        self.hi = min(self.hi, pace)
        if episode.at - empty.at >= 1.5 * self._window:
            rho = self._rate(empty, episode)
            self.lo = max(self.lo, min(0.985 * rho, 0.99 * self.hi))
            self.pace = max(self.lo, min(0.997 * rho, 0.997 * self.hi))
        else:
            self.pace = sqrt(self.lo * self.hi)
        if self.hi < self.lo * (1 + self._epsilon()):
            self.pace = self.lo
        self.pace = min(pace, self.pace)

    def _fall(self, empty: _Point, episode: _Point) -> float:
        """By how much the quota seems to have fallen."""
        assert self.pace is not None
        if self._accepted(empty, episode) < _ENOUGH / 2:
            return 0.8
        return min(0.985, max(0.5, self._rate(empty, episode) / self.pace))

    # -- trials ------------------------------------------------------------------------------

    def _trial_length(self) -> float:
        if self._climbing:
            return _CLIMB_EVERY
        assert self.pace is not None
        if self.hi > 1.12 * self.lo and self.pace * self._window >= 1500:
            return self._window / 4 + 2
        return 1.15 * self._window + 2

    def _end_trial(self, now: float) -> None:
        """Raise the pace after a trial that was clean and used what it was allowed."""
        assert self.pace is not None
        length = now - self._trial_from
        used = (self._sent - self._trial_mark) / length
        clean = not any(each.sent_at >= self._trial_from for each in self._refusals)
        if self._episode is None and clean and used >= _USED * self.pace:
            before = self.lo, self.hi, self.pace
            self._raise(now)
            self._confirmed = now
            self.moved = self.moved or before != (self.lo, self.hi, self.pace)
        self._start_trial(now)

    def _raise(self, now: float) -> None:
        assert self.pace is not None
        if self._climbing:
            self.pace *= _CLIMB
            self.hi = max(self.hi, self.pace)
            return
        self._proven = True
        self._leftovers = 0
        self.lo = max(self.lo, self.pace)
        self.hi = max(self.hi, self.lo)
        if self._probing:
            self._step = min(_LARGEST_STEP, 2 * self._step)
            self._probe()
        elif self.hi >= self.lo * (1 + self._epsilon()):
            middle = (self.lo + self.hi) / 2 if self.hi < 1.3 * self.lo else sqrt(self.lo * self.hi)
            self.pace = middle if self.hi < inf else self.lo * (1 + _LARGEST_STEP)
        elif now - self._last_episode >= max(self._probe_every, 600 / self.pace):
            self._probing = True
            self._probe()
        else:
            self.pace = self.lo

    def _probe(self) -> None:
        self.pace = self.lo * (1 + self._step)
        self.hi = max(self.hi, self.pace)

    def _start_trial(self, now: float) -> None:
        self._trial_from = now
        self._trial_mark = self._sent

    def _epsilon(self) -> float:
        return max(0.01, 0.7 / max(1.0, self.lo * self._window))

    # -- measuring ---------------------------------------------------------------------------

    def _accepted(self, begin: _Point, end: _Point) -> int:
        refused = sum(each.units for each in self._refusals if begin.mark <= each.mark < end.mark)
        return max(1, end.mark - begin.mark - refused)

    def _rate(self, begin: _Point, end: _Point) -> float:
        return self._accepted(begin, end) / max(end.at - begin.at, 0.05)

    def _point(self, when: float) -> _Point:
        at = bisect_left(self._bins, when, key=lambda each: each[0])
        return _Point(*self._bins[at]) if at < len(self._bins) else _Point(when, self._sent)

    # -- memory ------------------------------------------------------------------------------

    def learned(self, now: float) -> Learned | None:
        """What to hand to the next run; ``None`` while nothing was found."""
        if self._confirmed is None or self.pace is None:
            return None
        lo = self.lo if self._proven else self.pace
        return Learned(lo=lo, hi=max(lo, self.hi), age=now - self._confirmed)
