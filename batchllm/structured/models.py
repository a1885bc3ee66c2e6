"""The adapter to Pydantic models, which validate themselves. Nothing is imported for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from batchllm.structured.problems import MISSING, Problem

__all__ = ["model_problems", "read_model"]

_Place: TypeAlias = tuple[str | int, ...]


def read_model(value: Any, kind: Any) -> tuple[Any, list[Problem]]:
    """Read *value* as a *kind*; null for a field that has a default is its default.

    Strict schemas ask for null where a field may be left out. Which fields those are is known
    to the models alone (aliases, validators, unions, models within models), so they are asked:
    every null that was refused is left out, and one that is then missed was required.

    Returns:
        The model, ``MISSING`` if there is none, and what is wrong.
    """
    output, refused = _validated(value, kind)
    nulls = {_place(value, error["loc"]) for error in refused if error.get("input", 0) is None}
    nulls.discard(())
    if nulls:
        output, missed = _validated(_without(value, nulls), kind)
        required = nulls & {_place(value, e["loc"]) for e in missed if e["type"] == "missing"}
        if required:
            output, missed = _validated(_without(value, nulls - required), kind)
        refused = missed
    return output, list(_problems(refused))


def _validated(value: Any, kind: Any) -> tuple[Any, Sequence[Any]]:
    try:
        return kind.model_validate_json(json.dumps(value)), ()
    except ValueError as error:
        return MISSING, _errors(error)


def _errors(error: Any) -> Sequence[Any]:
    return error.errors(include_url=False, include_context=False)  # type: ignore[no-any-return]


def _place(value: Any, location: Iterable[str | int]) -> _Place:
    """Follow Pydantic's location as far as it leads; it has the names of union members, too."""
    place: _Place = ()
    for step in location:
        try:
            value = value[step]
        except (LookupError, TypeError):
            continue
        place = (*place, step)
    return place


def _without(value: Any, places: Iterable[_Place]) -> Any:
    copy = json.loads(json.dumps(value))
    for *way, last in places:
        part = copy
        for step in way:
            part = part[step]
        if isinstance(part, dict):
            del part[last]
    return copy


def model_problems(error: Any) -> Iterator[Problem]:
    """Give the problems that a ``ValidationError`` of Pydantic has."""
    return _problems(_errors(error))


def _problems(errors: Iterable[Any]) -> Iterator[Problem]:
    for entry in errors:
        where = ""
        for step in entry["loc"]:
            where += f"[{step}]" if isinstance(step, int) else f".{step}" if where else str(step)
        given = MISSING if entry["type"] == "missing" else entry["input"]
        yield Problem(where, str(entry["msg"]), given)
