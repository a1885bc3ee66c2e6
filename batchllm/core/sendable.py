"""The check for what no request can carry: half a surrogate pair, numbers that JSON has not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from batchllm.core.errors import InvalidItemError

__all__ = ["check_sendable", "check_texts"]


def check_texts(value: object, what: str) -> None:
    """Pass if every text in *value* can be encoded.

    Args:
        value: A text, or mappings and lists of them at any depth.
        what: Names the value in the message.

    Raises:
        InvalidItemError: One text has a lone surrogate; the message names it and the character.
    """
    if isinstance(value, str) and value.isascii():
        return  # most prompts, at no cost
    _check(value, what, numbers=False)


def check_sendable(request: Mapping[str, Any]) -> None:
    """Pass if *request* can be written as JSON without a loss.

    Encoders write NaN and infinity as null, so that the provider would be asked for something
    else than the caller said.

    Raises:
        InvalidItemError: A number in it is not finite, or a text cannot be encoded; the message
            names the field.
    """
    for name, value in request.items():
        if not name.isascii():
            _check(name, "the name of a field", numbers=False)
        if not _is_plain(value):
            _check(value, name, numbers=True)


def _is_plain(value: object, depth: int = 6) -> bool:
    """Return whether there is nothing to look for: texts in ASCII, whole numbers, not *depth* deep.

    That is nearly every request; to know where something is in it costs three times as much.
    """
    kind = type(value)
    if kind is str:
        return cast("str", value).isascii()
    if kind is dict and depth:
        for key, part in cast("dict[Any, Any]", value).items():
            if not (_is_plain(key, 0) and _is_plain(part, depth - 1)):
                return False
        return True
    if kind is list and depth:
        for part in cast("list[Any]", value):  # noqa: SIM110 - a generator costs as much again
            if not _is_plain(part, depth - 1):
                return False
        return True
    return value is None or kind is int or kind is bool


def _check(value: object, what: str, *, numbers: bool) -> None:
    problem: str | None = None
    try:
        problem = _problem(value, what, numbers)
    except RecursionError:
        return  # it contains itself, or nearly so: the encoder refuses it in its own words
    if problem is not None:
        raise InvalidItemError(problem)


def _problem(value: object, path: str, numbers: bool) -> str | None:
    if isinstance(value, str):
        return _half_in(value, path)
    if isinstance(value, float):
        if not numbers or math.isfinite(value):
            return None
        return f"{path} is {value!r}, and JSON has no such number; leave it out or give another"
    if isinstance(value, Mapping):
        for key, part in value.items():
            problem = _half_in(key, f"a key of {path}") if isinstance(key, str) else None
            problem = problem or _problem(part, f"{path}.{key}", numbers)
            if problem is not None:
                return problem
    elif isinstance(value, list | tuple):
        for index, part in enumerate(cast("list[Any]", value)):
            problem = _problem(part, f"{path}[{index}]", numbers)
            if problem is not None:
                return problem
    return None


def _half_in(text: str, path: str) -> str | None:
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        return (
            f"{path} has half a surrogate pair ({half}) at character {error.start + 1}, which no "
            "encoding can carry; repair or replace it where the text comes from"
        )
    return None
