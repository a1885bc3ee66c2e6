"""Limits in words, the same in the log, in summaries and in terminals."""

from __future__ import annotations

from typing import Final

from batchllm.policy.bucket import Limit

__all__ = ["amount_in_words", "found_in_words", "limit_in_words"]

_NAMED: Final = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86_400.0: "day"}


def limit_in_words(limit: Limit) -> str:
    """Return *limit* as in ``"60 requests per minute"``."""
    return amount_in_words(limit.dimension, limit.amount, limit.per)


def amount_in_words(dimension: str, amount: float, per: float) -> str:
    """Return *amount* of *dimension* in *per* seconds, as in ``"60 requests per minute"``."""
    period = _NAMED.get(per, f"{_plain(per)} s")
    return f"{_plain(amount)} {dimension.replace('_', ' ')} per {period}"


def found_in_words(pace: float) -> str:
    """Return what to call a quota that was learned as *pace* calls per second."""
    per_minute = 60 * pace
    about = f"{per_minute:,.0f}" if per_minute >= 10 else f"{per_minute:.2g}"
    return f"the provider's quota, found to be about {about} requests per minute"


def _plain(number: float) -> str:
    """Return *number* without an exponent, however large it is."""
    if number < 1:
        return f"{number:g}"
    text = f"{number:,.3f}"
    return text.rstrip("0").rstrip(".")
