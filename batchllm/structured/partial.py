"""The fields that are right in an answer that is partly wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from batchllm.structured.problems import Problem
from batchllm.structured.shapes import field_keys

__all__ = ["merge_fields", "valid_fields"]


def valid_fields(value: Any, kind: Any, problems: Sequence[Problem]) -> dict[str, Any]:
    """Return the top-level fields of *value* that *kind* has and no problem touches.

    A field is right as a whole or not at all. None is if *kind* is no record, or if the record as
    a whole is refused.

    Args:
        value: An answer as ``json.loads`` gives it.
        kind: The output type.
        problems: What is wrong with *value*.
    """
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
