"""The bill of a failed attempt: the tokens that it reports, else if it may have any."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final

from batchllm.classifiers.evidence import peek, status_of
from batchllm.core import BatchError, TokenUsage, TransportError, add_usage, normalize_usage

__all__ = ["failed_usage", "is_cut_off", "is_unconnected", "may_be_billed"]

_NAMES: Final = ("_failed_token_usage", "token_usage", "usage")
_MOST_EXCEPTIONS: Final = 64
"""Exceptions of one chain or group that are looked at: some chains are made anew without end."""
_NO_CONNECTION: Final = frozenset({"ConnectError", "ConnectTimeout", "gaierror"})
"""Names of exceptions, of httpx and others, that come before anything is sent."""


def failed_usage(exception: BaseException) -> TokenUsage | None:
    """Return the tokens that *exception* reports as billed; ``None`` if it reports none.

    They are looked for on the exception and on its ``result``, as a value or behind a method,
    then on what it was raised from, and of a group they are added up over its members.
    """
    return _look(exception, set())


def may_be_billed(exception: BaseException) -> bool:
    """Return whether the provider may bill a call that failed without reporting its tokens.

    It does not bill what it refused with a status, nor what it never got. Of all else, such as a
    connection that was lost or a time that was over, no one here can know.
    """
    status = status_of(exception)
    if is_cut_off(exception):
        return True  # by an error amid the answer, whatever status that names
    if status is not None and status >= 400:
        return False
    for one in _with_causes(exception):
        if isinstance(one, TransportError):
            return one.sent
        if isinstance(one, BatchError | ConnectionRefusedError):
            return False
        if type(one).__name__ in _NO_CONNECTION:
            return False
    return True


def is_cut_off(exception: BaseException) -> bool:
    """Return whether the answer was cut off, so that the tokens of *exception* are no bill.

    They are those so far: a provider counts at the end, and may go on when no one reads any more.
    """
    return any(getattr(one, "cut_off", False) is True for one in _with_causes(exception))


def is_unconnected(exception: BaseException) -> bool:
    """Return whether no connection to the provider could be made, whatever the request.

    Only our own transport is believed: a user's code may connect to anything for one item.
    """
    return any(
        isinstance(one, TransportError) and not one.connected for one in _with_causes(exception)
    )


def _with_causes(exception: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while exception is not None and id(exception) not in seen and len(seen) < _MOST_EXCEPTIONS:
        seen.add(id(exception))
        yield exception
        exception = exception.__cause__ or exception.__context__


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
