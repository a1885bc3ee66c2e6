"""The waits and limits in error bodies, for replies whose headers say nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

from batchllm.core import Dimension, LimitHint
from batchllm.policy.hints.durations import LONGEST, parse_duration, parse_moment
from batchllm.policy.hints.error_body import ErrorBody

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
    """The content of a body: seconds to wait, limits, and whether they come back at all soon."""

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


class Clock(Protocol):
    """The moment of the reply."""

    def seconds_until(self, moment: float) -> float | None:
        """Return the seconds to *moment*, ``None`` if it is over."""
        ...


def read_message(message: str, clock: Clock) -> BodyHint:
    """Read a message such as ``"Limit 30000, Used 29937. Please try again in 644ms."``."""
    if not message:
        return BodyHint()
    asked = _RETRY.search(message)
    wait = _duration(asked[1]) if asked else _until(message, clock)
    parallel = _parallel(message)
    if parallel is not None:
        return BodyHint(wait, (parallel,))
    azure = _AZURE.search(message)
    if azure:
        dimension: Dimension = "tokens" if "token" in message.lower() else "requests"
        per = float(azure[2])
        limit = LimitHint(dimension=dimension, amount=int(azure[1]), per=per, remaining=0)
        return BodyHint(wait, (limit,), exhausted=per >= _PERIODS["day"])
    return BodyHint(wait, _counted(message))


def can_never_pass(message: str) -> bool:
    """Return whether a refusal names a request that is larger than the limit itself."""
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
# LiteLLM: "Limit type: max_parallel_requests. Current limit: 4, Remaining: 0".
_TYPED: Final = re.compile(
    r"Limit type: ([a-z_]{1,40})\. Current limit: ([0-9]{1,15})(?:, Remaining: ([0-9]{1,15}))?"
)
# LiteLLM for a model: "Model rate limit exceeded. RPM limit=60, current usage=61".
_USAGE: Final = re.compile(r"\b([RT]P[MD]) limit=([0-9]{1,15}), current usage=")
_RESETS: Final = re.compile(
    r"resets at:? ([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2})", re.IGNORECASE
)
# "max organization concurrency: 3", "5 concurrent requests", "concurrency limit of 8".
_PARALLEL: Final = re.compile(
    r"max_parallel_requests|concurrency|concurrent (?:requests|calls|connections|sessions)"
    r"|parallel (?:requests|calls)",
    re.IGNORECASE,
)
_PARALLEL_AMOUNT: Final = re.compile(
    r"(?:concurrency|(?:concurrent|parallel) (?:requests|calls|connections|sessions))"
    r"(?: limit)?(?::| of| is|=)? {0,2}\(?([0-9]{1,9})\b"
    r"|\b([0-9]{1,9}) (?:concurrent|parallel) (?:requests|calls|connections|sessions)",
    re.IGNORECASE,
)
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
_TYPES: Final[dict[str, Dimension]] = {"requests": "requests", "tokens": "tokens"}
_LAST_LETTER: Final = {"S": 1.0, "M": 60.0, "H": 3_600.0, "D": 86_400.0}


def _duration(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    text = value.lower()
    for word, unit in _WORDS.items():
        text = text.replace(word, unit).replace(word[:-1], unit)
    seconds = parse_duration("".join(text.split()))
    return min(seconds, LONGEST) if seconds else None


def _until(message: str, clock: Clock) -> float | None:
    """Read the moment when a limit comes back; the words leave the zone out, and mean UTC."""
    named = _RESETS.search(message)
    moment = parse_moment(named[1]) if named else None
    return None if moment is None else clock.seconds_until(moment)


def _parallel(message: str) -> LimitHint | None:
    """Read a cap on parallel calls, whose number may be missing."""
    if not _PARALLEL.search(message):
        return None
    typed = _TYPED.search(message)
    if typed:
        if typed[1] != "max_parallel_requests":
            return None
        amount = int(typed[2])
    else:
        found = _PARALLEL_AMOUNT.search(message)
        amount = int(found[1] or found[2]) if found else 0
    return LimitHint(dimension="concurrency", amount=amount or None, remaining=0)


def _counted(message: str) -> tuple[LimitHint, ...]:
    typed = _TYPED.search(message)
    if typed:
        return _typed(typed)
    usage = _USAGE.search(message)
    if usage and int(usage[2]):
        dimension, per = _LETTERS[usage[1][0]], _LAST_LETTER[usage[1][-1]]
        return (LimitHint(dimension=dimension, amount=int(usage[2]), per=per, remaining=0),)
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


def _typed(typed: re.Match[str]) -> tuple[LimitHint, ...]:
    """Read LiteLLM's words, which give no period."""
    dimension = _TYPES.get(typed[1])
    if dimension is None or not int(typed[2]):
        return ()
    remaining = int(typed[3]) if typed[3] else None
    return (LimitHint(dimension=dimension, amount=int(typed[2]), remaining=remaining),)


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
