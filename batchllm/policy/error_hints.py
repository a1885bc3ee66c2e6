"""What error bodies say about waiting and limits, where headers say nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from batchllm.core import Dimension, LimitHint
from batchllm.policy.durations import LONGEST, parse_duration
from batchllm.policy.error_body import ErrorBody

__all__ = ["EXHAUSTED_CODES", "BodyHint", "can_never_pass", "read_details", "read_message"]

EXHAUSTED_CODES: Final = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "enforced_spend_limit_reached",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "insufficient_balance",
    }
)
"""Codes and types of an account that is empty or at its spend limit."""


class BodyHint(NamedTuple):
    """What a body says: seconds to wait, limits, and whether they come back at all soon."""

    wait: float | None = None
    limits: tuple[LimitHint, ...] = ()
    exhausted: bool = False


def read_details(error: ErrorBody) -> BodyHint:
    """Read Google's ``RetryInfo`` and ``QuotaFailure``, and codes of an empty account."""
    wait: float | None = None
    limits: list[LimitHint] = []
    for detail in error.details:
        kind = str(detail.get("@type", ""))[-64:]
        if kind.endswith("RetryInfo"):
            wait = _duration(detail.get("retryDelay")) or wait
        elif kind.endswith("QuotaFailure"):
            limits += _violations(detail.get("violations"))
    empty = bool({error.code, error.kind} & EXHAUSTED_CODES)
    if empty or any(limit.per == _PERIODS["day"] for limit in limits):
        return BodyHint(None, tuple(limits), exhausted=True)
    return BodyHint(wait, tuple(limits))


def read_message(message: str) -> BodyHint:
    """Read a message such as ``"Limit 30000, Used 29937. Please try again in 644ms."``."""
    if not message:
        return BodyHint()
    asked = _RETRY.search(message)
    wait = _duration(asked[1]) if asked else None
    azure = _AZURE.search(message)
    if azure:
        dimension: Dimension = "tokens" if "token" in message.lower() else "requests"
        per = float(azure[2])
        limit = LimitHint(dimension=dimension, amount=int(azure[1]), per=per, remaining=0)
        return BodyHint(wait, (limit,), exhausted=per >= _PERIODS["day"])
    return BodyHint(wait, _counted(message))


def can_never_pass(message: str) -> bool:
    """Whether a refusal names a request that is larger than the limit itself."""
    counts = _COUNTS.search(message)
    if counts and counts[3] and int(counts[3]) > int(counts[1]):
        return True
    low = message.lower()
    return "request too large" in low or "token budget exceeded by request" in low


_PERIODS: Final = {"second": 1.0, "minute": 60.0, "min": 60.0, "hour": 3_600.0, "day": 86_400.0}
_WORDS: Final = {"milliseconds": "ms", "seconds": "s", "minutes": "m", "hours": "h"}

# Each quantifier is bounded: a hostile message costs no more than a friendly one.
_RETRY: Final = re.compile(
    r"(?:(?:try again|retry)\s{1,4}(?:in|after)|wait(?:\s{1,4}for)?)\s{1,4}"
    r"((?:[0-9]{1,12}(?:\.[0-9]{1,12})?\s?"
    r"(?:(?:milliseconds?|seconds?|minutes?|hours?|ms|[nuµμ]s|[smh])(?![a-z])|(?=[.,;!]|$))"
    r"\s?){1,4})",
    re.IGNORECASE,
)
_COUNTS: Final = re.compile(
    r"Limit:? ([0-9]{1,15})(?:, Used:? ([0-9]{1,15}))?(?:, Requested:? ([0-9]{1,15}))?"
)
_AZURE: Final = re.compile(r"Rate limit of ([0-9]{1,15}) per ([0-9]{1,9})s exceeded")
_NAMED: Final = re.compile(
    r"\((RPS|RPM|RPH|RPD|TPM|TPH|TPD|ITPM|OTPM)\)"
    r"|\b((?:input |output )?tokens|requests) per (second|min|minute|hour|day)\b",
    re.IGNORECASE,
)
_LETTERS: Final[dict[str, Dimension]] = {
    "R": "requests",
    "T": "tokens",
    "I": "input_tokens",
    "O": "output_tokens",
}
_LAST_LETTER: Final = {"S": 1.0, "M": 60.0, "H": 3_600.0, "D": 86_400.0}


def _duration(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    text = value.lower()
    for word, unit in _WORDS.items():
        text = text.replace(word, unit).replace(word[:-1], unit)
    seconds = parse_duration("".join(text.split()))
    return min(seconds, LONGEST) if seconds else None


def _counted(message: str) -> tuple[LimitHint, ...]:
    counts, named = _COUNTS.search(message), _NAMED.search(message)
    if not counts or not named or not int(counts[1]):
        return ()
    if named[1]:
        letters = named[1].upper()
        dimension, per = _LETTERS[letters[0]], _LAST_LETTER[letters[-1]]
    else:
        dimension = cast("Dimension", named[2].lower().replace(" ", "_"))
        per = _PERIODS[named[3].lower()]
    amount = int(counts[1])
    remaining = max(0, amount - int(counts[2])) if counts[2] else None
    return (LimitHint(dimension=dimension, amount=amount, per=per, remaining=remaining),)


def _violations(violations: object) -> list[LimitHint]:
    if not isinstance(violations, list):
        return []
    hints = (_violation(one) for one in cast("Sequence[Any]", violations)[:32])
    return [hint for hint in hints if hint is not None]


def _violation(violation: object) -> LimitHint | None:
    """Read one violation; ``GenerateRequestsPerDayPerProjectPerModel`` names its dimension."""
    if not isinstance(violation, dict):
        return None
    fields = cast("dict[str, Any]", violation)
    name, value = fields.get("quotaId"), fields.get("quotaValue")
    if not isinstance(name, str):
        return None
    name = name[:256].lower()
    per = next((s for word, s in _PERIODS.items() if f"per{word}" in name), None)
    dimension: Dimension = "requests"
    if "token" in name:
        dimension = "output_tokens" if "output" in name else "tokens"
        dimension = "input_tokens" if "input" in name else dimension
    digits = value if isinstance(value, str) else ""
    amount = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 15 else None
    return LimitHint(dimension=dimension, amount=amount or None, per=per, remaining=0)
