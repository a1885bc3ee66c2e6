"""The check of a result that a middleware has returned, which may have anything in its fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from batchllm.core import AttemptFailure, WorkItemResult, kind_of, read_count

__all__ = ["wrong_with"]


def wrong_with(result: WorkItemResult[Any, Any]) -> TypeError | None:
    """Return what is wrong with a field of *result*; ``None`` if each is of its kind.

    It is summed up, written down and delivered as any other, where a wrong kind would end the run.
    """
    for name, (fits, remedy) in _FIELDS.items():
        value: object = getattr(result, name)
        if not fits(value):
            shown = f" ({value!r:.60})" if isinstance(value, int | float | str) else ""
            msg = f"it returned a WorkItemResult whose {name} is {kind_of(value)}{shown}; {remedy}"
            return TypeError(msg)
    return None


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_usage(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    counts = cast("Mapping[object, object]", value).items()
    return all(isinstance(k, str) and type(v) is int and read_count(v) == v for k, v in counts)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0


def _are(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        return isinstance(value, tuple) and all(map(fits, cast("tuple[object, ...]", value)))

    return check


_FIELDS: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "success": (lambda value: isinstance(value, bool), "give True or False"),
    "error": (_is_text, "give a sentence, or None"),
    "error_category": (_is_text, "give a Category or a word, or None"),
    "exception": (
        lambda value: value is None or isinstance(value, BaseException),
        "give an exception, or None",
    ),
    "token_usage": (_is_usage, "give whole numbers of tokens by name, or {} if unknown"),
    "metadata": (lambda value: value is None or isinstance(value, Mapping), "give a mapping"),
    "cost": (lambda value: value is None or _is_number(value), "give US dollars, or None"),
    "attempts": (lambda value: type(value) is int and value >= 0, "give their number"),
    "spans": (_are(_is_number), "leave them as they were: evolve(result, output=…)"),
    "attempt_failures": (
        _are(lambda one: one is None or isinstance(one, AttemptFailure)),
        "leave them as they were: evolve(result, output=…)",
    ),
}
