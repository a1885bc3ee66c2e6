"""Refusals that mean nothing: suspected if they come early, then put to the proof.

A quota refuses next to nothing right after it was measured and below its rate; noise refuses its
share at any pace. So refusals that come so early and lower the rate are doubted: more calls than
the lowered rate could have given are sent at once, and are accepted only if they were noise. Other
clients of one quota give way to one that goes on faster for a while, but not within a round trip.
So are refusals that come too densely for that, if they go on at a pace that fell far.
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
_PROOF: Final = 4.0
"""Calls more than the lowered rate could have given that prove it too low, sent at once: each is a
refusal if it was a quota."""
_BORNE: Final = 1
"""Refusals that a doubt bears: of ten calls noise of 1 % refuses more in 0.4 % of cases."""
_SHARE: Final = 0.01
"""Share of calls that noise is taken to refuse."""
_DENSE: Final = 0.02
"""Such a share where a row of leaks led to it. Measured: up to 4 % bears noise of 5 % hardly
better, and up to 10 % three clients of one quota take each other for noise."""
_ROW: Final = 6
"""Leaks in a row that are doubted whatever lies between them: a quota that fell to a half is found
within five (0.85 ** 5)."""
_ROW_FALL: Final = 0.5
"""The most that such a row leaves of the rate."""
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
    """A bucket of the lowered rate that was empty at the last refusal. Live state.

    Attributes:
        rate: The lowered rate, calls per second.
        at: The instant of `level`.
        since: When the doubt began.
        level: Calls that the bucket holds; below zero it would have refused some.
        refused: Calls that were refused since.
        asked_at: When so many had been sent that their answers decide; ``None`` before.
    """

    rate: float
    at: float
    since: float
    level: float = 0.0
    refused: int = 0
    asked_at: float | None = None


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
    _row: int = field(default=0, init=False)
    _row_before: float = field(default=0.0, init=False)
    _row_after: float = field(default=0.0, init=False)
    _row_fall: float = field(default=_ROW_FALL, init=False)
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
        doubt = self._doubt
        if doubt is not None:
            doubt.level += 1
            if doubt.level > -_PROOF:
                doubt.asked_at = None

    def _count_in_doubt(self, now: float, doubt: Doubt) -> None:
        doubt.level += doubt.rate * (now - doubt.at) - 1
        doubt.at = now
        if doubt.asked_at is None and doubt.level <= -_PROOF:
            doubt.asked_at = now

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

    def asks(self, now: float, patience: float) -> bool:
        """Return whether calls go at once, for *patience* seconds, so that they prove something."""
        doubt = self._doubt
        return doubt is not None and doubt.asked_at is None and now < doubt.since + patience

    def judge(self, now: float, patience: float) -> bool:
        """Decide on a doubt if that is possible; returns whether it is over.

        Args:
            now: The present instant.
            patience: Seconds after which a call that drew no refusal counts as accepted.
        """
        doubt = self._doubt
        if doubt is None or doubt.asked_at is None or now < doubt.asked_at + patience:
            return False
        self._doubt = None
        if doubt.refused <= _BORNE:
            self._needed, self._row_fall = _EARLY, _ROW_FALL
            self._row = 0
        else:
            self.share, self._needed = 0.0, _MOST_EARLY
        return True

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
        if doubt.refused <= _BORNE or doubt.asked_at is not None:
            return True
        self.share, self._doubt, self._needed = 0.0, None, _MOST_EARLY
        return False

    def on_leak(
        self,
        now: float,
        before: float,
        after: float,
        calls: int,
        empty_at: float,
        *,
        early: bool,
        window: bool,
    ) -> float | None:
        """Note a refusal that lowered the rate from *before* to *after*.

        Args:
            now: When it was understood.
            before: The rate before it, calls per second.
            after: The rate after it.
            calls: Calls since the last one.
            empty_at: When the refused call was sent.
            early: Whether one call alone was refused, and sooner after a measurement than a
                quota refuses.
            window: Whether nothing was taken for a while, as at the end of a window.

        Returns:
            The rate before the first of the refusals, to go back to in doubt, else ``None``.
        """
        if self._doubt is not None:
            return None  # one at a time: what it goes back to is kept for one
        start = self._row_start(before, after, window=window)
        if start is not None:
            self._row_fall *= _ROW_FALL  # the next one has to fall further, if this proves wrong
            return self._doubt_from(start, Doubt(after, empty_at, now), _DENSE)
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
        return self._doubt_from(self._rate_before, Doubt(after, empty_at, now), _SHARE)

    def _row_start(self, before: float, after: float, *, window: bool) -> float | None:
        """Count a row; returns the rate at its start once it is too long for a quota."""
        if window:
            return None
        rose = before > (1 + _MOVED) * self._row_after
        if not self._row or (rose and before > (1 - _MOVED) * self._row_before):
            self._row_before, self._row = before, 0
        self._row_after = after
        self._row += 1
        if self._row < _ROW or after > self._row_fall * self._row_before:
            return None
        self._row = 0
        return self._row_before

    def _doubt_from(self, before: float, doubt: Doubt, share: float) -> float:
        self._early = 0
        self.share, self._doubt = share, doubt
        self._below = self._seen = 0
        self._forgiven = _BURST
        return before
