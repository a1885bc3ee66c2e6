"""What held a run back, judged by looking at it now and then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from batchllm.core import ProcessorConfig

__all__ = ["LimitWatch"]

_ENOUGH = 0.5
_UNITS = {60.0: "minute", 1.0: "second", 3600.0: "hour", 86_400.0: "day"}


@define(eq=False)
class LimitWatch:
    """Counts the moments at which calls had to wait, and for what.

    Attributes:
        config: The settings of the run.
    """

    config: ProcessorConfig
    _looks: int = field(default=0, init=False)
    _full: int = field(default=0, init=False)
    _held: int = field(default=0, init=False)

    def look(self, stats: Mapping[str, Any]) -> None:
        """Note what the run is doing at this moment."""
        self._looks += 1
        if stats["in_flight"] >= self.config.max_workers:
            self._full += 1
        elif stats["waiting"]:
            self._held += 1

    def verdict(self, stats: Mapping[str, Any]) -> str | None:
        """What held the run back for most of its time; ``None`` where that cannot be said."""
        if self._full > _ENOUGH * self._looks:
            most = self.config.max_workers
            return f"{most} calls in flight at most, and no quota; raise --concurrency"
        if self._held > _ENOUGH * self._looks:
            return self._quota(stats)
        return None

    def _quota(self, stats: Mapping[str, Any]) -> str | None:
        config = self.config
        declared = [
            f"{amount:,g} {what} per minute"
            for amount, what in (
                (config.max_requests_per_minute, "requests"),
                (config.max_tokens_per_minute, "tokens"),
            )
            if amount is not None
        ]
        if declared:
            return f"the quota that was declared: {', '.join(declared)}"
        scopes = list(stats["scopes"].values())
        told = [_shown(limit) for scope in scopes for limit in scope.limits]
        if told:
            return f"the quota that the provider told: {', '.join(told)}"
        pace = sum(scope.pace for scope in scopes if scope.pace is not None)
        if pace:
            return f"the provider's quota, found to be about {60 * pace:,.0f} requests per minute"
        return "rate limits of the provider" if stats["rate_limit_count"] else None


def _shown(limit: Any) -> str:
    unit = _UNITS.get(limit.per, f"{limit.per:g} s")
    return f"{limit.amount:,} {limit.dimension.replace('_', ' ')} per {unit}"
