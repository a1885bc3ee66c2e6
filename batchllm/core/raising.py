"""An error raised again out of the group in which a task group handed it on."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["raise_as_it_was", "raise_without_group"]


def raise_as_it_was(error: BaseException) -> NoReturn:
    """Raise *error* out of the group that it came in, with the cause and context that it had."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context


def raise_without_group(errors: BaseExceptionGroup[Any]) -> NoReturn:
    """Raise what is in the group that a task group of ours made, if it is only one error.

    No more is taken off than that: a group that the user's block raised stays whole.
    """
    raise_as_it_was(errors.exceptions[0] if len(errors.exceptions) == 1 else errors)
