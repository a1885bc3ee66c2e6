"""Asking what an exception means, first of the user's own classifier, which may answer anything."""

from __future__ import annotations

import math

from batchllm.classifiers.default import DefaultErrorClassifier, error_info
from batchllm.core import Category, ErrorClassifier, ErrorInfo, ServerHint, message_of

__all__ = ["classify"]


def classify(
    exception: BaseException, custom: ErrorClassifier | None, default: ErrorClassifier
) -> ErrorInfo:
    """Ask *custom*, and *default* if it is missing or answers ``None``.

    If *default* has no opinion either, or *exception* is no ``Exception``, the
    ``DefaultErrorClassifier`` decides. A classifier that raises, or answers with something else
    than an ``ErrorInfo``, fails the item as a ``program_error``, since guessing on would hide
    the mistake; a note on *exception* names it.
    """
    if isinstance(exception, Exception):
        for classifier in (custom, default):
            info = None if classifier is None else _ask(classifier, exception)
            if info is not None:
                return info
    return DefaultErrorClassifier().classify(exception)


def _ask(classifier: ErrorClassifier, exception: Exception) -> ErrorInfo | None:
    try:
        info: object = classifier.classify(exception)
    except Exception as error:  # a user's code; the note names it
        fault = f"raised {type(error).__name__}: {message_of(error)}"
    else:
        if info is None:
            return None
        wrong = _wrong_field(info) if isinstance(info, ErrorInfo) else type(info).__name__
        if isinstance(info, ErrorInfo) and wrong is None:
            return info
        fault = f"returned {wrong}"
    exception.add_note(
        f"{type(classifier).__name__}.classify() {fault}; "
        "make it return an ErrorInfo, or None for no opinion"
    )
    return error_info(Category.PROGRAM_ERROR)


_FLAGS = ("is_retryable", "is_rate_limit", "is_timeout")


def _wrong_field(info: ErrorInfo) -> str | None:
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
