"""What held a run back for most of its time, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchllm.engine.pause_log import limit_in_words
from batchllm.policy import OUTAGE, GateSnapshot, Limit

__all__ = ["limited_by"]

_MOST = 0.5
"""The share of the time, or of a limit, beyond which it counts."""


def limited_by(
    held: Mapping[str, float], duration: float, scopes: Sequence[GateSnapshot], calls: int
) -> str | None:
    """Return what held a run back for most of its time; ``None`` if nothing did.

    Args:
        held: Seconds during which calls waited, by cause.
        duration: Seconds of the run.
        scopes: What its gates know.
        calls: Its cap on calls in flight.
    """
    cause = max(held, key=lambda name: held[name], default="calls")
    # Where no cause alone took most of the time, those of the provider may have together.
    together = sum(held.get(name, 0.0) for name in ("quota", "cooldown", "calls"))
    if not held or max(held[cause], together) <= _MOST * duration or duration <= 0:
        return None
    if cause == OUTAGE:
        return f"an endpoint that did not answer, for {held[cause]:,.0f} s"
    caps = [scope.cap for scope in scopes if scope.cap is not None]
    if caps and cause != "cooldown":
        return f"the provider's cap, found to be {sum(caps):,} calls at a time"
    if cause == "calls":
        return f"{calls:,} calls in flight at most; raise concurrency if the server allows more"
    if cause == "cooldown":
        return f"pauses after rate limits, for {held[cause]:,.0f} s"
    used = [
        limit_in_words(limit)
        for scope in scopes
        for limit, share in zip(scope.limits, scope.used, strict=True)
        if share > _MOST or _is_below_the_pace(limit, scope.pace)
    ]
    if used:
        return f"the quota of {', '.join(dict.fromkeys(used))}"
    pace = sum(scope.pace for scope in scopes if scope.pace is not None)
    if pace:
        return f"the provider's quota, found to be about {60 * pace:,.0f} requests per minute"
    return "a quota of the run's own"


def _is_below_the_pace(limit: Limit, pace: float | None) -> bool:
    """Return whether *limit* is what binds: a short one may look unused when the run ends."""
    return pace is not None and limit.dimension == "requests" and limit.amount <= pace * limit.per
