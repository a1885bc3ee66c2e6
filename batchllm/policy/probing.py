"""The time between two probes of a quota: *k*, in which a pace comes back to the measured rate.

A probe is the stretch above the rate that ends with a refusal, if the quota did not grow. It is as
rare as it is dear, ever rarer while the rate stays, and soon again once it has moved.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen

from batchllm.policy.windows import Episode

__all__ = ["Probing", "Stretch"]

_FIRST_K: Final = 5.0
_GUESSED_K: Final = 1.0
"""The first k where most of what was measured is a pause that was long enough at once: the quota
was back some time before, so that the rate is too low by any factor. It doubles in 5 s, not 23."""
_LONGEST_K: Final = 120.0
"""Seconds from a cut back to the rate: one episode costs about two refusals and comes once in
2k seconds, so 120 s bound them to 0.1 % at 10 calls/s."""
_RESTLESS_K: Final = 15.0
"""The longest k right after the quota moved: what moved once moves again."""
_SETTLED_K: Final = 10.0
"""The shortest one from then on."""
_DOUBTED_K: Final = 2.5
"""The k while it is open if refusals were noise: they may have held the pace down by any factor."""
_MOVED: Final = 0.10
"""Share by which a rate has to change to count as moved, and not as the scatter of measuring."""
_PER_PAUSE: Final = 12.0
"""k is at least so many pauses, so that a probe that costs a pause loses at most 1/24."""
_PER_REFUSAL: Final = 100
"""Calls that k spans for each refusal of an episode: a window that is found by six canaries costs
six in 2k seconds, which are 0.5 % so."""
_MANY_CALLS: Final = 400
"""Calls that the longest k spans at least; it is stretched for slow paces: at 30 a minute 240 s
are 120 calls, of which two refused are 1.7 %."""


@frozen
class Stretch:
    """The rate and the pace of probing before a row of cuts."""

    rate: float
    k: float
    longest: float


@define(eq=False)
class Probing:
    """Sets how rarely one quota is probed. Live state.

    Attributes:
        k: Seconds from a cut back to the rate, as far as the rate alone sets them.
        settled: Whether the rate has stayed for some episodes at least once.
    """

    k: float = field(default=_FIRST_K, init=False)
    settled: bool = field(default=False, init=False)
    _longest: float = field(default=_LONGEST_K, init=False)
    _k_in_doubt: float = field(default=_FIRST_K, init=False)
    _before: Stretch = field(default=Stretch(0.0, _FIRST_K, _LONGEST_K), init=False)

    def resume(self, rate: float) -> None:
        """Go on from *rate*, which an earlier run found: it may have moved meanwhile."""
        self.k = _RESTLESS_K
        self.remember(rate)

    def begin(self, rate: float, *, guessed: bool) -> None:
        """Go on from *rate*, the first one; *guessed* if it may be too low by any factor."""
        self.remember(rate)
        if guessed:
            self.guess()

    def guess(self) -> None:
        """Probe at once, since the rate may be too low by any factor."""
        self.k = _GUESSED_K

    def restart(self) -> None:
        """Probe as after any first rate, since the last one was far too high, and not too low."""
        self.k = _FIRST_K

    def remember(self, rate: float) -> None:
        """Compare the cuts to come with *rate*, the one that was in force until now."""
        self._before = Stretch(rate, self.k, self._longest)

    def on_rate(self, rate: float) -> bool:
        """Probe ever more rarely while the rate stays, and more often once it has moved.

        Returns:
            Whether *rate* confirms the one that was in force before.
        """
        # Of several cuts in a row only the last counts: the first ones are on the way.
        k, longest = self._before.k, self._before.longest
        confirmed = abs(rate - self._before.rate) < _MOVED * self._before.rate
        if confirmed:
            # Slow paces need more seconds for the calls that make a refusal rare.
            stretch = max(1.0, _MANY_CALLS / (rate * _LONGEST_K))
            self.k = min(2 * k, longest * stretch)
            self.settled = self.settled or self.k >= _RESTLESS_K
            self._longest = min(_LONGEST_K, 1.05 * longest)
        else:
            least = _SETTLED_K if self.settled else min(_FIRST_K, k)
            self.k = min(_RESTLESS_K, max(least, k / 4))
            self._longest = _RESTLESS_K if self.settled else longest
        return confirmed

    def doubt(self) -> None:
        """Probe soon, since what lowered the rate may have been noise."""
        self._k_in_doubt, self.k = self.k, _DOUBTED_K

    def go_back(self) -> None:
        """Take back the last *doubt*, since it was no noise."""
        self.k = self._k_in_doubt

    def seconds(self, rate: float, least: float, episode: Episode, *, confirmed: bool) -> float:
        """Return the seconds from the cut after *episode* back to *rate*.

        Args:
            rate: Calls per second.
            least: Seconds that they are at least.
            episode: What the last probe cost.
            confirmed: Whether it gave the rate that was in force before.
        """
        k = max(self.k, least)
        if confirmed:
            return max(k, _PER_PAUSE * episode.pause, _PER_REFUSAL * episode.refusals / rate)
        return max(k, episode.pause / 2)
