"""The cause that held a run back: its own concurrency, or a quota."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import define, field

from batchllm.core import BatchResult, ProcessorConfig
from batchllm.policy import CUT_OFF, OUTAGE, SHARED, amount_in_words, found_in_words

__all__ = ["LimitWatch"]

_MOST = 0.5
"""The share of the time, or of a limit, beyond which it counts."""


@define(eq=False)
class LimitWatch:
    """Looks at a run now and then, and judges it at its end.

    Attributes:
        config: The settings of the run.
    """

    config: ProcessorConfig
    _looks: int = field(default=0, init=False)
    _full: int = field(default=0, init=False)

    def look(self, in_flight: int) -> None:
        """Note how many calls are under way."""
        self._looks += 1
        self._full += in_flight >= self.config.max_workers

    def verdict(self, ended: BatchResult[Any, Any]) -> str | None:
        """Name what held the run back for most of its time; ``None`` if that cannot be said."""
        if self._full > _MOST * self._looks:
            most = self.config.max_workers
            return f"{most} calls in flight at most, and no quota; raise --concurrency"
        stats = ended.stats
        held = stats["held_back"]
        not_ours = max(held.get(cause, 0.0) for cause in (OUTAGE, SHARED, CUT_OFF))
        if not_ours > _MOST * stats["duration"]:
            return str(stats["limited_by"])
        if any(scope.cap or scope.reported_cap for scope in stats["scopes"].values()):
            return str(stats["limited_by"]) if stats["limited_by"] else None
        if held.get("quota", 0.0) + held.get("cooldown", 0.0) <= _MOST * stats["duration"]:
            return None
        used = list(self._limits_in_use(ended))
        if used:
            return f"the quota of {', '.join(used)}"
        pace = sum(scope.pace for scope in stats["scopes"].values() if scope.pace is not None)
        if pace:
            return found_in_words(pace)
        return "rate limits of the provider" if stats["rate_limit_count"] else None

    def _limits_in_use(self, ended: BatchResult[Any, Any]) -> Iterator[str]:
        """Return the limits, declared or reported, that were used to a good part."""
        config, stats = self.config, ended.stats
        used = {
            "requests": stats["calls_sent"],
            "tokens": ended.total_input_tokens + ended.total_output_tokens,
            "input_tokens": ended.total_input_tokens,
            "output_tokens": ended.total_output_tokens,
        }
        limits: list[tuple[str, float | None, float]] = [
            ("requests", config.max_requests_per_minute, 60.0),
            ("tokens", config.max_tokens_per_minute, 60.0),
        ]
        for scope in stats["scopes"].values():
            limits += [(limit.dimension, limit.amount, limit.per) for limit in scope.limits]
        for what, amount, per in dict.fromkeys(limits):
            if amount and used.get(what, 0) >= _MOST * amount * stats["duration"] / per:
                yield amount_in_words(what, amount, per)
