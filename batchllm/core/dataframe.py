"""The adapter to pandas, polars and Arrow, and the only file that imports them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, Literal

from batchllm.core.plain import plain
from batchllm.core.results import WorkItemResult
from batchllm.core.usage import TokenUsage

__all__ = ["DataFrameLibrary", "arrow_table_of", "dataframe_of"]

DataFrameLibrary = Literal["pandas", "polars"]

_FIELDS = (
    "item_id",
    "submission_index",
    "success",
    "output",
    "error",
    "error_category",
    "attempts",
    "cost",
)
_TIMES = ("admission_wait", "cooldown_wait", "backoff", "execution")
_TEXTS: Final = ("item_id", "error", "error_category", "model", "finish_reason")
_FLAGS: Final = ("success", "replayed")
_COUNTS: Final = ("submission_index", "attempts", *TokenUsage.__annotations__)


def dataframe_of(
    results: Sequence[WorkItemResult[Any, Any]], library: DataFrameLibrary | None = None
) -> Any:
    """Return a table with a row per result: its fields, its token counts and its times in seconds.

    Raises:
        ImportError: *library* is not installed, or none is when it is ``None``.
        ValueError: *library* is neither ``"pandas"`` nor ``"polars"``.
    """
    columns = _columns(results)
    name, module = _load(library)
    if name == "pandas":
        return module.DataFrame(columns)
    return module.DataFrame([_polars_series(module, *column) for column in columns.items()])


def arrow_table_of(results: Sequence[WorkItemResult[Any, Any]]) -> Any:
    """Return the same rows as a table of Arrow.

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        arrow = import_module("pyarrow")
    except ImportError as error:
        msg = 'to_arrow() needs pyarrow: pip install pyarrow, or pip install "batchllm[parquet]"'
        raise ImportError(msg) from error
    columns = _columns(results).items()
    return arrow.table({name: _arrow_array(arrow, name, values) for name, values in columns})


def _columns(results: Sequence[WorkItemResult[Any, Any]]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        name: [getattr(result, name) for result in results] for name in _FIELDS
    }
    for key in TokenUsage.__annotations__:
        columns[key] = [result.token_usage.get(key) for result in results]
    timings = [result.timing for result in results]
    for time in _TIMES:
        columns[time] = [getattr(timing, time) for timing in timings]
    columns["model"] = [(result.metadata or {}).get("model") for result in results]
    columns["finish_reason"] = [result.finish_reason for result in results]
    columns["replayed"] = [result.replayed for result in results]
    columns["context"] = [result.context for result in results]
    return columns


def _load(library: DataFrameLibrary | None) -> tuple[str, Any]:
    names = ("pandas", "polars") if library is None else (library,)
    if not set(names) <= {"pandas", "polars"}:
        msg = f"library is {library!r}; give 'pandas' or 'polars', or call to_arrow()"
        raise ValueError(msg)
    for name in names:
        with suppress(ImportError):
            return name, import_module(name)
    msg = (
        f"to_dataframe() needs {' or '.join(names)}: pip install {names[0]}, or "
        'pip install "batchllm[dataframes]"'
    )
    raise ImportError(msg)


def _polars_series(polars: Any, name: str, values: list[Any]) -> Any:
    """Return a typed column; one of Python objects if the values have no common type."""
    if all(value is None for value in values) and (name in _TEXTS or name in _COUNTS):
        return polars.Series(name, values, dtype=polars.String if name in _TEXTS else polars.Int64)
    try:
        return polars.Series(name, values)
    except Exception:  # several kinds, polars' own among them
        return polars.Series(name, values, dtype=polars.Object)


def _arrow_array(arrow: Any, name: str, values: list[Any]) -> Any:
    """Return a typed column; one of JSON if the values have no common type."""
    if name in _TEXTS:
        return arrow.array([None if one is None else str(one) for one in values], arrow.string())
    if name in _COUNTS:
        return arrow.array(values, arrow.int64())
    if name in _FLAGS:  # declared, since a table without rows shows no type
        return arrow.array(values, arrow.bool_())
    if name == "cost" or name in _TIMES:
        return arrow.array(values, arrow.float64())
    try:
        return arrow.array(values)
    except Exception:  # several kinds, and the values' own
        return arrow.array([_as_json(one) for one in values], arrow.string())


def _as_json(value: Any) -> str | None:
    if value is None:
        return None
    try:
        return json.dumps(plain(value, "it"), ensure_ascii=False)
    except ValueError:
        return str(value)
