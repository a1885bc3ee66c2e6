"""The last evidence: what an exception is called and says, where it has no status and no code."""

from __future__ import annotations

import re
from typing import Final

from batchllm.core import Category

__all__ = ["by_words"]

_TYPES: Final = ("RateLimit", "TooManyRequests")
_START: Final = 300
"""Characters of a message that count; behind them stand requests and answers of any content."""

_STATUS: Final = re.compile(
    r"\W{0,3}(?:(?:http|status|error|code)\W{1,3}){0,4}429\b", re.IGNORECASE
)
_EMPTY: Final = re.compile(r"\binsufficient_quota\b", re.IGNORECASE)
_PHRASES: Final = tuple(
    re.compile(rf"\b{words}\b", re.IGNORECASE)
    for words in (
        r"rate[ -_]?limit(?:s|ed)?",
        r"too many requests",
        r"quota (?:was |is |has been )?exceeded",
        r"resource[_ ]exhausted",
        r"throttl(?:ed|ing)",
    )
)


def by_words(exception: BaseException, message: str) -> Category | None:
    """Return the category that type name and message agree on; ``None`` if they say too little.

    One phrase alone is no evidence: "see our docs on rate limits" stands in many a message.
    """
    start = message[:_START]
    if _EMPTY.search(start):
        return Category.INSUFFICIENT_QUOTA
    if any(kind.__name__.startswith(_TYPES) for kind in type(exception).__mro__):
        return Category.RATE_LIMIT
    if _STATUS.match(start) or sum(bool(one.search(start)) for one in _PHRASES) >= 2:
        return Category.RATE_LIMIT
    return None
