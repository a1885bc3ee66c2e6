"""From the user's settings to the parts of gates, checked by name."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast, get_args

from batchllm.core import (
    FASTEST_PER_MINUTE,
    SLOWEST_PER_MINUTE,
    ConfigError,
    QuotaScope,
    RateLimitConfig,
    kind_of,
)
from batchllm.policy import (
    ConcurrencySearch,
    CooldownPolicy,
    Learned,
    LeasedBucket,
    Limit,
    RateLimiter,
    Settlement,
    is_own_address,
)

__all__ = ["check_gate", "cooldown_policy", "limiter_of_gate", "per_minute"]

_SHORTEST = 1e-3
"""Seconds; a pause of none at all would send the refused call again in the same turn."""


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
    """Give limits per minute; a fraction such as 0.5 a minute becomes one in two minutes."""
    if requests is not None:
        yield _limit("requests", requests)
    if tokens is not None:
        yield _limit("tokens", tokens)


def _limit(dimension: str, amount: float) -> Limit:
    if amount >= 1:
        return Limit(dimension, int(amount))  # type: ignore[arg-type]
    return Limit(dimension, 1, per=60.0 / amount)  # type: ignore[arg-type]


_PER_MINUTE: Final = (
    f"a number from {SLOWEST_PER_MINUTE:.2g} (one a year) to {FASTEST_PER_MINUTE:g}, or None for "
    "no such limit"
)
_SETTLEMENTS: Final = get_args(Settlement)
_KINDS: Final[dict[str, tuple[type, str]]] = {
    "rate_limit": (RateLimitConfig, "a RateLimitConfig, or None to adapt"),
    "learned": (Learned, "what snapshot or learned() of an earlier gate gave, or None"),
    "scope": (QuotaScope, "a QuotaScope, or None for every scope"),
}


def limiter_of_gate(
    limits: Iterable[Limit] = (),
    *,
    calls: int | None,
    rate_limit: RateLimitConfig | None,
    park_after: float | None,
    settlement: Settlement,
    scope: QuotaScope | None,
    seed: int | None,
    learn_calls: bool = False,
    learned: Learned | None = None,
    leased: LeasedBucket | None = None,
) -> RateLimiter:
    """Make the limiter of a gate from its arguments, which ``check_gate`` has checked.

    Args:
        limits: All that are declared, those per minute included.
        leased: What the gate may take of limits that it shares; the others are those of ``Gate``.
    """
    return RateLimiter(
        limits=limits,
        calls=calls,
        cooldown=cooldown_policy(rate_limit),
        park_after=math.inf if park_after is None else park_after,
        settlement=settlement,
        learned=learned,
        adapt=ConcurrencySearch() if learn_calls else None,
        rng=random.Random(seed),
        own_address=scope is not None and is_own_address(scope.base_url),
        leased=leased,
    )


def check_gate(
    of: str,
    *,
    requests_per_minute: float | None,
    tokens_per_minute: float | None,
    limits: object,
    calls: object,
    settlement: object,
    seed: object,
    learn_calls: object = False,
    **others: object,
) -> tuple[Limit, ...]:
    """Check the arguments of a ``Gate``, and return all limits that they declare.

    Args:
        of: What the user called, for messages; the others are those of ``Gate``.

    Raises:
        ConfigError: One has a value that cannot work; it is named, with what to give.
    """
    rates = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute}
    for name, rate in rates.items():
        _check_number(of, name, rate, SLOWEST_PER_MINUTE, FASTEST_PER_MINUTE, _PER_MINUTE)
    for name in ("park_after", "outage_after"):
        remedy = "a number of seconds above 0, or None to wait however long"
        _check_number(of, name, others[name], math.ulp(0.0), math.inf, remedy)
    for name, (kind, remedy) in _KINDS.items():
        value = others.get(name)
        if value is not None and not isinstance(value, kind):
            raise _wrong(of, name, value, remedy)
    if calls is not None and not (_is_whole(calls) and cast("int", calls) >= 1):
        raise _wrong(of, "calls", calls, "a whole number of at least 1, or None for no cap")
    if settlement not in _SETTLEMENTS:
        raise _wrong(of, "settlement", settlement, " or ".join(map(repr, _SETTLEMENTS)))
    if not isinstance(learn_calls, bool):
        raise _wrong(of, "learn_calls", learn_calls, "True or False")
    if seed is not None and not _is_whole(seed):
        raise _wrong(of, "seed", seed, "a whole number or None")
    return (*per_minute(requests_per_minute, tokens_per_minute), *_check_limits(of, limits))


def _check_number(of: str, name: str, value: Any, least: float, most: float, remedy: str) -> None:
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -math.inf < value < math.inf or not least <= value <= most:
        raise _wrong(of, name, value, remedy)


def _check_limits(of: str, limits: object) -> tuple[Limit, ...]:
    remedy = 'a list of limits, such as [Limit("requests", 10_000, per=86_400)]'
    if isinstance(limits, str | bytes | Limit | type) or not isinstance(limits, Iterable):
        raise _wrong(of, "limits", limits, remedy)
    given = tuple(limits)
    for index, limit in enumerate(given):
        if not isinstance(limit, Limit):
            raise _wrong(of, f"limits[{index}]", limit, 'a Limit, such as Limit("requests", 600)')
    return given


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong(of: str, name: str, value: object, remedy: str) -> ConfigError:
    shown = repr(value) if isinstance(value, int | float | str) else kind_of(value)
    return ConfigError(f"{of}({name}=…) is {shown}; give {remedy}")
