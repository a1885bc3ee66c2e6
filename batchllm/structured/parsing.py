"""From the text of an answer to a value of the output type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, TypeVar, cast

from attrs import evolve, frozen

from batchllm.structured.convert import Reading, read_value
from batchllm.structured.decode import Decoded, bracketed, decode, decode_cut_short, fenced
from batchllm.structured.parsed import Parsed
from batchllm.structured.partial import valid_fields
from batchllm.structured.problems import OutputValidationError, Problem
from batchllm.structured.schema import VALUE_KEY, is_object

__all__ = ["parse", "parse_noted"]

T = TypeVar("T")

_SHOWN = 5
"""Problems in the message of the error, which is a line in a log; ``problems`` has all."""


@frozen
class _Answer:
    """A piece of JSON as it was read.

    Attributes:
        is_other: If it is no object though one was asked for, such as a ``[1]`` in a text.
    """

    decoded: Decoded
    reading: Reading
    is_other: bool

    @property
    def problems(self) -> list[Problem]:
        return [*self.decoded.problems, *self.reading.problems]


def parse_noted(text: str, kind: type[T]) -> Parsed[T]:
    """Do as :func:`parse`, and say what was changed in the answer."""
    answer = _parse(text, kind, repair=False)
    notes = tuple(
        f"half a surrogate pair in {path or 'the answer'} became U+FFFD"
        for path in answer.decoded.mended
    )
    return Parsed(cast("T", answer.reading.output), notes)


def parse(text: str, kind: type[T], *, repair: bool = False) -> T:
    """Find the JSON in *text* and read it as a *kind*.

    The JSON may stand in fences, between other text, behind a byte order mark, and have a
    comma before a closing bracket. If there are several pieces, the last one that fits is
    taken. Keys that the type does not have are ignored. ``NaN``, ``Infinity``, and a key that
    is given twice with different values are problems of their fields.

    Args:
        text: The answer.
        kind: An attrs class, dataclass, ``TypedDict`` or Pydantic model, or anything that is
            built of those, containers and the types that msgspec knows.
        repair: If json-repair may guess what broken JSON was meant to be. JSON that
            breaks off is refused all the same: its last value may have lost its end.

    Raises:
        OutputValidationError: There is no such value in it; says what is wrong with which field.
        ImportError: *repair* is asked for, and json-repair is not installed.
        TypeError: *kind* is a type that JSON cannot fill.
    """
    return cast("T", _parse(text, kind, repair=repair).reading.output)


def _parse(text: str, kind: Any, *, repair: bool) -> _Answer:
    try:
        return _find(text, kind, repair=repair)
    except RecursionError:
        raise _failure(text, None, [Problem("", "The JSON is nested too deeply")], {}) from None


def _find(text: str, kind: Any, *, repair: bool) -> _Answer:
    answer = _best(_answers(text, kind))
    if answer is None or answer.is_other:
        rest = decode_cut_short(text)
        if rest is not None and (isinstance(rest.value, dict) or not is_object(kind)):
            raise _broken_off(text, rest, kind)
    if answer is None and repair:
        guess = _repaired(text)
        answer = None if guess is None else _read(Decoded(guess), kind)
    if answer is None:
        said = "has no readable JSON in it" if text.strip() else "is empty"
        raise _failure(text, None, [Problem("", f"The answer {said}", text)], {})
    problems = answer.problems
    if problems:
        value = answer.decoded.value
        raise _failure(text, value, problems, valid_fields(value, kind, problems))
    return answer


def _repaired(text: str) -> Any:
    """Guess what broken JSON was meant to be; ``None`` if there is no guess."""
    try:
        module: Any = import_module("json_repair")
    except ImportError as error:
        msg = 'repair=True needs json-repair: pip install "batchllm[json]"'
        raise ImportError(msg) from error
    try:
        value = module.loads(text)
    except (ValueError, RecursionError):
        return None
    return None if isinstance(value, str) else value  # a text without any JSON gives an empty one


def _answers(text: str, kind: Any) -> Iterator[Iterable[_Answer]]:
    """Give the answers in *text*, those that are found with more confidence first."""
    for pieces in ((text,), fenced(text), bracketed(text)):
        yield [_read(decoded, kind) for piece in pieces if (decoded := decode(piece)) is not None]


def _best(groups: Iterable[Iterable[_Answer]]) -> _Answer | None:
    """Return the last of those with the fewest problems, in the first group that has any."""
    for group in groups:
        best: _Answer | None = None
        for answer in group:
            if best is None or _rank(answer) <= _rank(best):
                best = answer
        if best is not None:
            return best
    return None


def _rank(answer: _Answer) -> tuple[bool, int]:
    return answer.is_other, len(answer.problems)


def _read(decoded: Decoded, kind: Any) -> _Answer:
    value = decoded.value
    if isinstance(value, dict) and value.keys() == {VALUE_KEY} and not is_object(kind):
        decoded = evolve(decoded, value=cast("dict[str, Any]", value)[VALUE_KEY])
    # The answer first, since looking into *kind* takes some 25 µs, and most answers are objects.
    is_other = not isinstance(decoded.value, dict) and is_object(kind)
    return _Answer(decoded, read_value(decoded.value, kind), is_other)


def _broken_off(text: str, rest: Decoded, kind: Any) -> OutputValidationError:
    reading = read_value(rest.value, kind)
    valid = valid_fields(rest.value, kind, reading.problems)
    problems = [Problem("", "The JSON breaks off before its end"), *reading.problems]
    return _failure(text, rest.value, problems, valid)


def _failure(
    text: str, value: Any, problems: list[Problem], valid: dict[str, Any]
) -> OutputValidationError:
    shown = "; ".join(str(problem) for problem in problems[:_SHOWN])
    more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
    message = f"the answer does not fit its type: {shown}{more}"
    return OutputValidationError(message, text=text, value=value, problems=problems, valid=valid)
