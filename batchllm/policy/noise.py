"""Refusals that mean nothing: recognised by coming as often at a low pace, forgiven at their share.

A quota refuses less, the lower the pace; noise does not. A refusal after n accepted calls asks for
a pace lower by about 1.5/n, and if that had been right the next one would come much later.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

__all__ = ["Noise"]

_EARLY: Final = 2
"""Early refusals in a row that may be noise: a quota seldom refuses right after it was measured,
while a noise of 1 % refuses once in 100 calls whatever the pace."""
_FALL: Final = 0.05
"""Share by which they have to have lowered the rate: a quota that fell by less is at rest then."""
_RUN: Final = 15
"""Accepted calls before each of them: one that fell by more than a tenth refuses sooner, and 86 %
of the gaps of a noise of 1 % are longer."""
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


_PROOF: Final = 5.0
_BORNE: Final = 3
_MOST_EARLY: Final = 3


@define(eq=False)
class _Doubt:
    """What a quota of the lower rate would have left, while it is open if it was noise."""

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
    _forgiven: float = field(default=0.0, init=False)
    _needed: int = field(default=_EARLY, init=False)
    _doubt: _Doubt | None = field(default=None, init=False)
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

    def _count_in_doubt(self, now: float, doubt: _Doubt) -> None:
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
        """Whether it is still open if it is noise."""
        return self._doubt is not None

    def forgives(self, *, below: bool) -> bool:
        """Note a refusal; returns whether it is taken for noise."""
        if not self.share:
            return False
        if self._doubt is not None:
            self._doubt.level += 1
            self._doubt.refused += 1
            if self._doubt.refused <= _BORNE:
                return True
            self.share, self._doubt = 0.0, None
            self._needed = min(_MOST_EARLY, 2 * self._needed)
            return False
        if below:
            self._seen += 1
            if self._seen <= _BURST + _SPREAD * self.share * self._below:
                return True
        if self._forgiven < 1:
            return False
        self._forgiven -= 1
        return True

    def on_leak(
        self, before: float, after: float, calls: int, empty_at: float, *, early: bool
    ) -> float | None:
        """Note a refusal that lowered the rate from *before* to *after*.

        Args:
            before: The rate before it, calls per second.
            after: The rate after it.
            calls: Calls since the last one.
            empty_at: When the refused call was sent.
            early: Whether it came sooner than a quota's would, so soon after a measurement.

        Returns:
            The rate before the first of the refusals that may be noise, else ``None``.
        """
        if calls < _RUN:
            self._early = 0
            return None
        if not early:
            return None
        if not self._early:
            self._rate_before = before
        self._early += 1
        if self._early < self._needed or after > (1 - _FALL) * self._rate_before:
            return None
        self._early = 0
        self.share = _SHARE
        self._below = self._seen = 0
        self._forgiven = _BURST
        self._doubt = _Doubt(after, empty_at)
        return self._rate_before
