"""When a batch may be created, by what is in flight: pure, with time as an argument."""

from __future__ import annotations

import math
from typing import Final

from attrs import define, evolve, field, frozen

from batchllm.provider_batch.pacing import WireLimits
from batchllm.provider_batch.polling import within

__all__ = ["BELIEVED", "PATIENCE", "Admission", "Learned"]

_SHARE: Final = 0.9
"""Of a limit on tokens that is used, since ours are estimates."""
_FARTHEST: Final = 10.0
"""Times that an estimate may be wrong: text of one letter in a token, or of none but blanks."""
_FIRST_PAUSE: Final = 60.0
PATIENCE: Final = 6 * 3_600.0
"""Seconds of refusals for a quota after which a run ends, and of a hint that are waited at most:
a provider that asks for more is not going to take a batch in this run."""
BELIEVED: Final = 86_400.0
"""Seconds for which a limit that was learned is believed: a batch has a day, so that by then all
that was counted against it has ended, and a limit that was raised is found."""
_SPLIT_AFTER: Final = 3
"""Refusals of a chunk with nothing else in flight after which it is taken to be too large."""


@frozen(kw_only=True)
class Learned:
    """The knowledge of one process about a quota, for the next.

    Attributes:
        named: Tokens that may be enqueued, as the provider has said; ``None`` if it has not.
        most: The same as refusals have shown, in estimated tokens; ``None`` before there was one.
        at: When these were learned, in seconds on any clock.
        estimated: Tokens of prompts that were answered, as they were estimated.
        counted: Of the same, as the provider has counted them.
    """

    named: float | None = None
    most: float | None = None
    at: float = 0.0
    estimated: float = 0.0
    counted: float = 0.0


@define(eq=False)
class Admission:
    """Decides when a chunk may be created, and learns the limit on tokens that are enqueued.

    Args:
        limits: Of the provider.
    """

    limits: WireLimits
    _known: Learned = field(factory=Learned, init=False)
    _not_before: float = field(default=0.0, init=False)
    _pause: float = field(default=_FIRST_PAUSE, init=False)
    _alone: int = field(default=0, init=False)
    _refused_since: float | None = field(default=None, init=False)

    def wait(self, tokens: int, live_tokens: int, live: int, now: float) -> float | None:
        """Return the seconds until a chunk may be created; ``None`` if another has to end first.

        Args:
            tokens: Of the chunk.
            live_tokens: Of the chunks in flight.
            live: How many they are.
            now: Seconds on any clock.
        """
        if self.limits.batches is not None and live >= self.limits.batches:
            return None
        if live and live_tokens + tokens > _SHARE * self._room(now):
            return None
        return max(0.0, self._not_before - now)

    def _room(self, now: float) -> float:
        """Return the estimated tokens that may be enqueued, as far as that is still believed."""
        learned, known = self._known, [math.inf]
        if now - learned.at <= BELIEVED:
            known += [] if learned.named is None else [learned.named / self._ratio]
            known += [] if learned.most is None else [learned.most]
        return min(known)

    def never_fits(self, tokens: int, now: float) -> bool:
        """Return whether a chunk is larger than what may be enqueued, by the provider's word."""
        named = self._known.named
        if named is None or now - self._known.at > BELIEVED:
            return False
        return tokens * self._ratio > named

    def learned(self) -> Learned:
        """Return what is to be known by the next process; its time is that of the clock here."""
        return self._known

    def recall(self, learned: Learned) -> None:
        """Begin with what an earlier process has learned."""
        self._known = learned

    @property
    def _ratio(self) -> float:
        """Tokens as the provider counts them, for one of ours."""
        learned = self._known
        if not learned.counted or not learned.estimated:
            return 1.0
        return min(max(learned.counted / learned.estimated, 1 / _FARTHEST), _FARTHEST)

    def counted(self, estimated: float, tokens: int) -> None:
        """Learn what estimates are worth from the answers of a batch.

        Args:
            estimated: Tokens of the prompts that were answered.
            tokens: Of the same, as the provider has counted them.
        """
        learned = self._known
        self._known = evolve(
            learned, estimated=learned.estimated + estimated, counted=learned.counted + tokens
        )

    def created(self, now: float) -> None:
        """Note a create."""
        spacing = self.limits.create_spacing
        if self._refused_since is not None:
            spacing = max(spacing, self.limits.refused_spacing)
        self._not_before = max(self._not_before, now + spacing)

    def accepted(self) -> None:
        """Note that a chunk runs, or has run: the quota had room for it."""
        self._pause, self._alone, self._refused_since = _FIRST_PAUSE, 0, None

    def refused(
        self, tokens: int, live_tokens: int, now: float, *, limit: float | None, hint: float | None
    ) -> bool:
        """Learn from a refusal for a quota.

        Args:
            tokens: Of the chunk that was refused.
            live_tokens: Of the others in flight.
            now: Seconds on the same clock.
            limit: Tokens, if the provider names them.
            hint: Seconds that it asks to wait; of more than six hours as many are waited.

        Returns:
            Whether the chunk has to be split, since it will never fit.
        """
        if self._refused_since is None or live_tokens:
            self._refused_since = now
        if limit is not None:
            self._known = evolve(self._known, named=limit, at=now)
        if live_tokens:
            # What is in flight was let in, and this was not: the limit lies between. In estimates,
            # whatever was named: what is counted against it may be more than answers count.
            self._known = evolve(self._known, most=live_tokens + tokens / 2, at=now)
        self._alone = 0 if live_tokens else self._alone + 1
        self._not_before = now + max(self._pause, within(hint, PATIENCE))
        self._pause = min(self.limits.longest_pause, 2 * self._pause)
        if limit is not None and tokens * self._ratio > limit:
            return True
        # What is learned from chunks in flight says nothing of this one alone.
        return self._alone >= _SPLIT_AFTER

    def seconds_refused(self, now: float) -> float:
        """Return for how long each create was refused with nothing in flight."""
        return 0.0 if self._refused_since is None else now - self._refused_since
