"""From the user's settings to what the minds of gates are made of."""

from __future__ import annotations

from collections.abc import Iterator

from batchllm.core import RateLimitConfig
from batchllm.policy import CooldownPolicy, Limit

__all__ = ["cooldown_policy", "per_minute"]

_SHORTEST = 1e-3


def cooldown_policy(config: RateLimitConfig | None) -> CooldownPolicy | None:
    """Return the user's fixed policy for refusals, or ``None`` if the scope adapts."""
    if config is None:
        return None
    first = max(_SHORTEST, config.cooldown_seconds)
    return CooldownPolicy(
        first=first,
        multiplier=config.backoff_multiplier,
        longest=max(first, config.max_cooldown_seconds),
        slow_start_items=config.slow_start_items,
        slow_start_initial=config.slow_start_initial_delay,
        slow_start_final=config.slow_start_final_delay,
    )


def per_minute(requests: float | None, tokens: float | None) -> Iterator[Limit]:
    """Limits per minute; a fraction such as 0.5 a minute becomes one in two minutes."""
    if requests is not None:
        yield _limit("requests", requests)
    if tokens is not None:
        yield _limit("tokens", tokens)


def _limit(dimension: str, amount: float) -> Limit:
    if amount >= 1:
        return Limit(dimension, int(amount))  # type: ignore[arg-type]
    return Limit(dimension, 1, per=60.0 / amount)  # type: ignore[arg-type]
