"""The limits of a provider, the sizes of chunks, and the times of a deadline: pure."""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen

__all__ = ["CANARY", "ChunkSizes", "PullBack", "WireLimits"]


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
