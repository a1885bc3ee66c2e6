"""Values of any kind as JSON has them, and back: cattrs between ours and plain ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final
from uuid import UUID

import msgspec
from cattrs import Converter

from batchllm.core.errors import RecordedError
from batchllm.core.masking import message_of
from batchllm.core.wording import kind_of

__all__ = ["make_converter", "plain", "read_value"]

_LEAVES: Final = (datetime, date, time, timedelta, Decimal, UUID, bytes, bytearray)
"""Types of outputs that become texts in JSON, in the form in which they are read as outputs."""


@cache
def make_converter() -> Converter:
    """Return the converter of results and batches."""
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
    return {"type": type(error).__qualname__, "message": message_of(error)}


def _read_exception(value: Any) -> RecordedError | None:
    return None if value is None else RecordedError(str(value["type"]), str(value["message"]))


def read_value(value: Any, kind: Any) -> Any:
    """Return *value*, which comes from JSON, as *kind*; as it is for ``Any``."""
    if value is None or kind is Any:
        return value
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    return make_converter().structure(value, kind)


def plain(value: Any, where: str) -> Any:
    """Return *value* as JSON has it.

    Args:
        value: What comes from a strategy or a user.
        where: Its name in a message.

    Raises:
        ValueError: It has no form in JSON.
    """
    try:
        try:
            unstructured = make_converter().unstructure(value)
        except TypeError:  # a key of a mapping that is a tuple becomes a list: it is named below
            unstructured = value
        return _checked(unstructured, where)
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
