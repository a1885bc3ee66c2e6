"""Refusals that mean nothing: suspected if they come early, then put to the proof.

A quota refuses next to nothing right after it was measured and below its rate; noise refuses its
share at any pace. So refusals that come so early and lower the rate are doubted: the pace goes
back to what it was before them, a few more are borne, and what is accepted decides. More than the
lowered rate could have given proves that they were noise; more refusals prove that it was a quota.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

__all__ = ["Doubt", "Noise"]

_EARLY: Final = 2
"""Early refusals that are doubted: a quota seldom refuses right after it was measured, while a
noise of 1 % refuses once in 100 calls whatever the pace."""
_MOST_EARLY: Final = 3
"""Such refusals after a doubt that proved wrong. By 8, an hour of noise loses a fifth."""
_FALL: Final = 0.05
"""Share by which they have to have lowered the rate, so that there is something to prove."""
_MOVED: Final = 0.10
"""Share beyond what they changed by which the rate moved between two early refusals if they are no
row: what it was before the first of them is another quota's then, and nothing to go back to."""
_RUN: Final = 15
"""Accepted calls before each of them: a quota that fell refuses sooner, and 86 % of the gaps of a
noise of 1 % are longer."""
_PROOF: Final = 10.0
"""Calls more than the lowered rate could have given that prove it too low. Measured: a neighbour
who takes a call a second by chance leaves five more than his mean often enough to be mistaken."""
_BORNE: Final = 3
"""Refusals that a doubt bears: a doubt lasts about 100 calls, and noise of 1 % refuses more than
three of them in 2 % of cases."""
_SHARE: Final = 0.01
"""Share of calls that noise is taken to refuse."""
_FORGIVEN: Final = 2.0
"""Times that share that is forgiven, so that noise of up to 2 % is borne."""
_BURST: Final = 4.0
"""Refusals that are forgiven at once: of 1 % noise, one stretch of 100 calls in 50 has more."""
_EXPECTED: Final = 8.0
"""Refusals expected below the rate, where a quota refuses next to nothing, before it is asked
whether it was noise at all."""
_FEW: Final = 0.3
"""It was not if fewer than 0.3 of those were seen (1.4 % of all noises of 1 % have so few)."""
_SPREAD: Final = 3.0
"""Times the share that may be refused below the rate, where a quota refuses nothing."""


@define(eq=False)
class Doubt:
    """A bucket of the lowered rate that was empty at the last refusal. Live state."""

    rate: float
    at: float
    level: float = 0.0
    refused: int = 0


@define(eq=False)
class Noise:
    """The judgement whether refusals of one scope are noise. Live state.

    Attributes:
        share: Share of calls that may be refused without meaning; 0 while no noise is known.
    """

    share: float = field(default=0.0, init=False)
    _early: int = field(default=0, init=False)
    _rate_before: float = field(default=0.0, init=False)
    _rate_after: float = field(default=0.0, init=False)
    _forgiven: float = field(default=0.0, init=False)
    _needed: int = field(default=_EARLY, init=False)
    _doubt: Doubt | None = field(default=None, init=False)
    _below: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False)

    def on_send(self, now: float, *, below: bool) -> None:
        """Note a call, and whether its pace was so low that a quota would not refuse it."""
        if not self.share:
            return
        if self._doubt is not None:
            self._count_in_doubt(now, self._doubt)
            return
        self._forgiven = min(_BURST, self._forgiven + _FORGIVEN * self.share)
        if below:
            self._count_below()

    def on_unsent(self) -> None:
        """Note that a call that was counted has never left."""
        if self._doubt is not None:
            self._doubt.level += 1

    def _count_in_doubt(self, now: float, doubt: Doubt) -> None:
        doubt.level += doubt.rate * (now - doubt.at) - 1
        doubt.at = now
        if doubt.level <= -_PROOF:
            self._doubt = None
            self._needed = _EARLY

    def _count_below(self) -> None:
        self._below += 1
        if self.share * self._below >= _EXPECTED:
            if self._seen < _FEW * _EXPECTED:
                self.share = 0.0  # it was a quota that moved
                self._early = 0
            self._below = self._seen = 0

    @property
    def doubted(self) -> bool:
        """Return whether it is still open if it is noise."""
        return self._doubt is not None

    def forgives(self, *, below: bool) -> bool:
        """Note a refusal; returns whether it is taken for noise."""
        if not self.share:
            return False
        if self._doubt is not None:
            return self._borne(self._doubt)
        if below:
            self._seen += 1
            if self._seen <= _BURST + _SPREAD * self.share * self._below:
                return True
        if self._forgiven < 1:
            return False
        self._forgiven -= 1
        return True

    def _borne(self, doubt: Doubt) -> bool:
        doubt.level += 1  # what was refused has taken nothing
        doubt.refused += 1
        if doubt.refused <= _BORNE:
            return True
        self.share, self._doubt, self._needed = 0.0, None, _MOST_EARLY
        return False

    def on_leak(
        self, before: float, after: float, calls: int, empty_at: float, *, early: bool
    ) -> float | None:
        """Note a refusal that lowered the rate from *before* to *after*.

        Args:
            before: The rate before it, calls per second.
            after: The rate after it.
            calls: Calls since the last one.
            empty_at: When the refused call was sent.
            early: Whether one call alone was refused, and sooner after a measurement than a
                quota refuses.

        Returns:
            The rate before the first of the refusals, to go back to in doubt, else ``None``.
        """
        if calls < _RUN:
            self._early = 0
            return None
        if not early:
            return None
        least, most = (1 - _MOVED) * self._rate_after, (1 + _MOVED) * self._rate_before
        if not self._early or not least <= before <= most:
            self._rate_before, self._early = before, 0
        self._rate_after = after
        self._early += 1
        if self._early < self._needed or after > (1 - _FALL) * self._rate_before:
            return None
        self._early = 0
        self.share = _SHARE
        self._below = self._seen = 0
        self._forgiven = _BURST
        self._doubt = Doubt(after, empty_at)
        return self._rate_before
