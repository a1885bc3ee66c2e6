"""A batch as JSON and back: cattrs between our values and plain ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

import msgspec
from attrs import evolve
from cattrs import BaseValidationError, Converter, transform_error

from batchllm.core.batch_data import BatchData
from batchllm.core.errors import RecordedError
from batchllm.core.results import Tally, Termination, WorkItemResult
from batchllm.core.wording import kind_of

__all__ = ["read_batch", "write_batch"]

_VERSION = 1
_LEAVES: Final = (datetime, date, time, timedelta, Decimal, UUID, bytes, bytearray)
"""Types of outputs that become texts in JSON, in the form in which they are read as outputs."""


def write_batch(batch: BatchData[Any, Any]) -> str:
    """Return the JSON of *batch*; all of it in ASCII, so that any file takes it.

    Raises:
        ValueError: A part has no form in JSON; it names the item.
    """
    converter = _converter()
    document = {
        "batchllm": _VERSION,
        "results": [_write_result(converter, result) for result in batch.results],
        "tally": converter.unstructure(batch.tally),
        "termination": converter.unstructure(batch.termination),
        "wall_time": batch.wall_time,
        "warnings": list(batch.warnings),
        "never_read": batch.never_read,
        "stats": _plain(converter, batch.stats, "stats"),
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
    converter = _converter()
    try:
        return {
            "results": [
                _read_result(converter, data, output_type, context_type)
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


def _check_version(document: object) -> None:
    if not isinstance(document, dict) or "batchllm" not in document:
        msg = 'this is not the JSON of a batch: it has no key "batchllm"; write it by to_json()'
        raise ValueError(msg)
    version = cast("dict[str, Any]", document)["batchllm"]
    if version != _VERSION:
        msg = f"this JSON has version {version!r}, and {_VERSION} can be read; update batchllm"
        raise ValueError(msg)


def _converter() -> Converter:
    converter = Converter()
    converter.register_unstructure_hook_func(_is_exception, _write_exception)
    converter.register_structure_hook_func(
        lambda kind: kind == BaseException | None, lambda value, _: _read_exception(value)
    )
    for leaf in _LEAVES:
        converter.register_unstructure_hook(leaf, msgspec.to_builtins)
        converter.register_structure_hook(leaf, msgspec.convert)
    converter.register_unstructure_hook_func(_is_set, list)
    return converter


def _is_set(kind: Any) -> bool:
    return kind in (set, frozenset)


def _is_exception(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _write_exception(error: BaseException) -> dict[str, str]:
    if isinstance(error, RecordedError):
        return {"type": error.type_name, "message": error.message}
    return {"type": type(error).__qualname__, "message": str(error)}


def _read_exception(value: Any) -> RecordedError | None:
    return None if value is None else RecordedError(str(value["type"]), str(value["message"]))


def _write_result(converter: Converter, result: WorkItemResult[Any, Any]) -> dict[str, Any]:
    bare = evolve(result, output=None, context=None, metadata=None)
    where = f"item {result.item_id!r}: its"
    return {
        **converter.unstructure(bare),
        "output": _plain(converter, result.output, f"{where} output"),
        "context": _plain(converter, result.context, f"{where} context"),
        "metadata": _plain(converter, result.metadata, f"{where} metadata"),
    }


def _read_result(
    converter: Converter, data: dict[str, Any], output_type: Any, context_type: Any
) -> WorkItemResult[Any, Any]:
    result = converter.structure(data, WorkItemResult[Any, Any])
    return evolve(
        result,
        output=_read_value(converter, result.output, output_type),
        context=_read_value(converter, result.context, context_type),
    )


def _read_value(converter: Converter, value: Any, kind: Any) -> Any:
    if value is None or kind is Any:
        return value
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    return converter.structure(value, kind)


def _plain(converter: Converter, value: Any, where: str) -> Any:
    try:
        return _checked(converter.unstructure(value), where)
    except RecursionError:
        msg = f"{where} is nested too deeply, or contains itself, and so has no form in JSON"
        raise ValueError(msg) from None


def _checked(value: Any, where: str) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        msg = f"{where} is {value!r}, which JSON cannot carry; replace it before the result"
        raise ValueError(msg)
    if isinstance(value, _LEAVES):
        return msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        return _checked_mapping(value, where)
    if isinstance(value, list | tuple | set | frozenset):
        return [_checked(part, f"{where}[{index}]") for index, part in enumerate(value)]
    if hasattr(value, "model_dump"):
        return _checked(value.model_dump(mode="json"), where)
    msg = (
        f"{where} is {kind_of(value)}, which JSON cannot carry; return plain values, "
        "attrs classes, dataclasses or Pydantic models"
    )
    raise ValueError(msg)


def _checked_mapping(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    found = {
        _checked_key(key, where): _checked(part, f"{where}[{key!r}]") for key, part in value.items()
    }
    if len(found) < len(value):
        msg = f"{where} has two keys that are the same text in JSON; give them other names"
        raise ValueError(msg)
    return found


def _checked_key(key: object, where: str) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int | date | time | UUID) and not isinstance(key, bool):
        return str(msgspec.to_builtins(key))
    msg = f"{where} has the key {key!r}, {kind_of(key)}, which JSON cannot carry as a key"
    raise ValueError(msg)
