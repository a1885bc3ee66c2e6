"""Tables of pandas, polars and Arrow as items: a row is an item. None of them is imported."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from batchllm.core import InvalidItemError

__all__ = ["rows_as_items"]

_TABLES: Final = {
    "pandas": frozenset({"DataFrame"}),
    "polars": frozenset({"DataFrame", "LazyFrame"}),
    "pyarrow": frozenset({"RecordBatch", "Table"}),
}
_PROMPTS: Final = ("prompt", "messages")
_IDS: Final = ("id", "item_id")
_ARROW_ROWS: Final = 1_000
"""Rows of an Arrow table that are Python objects at a time; more take memory, fewer take time."""


def rows_as_items(items: Any) -> Any:
    """Give the rows of a table as items, lazily, and anything else as it is.

    A column ``prompt`` (or ``messages``) is what is sent, ``id`` (or ``item_id``) names the item,
    and the other columns are its context, a dictionary.

    Raises:
        InvalidItemError: It is a table without such a column; the message has the line that makes
            items of it.
    """
    library = type(items).__module__.partition(".")[0]
    if type(items).__name__ not in _TABLES.get(library, ()):
        return items
    what = f"a {library} {type(items).__name__}"
    if hasattr(items, "collect"):
        msg = f"items is {what}, whose rows are not there yet; give its .collect()"
        raise InvalidItemError(msg)
    names: Iterable[Any] = getattr(items, "column_names", None) or items.columns
    columns = [str(name) for name in names]
    if any(name in columns for name in _PROMPTS):
        return _items(_rows(items, columns))
    first = columns[0] if columns else "text"
    values = f"table[{first!r}].to_pylist()" if library == "pyarrow" else f"list(table[{first!r}])"
    msg = (
        f"items is {what} without a column 'prompt' or 'messages' (its columns: "
        f"{', '.join(columns) or 'none'}); rename the column that is to be sent, or give its "
        f"values: items={values}"
    )
    raise InvalidItemError(msg)


def _rows(table: Any, columns: list[str]) -> Iterator[Mapping[str, Any]]:
    if hasattr(table, "itertuples"):
        return (
            dict(zip(columns, row, strict=True)) for row in table.itertuples(index=False, name=None)
        )
    if hasattr(table, "iter_rows"):
        return iter(table.iter_rows(named=True))
    return (
        row
        for start in range(0, table.num_rows, _ARROW_ROWS)
        for row in table.slice(start, _ARROW_ROWS).to_pylist()
    )


def _items(rows: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    for index, row in enumerate(rows):
        prompt_column = next(name for name in _PROMPTS if name in row)
        id_column = next((name for name in _IDS if name in row), None)
        prompt: Any = row[prompt_column]
        # A list that came from a file is an array of numpy.
        prompt = prompt.tolist() if hasattr(prompt, "tolist") else prompt
        context = {k: v for k, v in row.items() if k not in (prompt_column, id_column)}
        yield (index if id_column is None else _id(row[id_column]), _present(prompt), context)


def _id(value: Any) -> Any:
    # One missing id makes pandas keep a column of whole numbers as floats.
    return int(value) if isinstance(value, float) and value.is_integer() else _present(value)


def _present(value: Any) -> Any:
    # What a row lacks is NaN in pandas, and None everywhere else.
    return None if isinstance(value, float) and math.isnan(value) else value
