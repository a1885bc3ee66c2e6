"""What held a run back for most of its time, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from batchllm.engine.pause_log import limit_in_words
from batchllm.policy import OUTAGE, GateSnapshot

__all__ = ["limited_by"]

_MOST = 0.5
"""The share of the time, or of a limit, beyond which it counts."""


def limited_by(
    held: Mapping[str, float], duration: float, scopes: Iterable[GateSnapshot], calls: int
) -> str | None:
    """Return what held a run back for most of its time; ``None`` if nothing did.

    Args:
        held: Seconds during which calls waited, by cause.
        duration: Seconds of the run.
        scopes: What its gates know.
        calls: Its cap on calls in flight.
    """
    cause = max(held, key=lambda name: held[name], default="calls")
    if not held or held[cause] <= _MOST * duration or duration <= 0:
        return None
    if cause == OUTAGE:
        return f"an endpoint that did not answer, for {held[cause]:,.0f} s"
    if cause == "calls":
        return f"{calls:,} calls in flight at most; raise concurrency if the server allows more"
    if cause == "cooldown":
        return f"pauses after rate limits, for {held[cause]:,.0f} s"
    known = list(scopes)
    used = [
        limit_in_words(limit)
        for scope in known
        for limit, share in zip(scope.limits, scope.used, strict=True)
        if share > _MOST
    ]
    if used:
        return f"the quota of {', '.join(dict.fromkeys(used))}"
    pace = sum(scope.pace for scope in known if scope.pace is not None)
    if pace:
        return f"the provider's quota, found to be about {60 * pace:,.0f} requests per minute"
    return "a quota of the run's own"
