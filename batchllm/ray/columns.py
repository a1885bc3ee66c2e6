"""The rows of a block with their results: the user's columns first, then those of other tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from attrs import evolve

from batchllm.core import WorkItemResult, arrow_table_of
from batchllm.journal import plain_output
from batchllm.ray.libraries import load_arrow
from batchllm.ray.output_types import ListOf, Shape, StructOf, fit

__all__ = ["arrow_type_of", "with_results"]

_NOT_HERE: Final = ("item_id", "submission_index", "context")
"""Columns of other tables of results that the user's own columns stand for."""
_INPUT: Final = "input"
"""The column for the user's columns that are called like one of the results."""

Result = WorkItemResult[Any, Any]


def with_results(table: Any, results: Sequence[Result], shape: Shape | None) -> Any:
    """Return the rows of *table* with the columns of their results.

    Args:
        table: Of Arrow.
        results: One per row, in their order.
        shape: Of the outputs; ``None`` if they are texts, or JSON where they are not.
    """
    arrow = load_arrow()
    outputs, problems = _outputs(results, shape)
    shown = [
        evolve(result, output=None, context=None, error=problem or result.error)
        for result, problem in zip(results, problems, strict=True)
    ]
    columns = {
        name: column
        for name, column in zip(*_parts(arrow_table_of(shown)), strict=True)
        if name not in _NOT_HERE
    }
    kind = arrow.string() if shape is None else arrow_type_of(shape)
    columns["output"] = arrow.array(outputs, kind)
    clashing = [name for name in table.column_names if name in columns or name == _INPUT]
    kept = {name: table[name] for name in table.column_names if name not in clashing}
    if clashing:
        inner = [_one_array(table[name]) for name in clashing]
        columns[_INPUT] = arrow.StructArray.from_arrays(inner, names=clashing)
    return arrow.table({**kept, **columns})


def _parts(table: Any) -> tuple[list[str], list[Any]]:
    return table.column_names, table.columns


def _one_array(column: Any) -> Any:
    return column.combine_chunks()


def _outputs(results: Sequence[Result], shape: Shape | None) -> tuple[list[Any], list[str | None]]:
    """Return the values of the column, and what is wrong with those that do not fit it."""
    outputs, problems = list[Any](), list[str | None]()
    for result in results:
        value = problem = None
        if result.success and result.output is not None:
            plain = plain_output(result.output)
            try:
                value = _as_text(plain) if shape is None else fit(plain, shape)
            except (TypeError, ValueError, OverflowError) as error:
                problem = f"its output does not fit the column, and stands in the journal: {error}"
        outputs.append(value)
        problems.append(problem)
    return outputs, problems


def _as_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "backslashreplace").decode()


def arrow_type_of(shape: Shape) -> Any:
    """Return the type of a column of Arrow for values of *shape*."""
    arrow = load_arrow()
    match shape:
        case ListOf(of):
            return arrow.list_(arrow_type_of(of))
        case StructOf(fields):
            return arrow.struct([(name, arrow_type_of(part)) for name, part in fields.items()])
        case "bool":
            return arrow.bool_()
        case "int":
            return arrow.int64()
        case "float":
            return arrow.float64()
        case _:
            return arrow.string()
