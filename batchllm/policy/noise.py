"""Refusals that mean nothing: recognised by coming too early, forgiven at their share."""

from __future__ import annotations

from typing import Final

from attrs import define, field

__all__ = ["Noise"]

_EARLY: Final = 3
"""Early refusals in a row that are noise: a quota seldom refuses right after it was measured,
while a noise of 1 % refuses once in 100 calls whatever the pace."""
_SHARE: Final = 0.01
"""Share of calls that noise is taken to refuse; twice as much is forgiven."""
_EXPECTED: Final = 5.0
_FEW: Final = 0.3
"""Below the rate, where a quota refuses nothing, noise goes on: with fewer than 0.3 of the 5
refusals expected there (0.7 % of all noises of 1 %) it was a quota after all."""


@define(eq=False)
class Noise:
    """Whether refusals of one scope are noise. Live state.

    Attributes:
        share: Share of calls that may be refused without meaning; 0 while no noise is known.
    """

    share: float = field(default=0.0, init=False)
    _early: int = field(default=0, init=False)
    _rate_before: float = field(default=0.0, init=False)
    _forgiven: float = field(default=0.0, init=False)
    _expected: float = field(default=0.0, init=False)
    _seen: int = field(default=0, init=False)

    def on_send(self, most: float, *, below: bool) -> None:
        """Note a call; *below* the rate a quota refuses none, noise its share.

        Args:
            most: Refusals that may be forgiven at once.
            below: Whether the pace is so far below the rate that a quota would not refuse.
        """
        if self.share:
            self._forgiven = min(most, self._forgiven + 2 * self.share)
            if below:
                self._expected += self.share

    def forgives(self, *, below: bool) -> bool:
        """Note a refusal; returns whether it is taken for noise."""
        if not self.share:
            return False
        self._seen += below
        if self._expected > _EXPECTED:
            if self._seen < _FEW * self._expected:
                self.share = 0.0
                self._early = 0
                return False
            self._expected, self._seen = 0.0, 0
        if self._forgiven < 1:
            return False
        self._forgiven -= 1
        return True

    def on_leak(self, rate: float, *, early: bool) -> float | None:
        """Note a refusal that lowered the rate from *rate*.

        Args:
            rate: The rate before it.
            early: Whether it came sooner after a sure measurement than a quota's would.

        Returns:
            The rate before the first of the refusals that prove to be noise, else ``None``.
        """
        if not early:
            self._early = 0
            return None
        if not self._early:
            self._rate_before = rate
        self._early += 1
        if self._early < _EARLY:
            return None
        self._early = 0
        self.share = _SHARE
        self._expected, self._seen, self._forgiven = 0.0, 0, 1.0
        return self._rate_before
