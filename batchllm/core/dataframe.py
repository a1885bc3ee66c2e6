"""The adapter to pandas and polars, and the only file that imports them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Literal

from batchllm.core.results import WorkItemResult
from batchllm.core.usage import TokenUsage

__all__ = ["DataFrameLibrary", "dataframe_of"]

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


def _columns(results: Sequence[WorkItemResult[Any, Any]]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        name: [getattr(result, name) for result in results] for name in _FIELDS
    }
    for key in TokenUsage.__annotations__:
        columns[key] = [result.token_usage.get(key) for result in results]
    timings = [result.timing for result in results]
    for time in _TIMES:
        columns[time] = [getattr(timing, time) for timing in timings]
    columns["replayed"] = [result.replayed for result in results]
    columns["context"] = [result.context for result in results]
    return columns


def _load(library: DataFrameLibrary | None) -> tuple[str, Any]:
    names = ("pandas", "polars") if library is None else (library,)
    if not set(names) <= {"pandas", "polars"}:
        msg = f"library is {library!r}; give 'pandas' or 'polars'"
        raise ValueError(msg)
    for name in names:
        with suppress(ImportError):
            return name, import_module(name)
    msg = f"to_dataframe() needs {' or '.join(names)}: pip install {names[0]}"
    raise ImportError(msg)


def _polars_series(polars: Any, name: str, values: list[Any]) -> Any:
    """Return a typed column; one of Python objects if the values have no common type."""
    try:
        return polars.Series(name, values)
    except Exception:  # several kinds, polars' own among them
        return polars.Series(name, values, dtype=polars.Object)
