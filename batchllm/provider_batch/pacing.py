"""The pace of polls and creates, and the sizes of chunks: pure, with time as an argument."""

from __future__ import annotations

import random
from typing import Final

from attrs import define, field, frozen

__all__ = ["Admission", "ChunkSizes", "PullBack", "WireLimits", "poll_delay"]


@frozen(kw_only=True)
class WireLimits:
    """The limits of one provider, as its documentation has them.

    Attributes:
        lines: Requests of one batch.
        bytes: Of one file.
        inputs: Texts of all requests of one batch of embeddings; ``None`` if they are not counted.
        batches: At once; ``None`` if there is no limit.
        create_spacing: Seconds between creates.
        cancel_seconds: That a cancellation takes at most.
        window: Seconds that a batch has.
        retention: Seconds for which results are kept.
        longest_pause: Seconds between creates that are refused for a quota, at most.
        refused_spacing: Seconds between creates after such a refusal, until one is seen to run.
    """

    lines: int
    bytes: int
    inputs: int | None = None
    batches: int | None = None
    create_spacing: float = 0.0
    cancel_seconds: float = 600.0
    window: float = 86_400.0
    retention: float = 30 * 86_400.0
    longest_pause: float = 600.0
    refused_spacing: float = 0.0


# -- polls -----------------------------------------------------------------------------------------

_FIRST, _QUICK, _MIDDLE, _SLOW = 10.0, 60.0, 300.0, 600.0
_HALF_AN_HOUR, _SIX_HOURS = 1_800.0, 21_600.0
_LONGEST_HINT: Final = 3_600.0
"""Seconds of a ``retry-after`` that are waited at most: one poll in an hour is no burden, and a
header that is wrong must not end the polls."""
_URGENT: Final = 30.0
_JITTER: Final = 0.2


def poll_delay(
    age: float, rng: random.Random, *, hint: float | None = None, urgent: bool = False
) -> float:
    """Return the seconds until the next poll.

    Half of the age again, so that what takes a minute is noticed within one and what takes a day
    within ten: polls grow with the logarithm of the time.

    Args:
        age: Seconds since the youngest batch was created.
        rng: For the jitter, so that a thousand clients that started together do not stay together.
        hint: Seconds that the provider asks to wait, also with an answer that is good.
        urgent: Whether the end, or a deadline, is near.
    """
    if age < _HALF_AN_HOUR:
        delay = min(max(_FIRST, age / 2), _QUICK)
    elif age < _SIX_HOURS:
        delay = min(_QUICK + (age - _HALF_AN_HOUR) / 2, _MIDDLE)
    else:
        delay = min(_MIDDLE + (age - _SIX_HOURS) / 2, _SLOW)
    if urgent:
        delay = min(delay, _URGENT)
    delay *= 1 + rng.uniform(-_JITTER, _JITTER)
    return max(delay, min(hint or 0.0, _LONGEST_HINT))


# -- what may be in flight -------------------------------------------------------------------------

_SHARE: Final = 0.9
"""Of a limit on tokens that is used, since ours are estimates."""
_FARTHEST: Final = 10.0
"""Times that an estimate may be wrong: text of one letter in a token, or of none but blanks."""
_FIRST_PAUSE: Final = 60.0
_SPLIT_AFTER: Final = 3
"""Refusals of a chunk with nothing else in flight after which it is taken to be too large."""


@define(eq=False)
class Admission:
    """Decides when a chunk may be created, and learns the limit on tokens that are enqueued.

    Args:
        limits: Of the provider.
    """

    limits: WireLimits
    tokens: float | None = field(default=None, init=False)
    _estimated: float = field(default=0.0, init=False)
    _counted: float = field(default=0.0, init=False)
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
        wanted = (live_tokens + tokens) * self._ratio
        if self.tokens is not None and live and wanted > _SHARE * self.tokens:
            return None
        return max(0.0, self._not_before - now)

    @property
    def _ratio(self) -> float:
        """Tokens as the provider counts them, for one of ours."""
        if not self._counted or not self._estimated:
            return 1.0
        return min(max(self._counted / self._estimated, 1 / _FARTHEST), _FARTHEST)

    def counted(self, estimated: float, tokens: int) -> None:
        """Learn what estimates are worth from the answers of a batch.

        Args:
            estimated: Tokens of the prompts that were answered.
            tokens: Of the same, as the provider has counted them.
        """
        self._estimated += estimated
        self._counted += tokens

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
            hint: Seconds that it asks to wait.

        Returns:
            Whether the chunk has to be split, since it will never fit.
        """
        if self._refused_since is None or live_tokens:
            self._refused_since = now
        if limit is not None:
            self.tokens = limit
        elif live_tokens:
            # What is in flight was let in, and this was not: the limit lies between.
            self.tokens = (live_tokens + tokens / 2) * self._ratio
        self._alone = 0 if live_tokens else self._alone + 1
        self._not_before = now + max(self._pause, hint or 0.0)
        self._pause = min(self.limits.longest_pause, 2 * self._pause)
        if limit is not None:
            return tokens * self._ratio > limit
        # What is learned from chunks in flight says nothing of this one alone.
        return self._alone >= _SPLIT_AFTER

    def seconds_refused(self, now: float) -> float:
        """Return for how long each create was refused with nothing in flight."""
        return 0.0 if self._refused_since is None else now - self._refused_since


# -- sizes of chunks -------------------------------------------------------------------------------

_START, _LEAST, _MOST = 5_000, 100, 10_000
_MOST_BYTES: Final = 32_000_000
"""Results come at the end only, and a chunk that is stuck holds all its items."""
_OF_THE_CAP: Final = 0.95
_QUICK_END: Final = 3_600.0
CANARY: Final = 50
"""Lines of the chunk that goes first: enough to show each mistake that all lines share."""


@define(eq=False)
class ChunkSizes:
    """The size of the next chunk.

    Args:
        limits: Of the provider.
        fixed: Lines, if the user gave them.

    Attributes:
        within: Lines that the budget has room for, until a batch ends and shows how much it took.
    """

    limits: WireLimits
    fixed: int | None = None
    within: int | None = field(default=None, init=False)
    _lines: int = field(default=_START, init=False)
    _expiries: int = field(default=0, init=False)

    @property
    def lines(self) -> int:
        """Return how many lines a chunk has."""
        wanted = self._lines if self.fixed is None else self.fixed
        affordable = wanted if self.within is None else self.within
        return max(1, min(wanted, affordable, self.limits.lines))

    @property
    def bytes(self) -> int:
        """Return how many bytes its file has at most."""
        return int(min(_MOST_BYTES, _OF_THE_CAP * self.limits.bytes))

    @property
    def inputs(self) -> float:
        """Return how many texts a chunk of embeddings has at most."""
        return float("inf") if self.limits.inputs is None else self.limits.inputs

    @property
    def most_bytes(self) -> int:
        """Return how many bytes one line may have."""
        return int(_OF_THE_CAP * self.limits.bytes)

    def shrink(self, lines: int) -> None:
        """Make chunks of at most *lines*, since more are never let in."""
        self._lines = max(1, min(self._lines, lines))
        if self.fixed is not None:
            self.fixed = max(1, min(self.fixed, lines))

    def ended(self, seconds: float, *, expired: bool) -> None:
        """Learn from a batch that has ended.

        Args:
            seconds: That it took.
            expired: Whether its time was over before it was done.
        """
        self.within = None
        if expired:
            self._expiries += 1
            if self._expiries >= 2:  # twice in a row: the provider has no room for so much
                self._lines = max(_LEAST, self._lines // 2)
            return
        self._expiries = 0
        if seconds < _QUICK_END:
            self._lines = min(_MOST, 2 * self._lines)


# -- deadlines -------------------------------------------------------------------------------------

_MARGIN: Final = 60.0
_FETCH_SECONDS: Final = 120.0


@frozen
class PullBack:
    """When a batch that would be late has to be cancelled.

    Attributes:
        deadline: On any clock.
        rate: Items per second that go through online.
        cancel_seconds: That a cancellation takes at most.
    """

    deadline: float
    rate: float
    cancel_seconds: float

    def at(self, remaining: int) -> float:
        """Return when to cancel, so that *remaining* items still fit in online.

        Cancelling, fetching what is there, running the rest, and a margin: all before the deadline.
        """
        return self.last_start(remaining) - self.cancel_seconds - _FETCH_SECONDS - _MARGIN

    def copy_at(self, remaining: int) -> float:
        """Return when *remaining* items have to be called for online, whatever else they are in."""
        return self.last_start(remaining) - _MARGIN

    def last_start(self, remaining: int) -> float:
        """Return when the last of *remaining* items have to start online."""
        return self.deadline - remaining / self.rate
