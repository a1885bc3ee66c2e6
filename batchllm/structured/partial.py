"""The fields that are right in an answer that is partly wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from batchllm.structured.convert import read_value
from batchllm.structured.problems import Problem
from batchllm.structured.shapes import field_keys

__all__ = ["merge_fields", "partial_fields", "valid_fields"]


def partial_fields(value: Any, kind: Any) -> tuple[dict[str, Any], list[Problem]]:
    """Return the top-level fields of *value* that fit *kind*, and what is wrong with the others.

    Args:
        value: An answer as ``json.loads`` gives it.
        kind: The output type.

    Returns:
        The right fields as JSON has them, and the problems. There are no right fields if *kind*
        is no record, or if the record as a whole is refused.
    """
    problems = read_value(value, kind).problems
    return valid_fields(value, kind, problems), problems


def valid_fields(value: Any, kind: Any, problems: Sequence[Problem]) -> dict[str, Any]:
    """Return the fields of *value* that *kind* has and no problem touches."""
    if not isinstance(value, dict) or any(not problem.path for problem in problems):
        return {}
    values = cast("dict[str, Any]", value)
    return {
        key: values[key]
        for key in field_keys(kind)
        if key in values and not any(_touches(problem.path, key) for problem in problems)
    }


def _touches(path: str, key: str) -> bool:
    return path == key or path.startswith((f"{key}.", f"{key}["))


def merge_fields(valid: Mapping[str, Any], answer: Any) -> Any:
    """Complete *valid* fields by a second answer that was asked for the others.

    Where both have a field, the valid one stays. An answer that is no object is given back.
    """
    if not isinstance(answer, dict):
        return answer
    return {**cast("dict[str, Any]", answer), **valid}
