"""Tokens that a failed attempt was billed for."""

from __future__ import annotations

import inspect
from typing import Final

from batchllm.classifiers.evidence import peek
from batchllm.core import TokenUsage, add_usage, normalize_usage

__all__ = ["failed_usage"]

_NAMES: Final = ("_failed_token_usage", "token_usage", "usage")
_MOST_EXCEPTIONS: Final = 64
"""Exceptions of one chain or group that are looked at: some chains are made anew without end."""


def failed_usage(exception: BaseException) -> TokenUsage | None:
    """Return the tokens that *exception* reports as billed; ``None`` if it reports none.

    They are looked for on the exception and on its ``result``, as a value or behind a method,
    then on what it was raised from, and of a group they are added up over its members.
    """
    return _look(exception, set())


def _look(exception: BaseException | None, seen: set[int]) -> TokenUsage | None:
    if exception is None or id(exception) in seen or len(seen) >= _MOST_EXCEPTIONS:
        return None
    seen.add(id(exception))
    for owner in (exception, peek(exception, "result")):
        for name in _NAMES:
            usage = _read(peek(owner, name))
            if usage is not None:
                return usage
    if isinstance(exception, BaseExceptionGroup):
        total: TokenUsage | None = None
        for member in exception.exceptions:
            total = add_usage(total, _look(member, seen))
        if total is not None:
            return total
    behind = exception.__cause__
    if behind is None and not exception.__suppress_context__:
        behind = exception.__context__
    return _look(behind, seen)


def _read(usage: object) -> TokenUsage | None:
    try:
        found = normalize_usage(usage)
        if found is None and inspect.ismethod(usage) and not inspect.iscoroutinefunction(usage):
            return normalize_usage(usage())  # as agents' results have it
        return found
    except Exception:  # what a stranger calls usage may raise anything when it is read
        return None
