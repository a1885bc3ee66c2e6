"""A batch as JSON and back, and its results one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, TextIO, cast
from uuid import uuid4

from cattrs import BaseValidationError, transform_error

from batchllm.core.batch_data import BatchData
from batchllm.core.plain import make_converter, plain
from batchllm.core.results import Termination, WorkItemResult
from batchllm.core.tally import Tally

__all__ = ["read_batch", "write_batch", "write_lines"]

_VERSION = 1


def write_batch(batch: BatchData[Any, Any]) -> str:
    """Return the JSON of *batch*; all of it in ASCII, so that any file takes it.

    Raises:
        ValueError: A part has no form in JSON; it names the item.
    """
    converter = make_converter()
    document = {
        "batchllm": _VERSION,
        "results": [result.to_dict() for result in batch.results],
        "tally": converter.unstructure(batch.tally),
        "termination": converter.unstructure(batch.termination),
        "wall_time": batch.wall_time,
        "warnings": list(batch.warnings),
        "never_read": batch.never_read,
        "stats": plain(batch.stats, "stats"),
    }
    return json.dumps(document, allow_nan=False)


def read_batch(text: str | bytes, output_type: Any, context_type: Any) -> dict[str, Any]:
    """Read the arguments of a ``BatchResult`` from its JSON.

    Raises:
        ValueError: It is not the JSON of a batch.
    """
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"this is not the JSON of a batch: {error}"
        raise ValueError(msg) from error
    _check_version(document)
    converter = make_converter()
    try:
        return {
            "results": [
                WorkItemResult.from_dict(data, output_type=output_type, context_type=context_type)
                for data in document["results"]
            ],
            "tally": converter.structure(document["tally"], Tally),
            "termination": converter.structure(document["termination"], Termination),
            "wall_time": float(document["wall_time"]),
            "warnings": tuple(document["warnings"]),
            "never_read": int(document.get("never_read", 0)),
            "stats": document["stats"],
        }
    except (BaseValidationError, KeyError, TypeError, ValueError) as error:
        why = "; ".join(transform_error(error)) if isinstance(error, BaseValidationError) else error
        msg = f"this is not the JSON of a batch: {why}"
        raise ValueError(msg) from error


def write_lines(
    results: Iterable[WorkItemResult[Any, Any]], file: str | PathLike[str] | TextIO
) -> None:
    """Write a line of JSON per result; at a path the file appears once it is whole.

    Raises:
        ValueError: A part has no form in JSON; it names the item.
    """
    lines = (f"{json.dumps(result.to_dict(), allow_nan=False)}\n" for result in results)
    if not isinstance(file, str | PathLike):
        file.writelines(lines)
        return
    # Beside the file and not in a folder of the system, since only there it can be renamed.
    target = Path(file).resolve()
    beside = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        with beside.open("x", encoding="utf-8") as part:
            part.writelines(lines)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _check_version(document: object) -> None:
    if not isinstance(document, dict) or "batchllm" not in document:
        msg = 'this is not the JSON of a batch: it has no key "batchllm"; write it by to_json()'
        raise ValueError(msg)
    version = cast("dict[str, Any]", document)["batchllm"]
    if version != _VERSION:
        msg = f"this JSON has version {version!r}, and {_VERSION} can be read; update batchllm"
        raise ValueError(msg)
