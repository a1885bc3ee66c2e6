"""The check of a classifier's answer; that of a user's own classifier may hold anything."""

from __future__ import annotations

import math

from batchllm.core import ErrorInfo, ServerHint

__all__ = ["wrong_field"]

_FLAGS = ("is_retryable", "is_rate_limit", "is_timeout")


def wrong_field(info: ErrorInfo) -> str | None:
    """Return what is wrong with *info*, with its remedy; ``None`` if nothing is."""
    for name in _FLAGS:
        if not isinstance(getattr(info, name), bool):
            return f"an ErrorInfo with {name}={getattr(info, name)!r}; give True or False"
    category: object = info.error_category
    if not isinstance(category, str) or not category:
        return f"an ErrorInfo with error_category={category!r}; give a Category or a word"
    if not _is_wait(info.suggested_wait):
        return f"an ErrorInfo with suggested_wait={info.suggested_wait!r}; give seconds or None"
    hint: object = info.hint
    if hint is not None and not isinstance(hint, ServerHint):
        return f"an ErrorInfo with hint={hint!r:.80}; give a ServerHint or None"
    if hint is not None and not _is_wait(hint.wait):
        return f"an ErrorInfo whose hint has wait={hint.wait!r}; give seconds or None"
    return None


def _is_wait(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0
