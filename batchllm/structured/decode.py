"""Finding the JSON in a text that a model wrote, in time linear in its length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from attrs import field, frozen

from batchllm.policy import JsonError, mend, mended_text, python_json
from batchllm.structured.problems import Problem

__all__ = ["Decoded", "bracketed", "decode", "decode_cut_short", "fenced"]

_FENCE = re.compile(r"```[ \t]*+[\w+.-]*+[ \t]*+\r?\n?(.*?)```", re.DOTALL)
# A string ends at its quote or with the answer, so that no character is looked at twice.
_STRING = r'"(?:[^"\\]++|\\.)*+"?'
_MARK = re.compile(rf"{_STRING}|[{{}}\[\],]", re.DOTALL)
_BRACKET = re.compile(rf"{_STRING}|[{{}}\[\]]", re.DOTALL)
_SPARE_COMMA = re.compile(r",\s*+[}\]]")
_STRING_OR_SPARE_COMMA = re.compile(rf"({_STRING})|,(?=\s*+[}}\]])", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_CLOSING = {"{": "}", "[": "]"}
_TWICE = "is given twice, with different values"
_PIECES = 64
"""Blocks of one answer that are tried: models write a draft or two before the last."""
_DEEPEST = 10_000
"""Levels of brackets, more than ``json.loads`` can read: some 1,000 in Python 3.11."""
_EFFORT = 100_000
"""Characters that may be read again, beside each once, so that hostile answers take linear time."""


@frozen
class Decoded:
    """A piece of JSON.

    Attributes:
        value: As ``json.loads`` gives it, without lone surrogates.
        problems: Keys that it gives twice with different values.
        mended: The paths of texts in which a lone surrogate became U+FFFD.
    """

    value: Any
    problems: tuple[Problem, ...] = field(default=())
    mended: tuple[str, ...] = field(default=())


def decode(text: str) -> Decoded | None:
    """Read *text* as JSON, forgiving a comma before a closing bracket; ``None`` if that fails."""
    text = text.strip().lstrip("\ufeff")
    decoded = _loads(text)
    if decoded is not None or not _SPARE_COMMA.search(text):
        return decoded
    return _loads(_STRING_OR_SPARE_COMMA.sub(lambda match: match[1] or "", text))


def _loads(text: str) -> Decoded | None:
    twice: list[Problem] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            twice.extend(
                Problem(mended_text(key), _TWICE, mend(value)[0])
                for key, value in items
                if value != found[key]
            )
        return found

    try:
        # msgspec would keep the last of two equal keys in silence, so Python's json reads answers.
        value = python_json(text, pairs=pairs)
    except JsonError:
        return None
    value, changed = mend(value)
    return Decoded(value, tuple(twice), tuple(changed))


def fenced(text: str) -> Iterator[str]:
    """Give the blocks between fences of three backticks."""
    return (match[1] for match in islice(_FENCE.finditer(text), _PIECES))


def bracketed(text: str) -> Iterator[str]:
    """Give the spans from an opening bracket to its closing one; one that never closes is left."""
    start, pieces, effort = _next_opening(text, 0), 0, len(text) + _EFFORT
    while start >= 0 and pieces < _PIECES and effort > 0:
        closed, stop = _span(text, start)
        effort -= stop - start
        if closed:
            pieces += 1
            yield text[start:stop]
        start = _next_opening(text, stop if closed else start + 1)


def _next_opening(text: str, position: int) -> int:
    match = _OPENING.search(text, position)
    return -1 if match is None else match.start()


def _span(text: str, start: int) -> tuple[bool, int]:
    """Return whether the bracket at *start* is closed, and where that was seen."""
    closers: list[str] = []
    for match in _BRACKET.finditer(text, start):
        mark = match[0]
        if mark in _CLOSING:
            closers.append(_CLOSING[mark])
        elif mark in ("}", "]") and closers.pop() != mark:
            return False, match.end()
        if not closers:
            return True, match.end()
        if len(closers) > _DEEPEST:
            return False, match.end()
    return False, len(text)


def decode_cut_short(text: str) -> Decoded | None:
    """Read what is whole of a JSON value that breaks off: its complete top-level members."""
    closers: list[str] = []
    start = complete = 0
    for match in _MARK.finditer(text):
        mark = match[0]
        if mark in _CLOSING:
            if not closers:
                start, complete = match.start(), match.end()
            closers.append(_CLOSING[mark])
        elif mark in ("}", "]") and closers:
            closers.pop()
        if len(closers) > _DEEPEST:
            break
        if len(closers) == 1 and mark == ",":
            complete = match.start()
        elif len(closers) == 1 and mark in ("}", "]"):
            complete = match.end()
    if not closers:
        return None
    return decode(text[start:complete] + closers[0])
