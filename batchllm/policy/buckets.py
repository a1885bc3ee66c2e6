"""The limits of one scope that are kept exactly, a bucket each: declared ones and adopted ones.

A declared limit stands before an adopted one of the same dimension. What was sent stays counted
for as long as a window stays what it is, whatever becomes of its amount.
"""

from __future__ import annotations

from collections.abc import Iterable

from batchllm.policy.bucket import Bucket, Limit, Settlement

__all__ = ["Buckets", "alike"]


class Buckets:
    """The buckets of one scope. Live state.

    Args:
        limits: The declared limits.
        settlement: How the provider books tokens that were reserved and not used.

    Attributes:
        kept: All of them, the declared ones first.
        declared: The dimensions that the user limits.
    """

    __slots__ = ("_settlement", "declared", "kept")

    def __init__(self, limits: Iterable[Limit], settlement: Settlement) -> None:
        self._settlement: Settlement = settlement
        self.kept = [Bucket(limit, settlement=settlement) for limit in limits]
        self.declared = frozenset(bucket.limit.dimension for bucket in self.kept)

    def declare(self, limits: Iterable[Limit]) -> None:
        """Go on with other declared limits; what was sent stays counted where the window stays."""
        adopted = [each for each in self.kept if each.limit.dimension not in self.declared]
        before = {_window(each.limit): each for each in self.kept if each not in adopted}
        declared = list(limits)
        self.declared = frozenset(limit.dimension for limit in declared)
        self.kept = [
            before.get(_window(limit)) or Bucket(limit, settlement=self._settlement)
            for limit in declared
        ]
        for bucket, limit in zip(self.kept, declared, strict=True):
            bucket.resize(limit)
        self.kept += [each for each in adopted if each.limit.dimension not in self.declared]

    def adopt(self, limit: Limit) -> bool:
        """Keep a limit that the server reported; returns whether that is new."""
        for bucket in self.kept:
            if (bucket.limit.dimension, bucket.limit.per) == (limit.dimension, limit.per):
                return bucket.resize(limit)
        self.kept.append(Bucket(limit, settlement=self._settlement))
        return True

    def drop(self, dimension: str, per: float) -> None:
        """Give up an adopted limit; a declared one stays."""
        self.kept = [
            each
            for each in self.kept
            if (each.limit.dimension, each.limit.per) != (dimension, per)
            or each.limit.dimension in self.declared
        ]

    def covers(self, limit: Limit) -> bool:
        """Return whether one of them limits the same dimension over about the same period."""
        return any(
            each.limit.dimension == limit.dimension and alike(each.limit.per, limit.per)
            for each in self.kept
        )


def alike(period: float, other: float) -> bool:
    """Return whether two periods differ by no more than measuring scatters."""
    return 0.8 <= period / other <= 1.25


def _window(limit: Limit) -> tuple[str, float, float | None, float]:
    return limit.dimension, limit.per, limit.window, limit.jitter
