"""Results as rows: ours first, then what the input had."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from attrs import frozen

from batchllm.cli.source import Taken
from batchllm.core import Category, WorkItemResult
from batchllm.journal import plain_output

__all__ = ["EXTRA", "RowMaker", "as_cell", "as_json", "column_names", "error_of"]

OURS: Final = (
    "id",
    "success",
    "output",
    "error",
    "error_category",
    "usage",
    "cost",
    "attempts",
    "calls",
    "model",
    "started_at",
)
EXTRA: Final = "extra"
"""The column of a table for fields that no column was made for."""


@frozen(kw_only=True)
class RowMaker:
    """Makes the row for a line and its result.

    The input's fields follow ours; those that are called like one of ours are put together under
    ``"input"``. A record that could not be read stands there as a text.

    A line that was refused has its place as ``line``. It keeps its id only if no other row has
    it, so that no row is taken for another line's answer.

    Attributes:
        model: The name of the model, if only one is asked.
        keep_prompt: Whether to add what was sent.
        keep_metadata: Whether to add what the provider said beside its answer.
        several: Whether there are several inputs, whose lines may share ids.
    """

    model: str | None = None
    keep_prompt: bool = False
    keep_metadata: bool = False
    several: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that every row of a table has."""
        return (
            *OURS,
            *(["source"] if self.several else []),
            "line",
            *(["sent_prompt"] if self.keep_prompt else []),
            *(["metadata"] if self.keep_metadata else []),
        )

    def row(
        self, taken: Taken, result: WorkItemResult[Any, Any], started: float | None = None
    ) -> dict[str, Any]:
        """Return the row for a line.

        Args:
            taken: The line.
            result: What became of it.
            started: When work on it began, in seconds since 1970; by default so long ago as its
                calls and waits took.
        """
        line = taken.line
        refused = result.error_category == Category.INVALID_ITEM
        keeps_id = taken.keeps_id or not refused
        metadata = result.metadata or {}
        row: dict[str, Any] = {
            "id": line.item_id if keeps_id else None,
            "success": result.success,
            "output": plain_output(result.output),
            "error": error_of(taken, result),
            "error_category": result.error_category,
            "usage": dict(result.token_usage) or None,
            "cost": result.cost,
            "attempts": result.attempts,
            # A call that never started, since the run was ending, took no time at all.
            "calls": sum(1 for attempt in result.timing.attempts if attempt.execution > 0),
            "model": None if refused else metadata.get("model") or self.model,
            "started_at": None if refused else _started_at(result, started),
        }
        if self.several:
            row["source"] = taken.source
        if refused:
            row["line"] = taken.place
        if self.keep_prompt:
            row["sent_prompt"] = None if refused else line.prompt
        if self.keep_metadata:
            row["metadata"] = dict(metadata) or None
        kept = row.keys() - {"id"} if keeps_id else row.keys()
        theirs = {name: value for name, value in line.fields.items() if name in (*kept, "input")}
        row |= {name: value for name, value in line.fields.items() if name not in (*row, "input")}
        if line.text is not None:
            row["input"] = line.text
        elif theirs:
            row["input"] = theirs
        return row


def error_of(taken: Taken, result: WorkItemResult[Any, Any]) -> str | None:
    """Return what went wrong with a line, with its number if the line itself is at fault."""
    if result.error_category != Category.INVALID_ITEM:
        return result.error
    by_engine = str(result.error).removeprefix(f"item {result.submission_index}: ")
    problem = taken.line.problem or by_engine.replace("item_id is", "its id is")
    return f"line {taken.line.number}: {problem}"


def _started_at(result: WorkItemResult[Any, Any], started: float | None) -> str:
    """Return when work on an item began, in UTC."""
    began = time.time() - result.timing.total if started is None else started
    moment = datetime.fromtimestamp(began, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def column_names(ours: Iterable[str], fields: Iterable[str]) -> list[str]:
    """Return the columns of a table of rows: ours, those of the input, what is left over."""
    first = list(ours)
    last = ("input", EXTRA)
    return [*first, *(name for name in fields if name not in (*first, *last)), *last]


def as_json(value: Any) -> str:
    """Return *value* as JSON, whatever is in it.

    An output with NaN or infinity is paid for, and JSON has no such number: null stands for it,
    as JavaScript and Pydantic write it. Times and the like, which Parquet has, become text.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_as_text)
    except ValueError:
        text = json.dumps(_without_infinity(value), ensure_ascii=False, default=_as_text)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates has no bytes of its own
        return json.dumps(json.loads(text))
    return text


def as_cell(value: Any) -> Any:
    """Return *value* as a cell of a table holds it: nested ones as JSON."""
    if isinstance(value, Mapping | list | tuple):
        return as_json(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _as_text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _without_infinity(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_infinity(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinity(part) for part in value]
    return value
