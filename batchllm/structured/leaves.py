"""Reasons why a value is refused, and the leaves, which msgspec reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Final, get_args, get_origin

import attrs
import msgspec

from batchllm.structured.problems import Problem

__all__ = [
    "WRONG_VALUE",
    "Refused",
    "below",
    "check_constraints",
    "check_finite",
    "not_json",
    "read_leaf",
    "refusal",
    "wrong_kind",
]


class Refused(ValueError):
    """A value is not of its type; paths are relative to it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems


def below(step: str, error: Exception, value: Any) -> Iterator[Problem]:
    """Give the problems of a part, each with the step to it before its own path."""
    if not isinstance(error, Refused):
        yield refusal(error, step, value)
        return
    for problem in error.problems:
        dot = "." if problem.path and not problem.path.startswith("[") else ""
        yield attrs.evolve(problem, path=f"{step}{dot}{problem.path}")


WRONG_VALUE: Final = (ValueError, TypeError, LookupError, ArithmeticError, AssertionError)


def refusal(error: Exception, path: str, value: Any) -> Problem:
    """Say what a constructor, validator or converter said of a value that has the right type."""
    if not isinstance(error, WRONG_VALUE):
        raise error
    # Some validators of attrs put the attribute and more behind their message.
    text = error.args[0] if len(error.args) > 1 else error
    return Problem(path, str(text) or type(error).__name__, value)


_JSON_NAMES: Final[dict[type, str]] = {dict: "object", list: "array", type(None): "null"}


def wrong_kind(value: Any, expected: str) -> Refused:
    got = _JSON_NAMES.get(type(value), type(value).__name__)
    return Refused(Problem("", f"Expected `{expected}`, got `{got}`", value))


def not_json(kind: Any, place: str = "the output type") -> TypeError:
    """Return the error for a type that JSON cannot express, at *place* in an output type."""
    plain = isinstance(kind, type) and not get_args(kind)
    name = kind.__qualname__ if plain else repr(kind)
    return TypeError(
        f"{place} is {name}, which JSON cannot express; give an attrs class, a dataclass, a "
        "TypedDict or a Pydantic model, or what is built of str, int, float, bool, None, list, "
        "dict, Literal, enums and dates, such as list[str]; Any stands for every value of JSON"
    )


def read_leaf(value: Any, kind: Any) -> Any:
    try:
        output: Any = msgspec.convert(value, kind, str_keys=True)
    except msgspec.ValidationError as error:
        if isinstance(value, float) and value.is_integer():
            return read_leaf(int(value), kind)  # JSON has one kind of number
        text, _, inner = str(error).partition(" - at `$")
        raise Refused(Problem(inner.rstrip("`").lstrip("."), text, value)) from error
    check_finite(value)
    return output


def check_finite(value: Any) -> None:
    waiting: list[Any] = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, float) and not math.isfinite(part):
            text = "NaN and Infinity are not numbers of JSON; give a finite number or null"
            raise Refused(Problem("", text, value))
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def check_constraints(value: Any, kind: Any, container: type[Any]) -> None:
    """Hold a container of records to the length that ``Annotated[…, Meta(…)]`` asks for."""
    if get_origin(kind) is Annotated:
        constraints = (container, *kind.__metadata__)
        read_leaf(value, Annotated[constraints])
