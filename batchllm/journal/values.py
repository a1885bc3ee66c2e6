"""An output as JSON, and back: what is no plain value says what it was.

Classes are found again among the modules that are loaded, by module and name. Nothing is imported
because a file says so, and nothing is called but the constructor of a class that holds data.
"""

from __future__ import annotations

import sys
from array import array
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgspec

from batchllm.core import JournalError, kind_of

__all__ = ["as_plain", "plain_output", "restore_value", "write_value"]

_PLAIN: Final = (str, int, bool, type(None))
_LEAVES: Final = {
    kind.__name__: kind for kind in (bytes, date, datetime, Decimal, time, timedelta, UUID)
}
_MARK: Final = "$"
"""The key of an object that stands for what JSON does not have."""
_VECTOR: Final = 8
"""Numbers from which on a list of floats is packed, if single precision holds them exactly."""


def as_plain(value: Any) -> Any:
    """Return a value of a payload as JSON has it: no mark is left, and no class is looked for."""
    kind = type(value)
    if kind is list:
        return [as_plain(part) for part in value]
    if kind is not dict:
        return value
    mark = value.get(_MARK)
    if mark is None:
        return {key: as_plain(part) for key, part in value.items()}
    inner = value.get("of")
    if mark == "float32":
        return _unpacked(inner)
    if mark == "dict":
        return {str(as_plain(key)): as_plain(part) for key, part in inner}
    return as_plain(inner)


def plain_output(value: Any) -> Any:
    """Return an output as JSON has it, just as a row of a journal has it; another one as it is."""
    if type(value) in _PLAIN:
        return value
    try:
        return as_plain(write_value(value, "output"))
    except TypeError:
        return value


def write_value(value: Any, where: str) -> Any:
    """Make *value* plain; what is not gets a mark.

    Raises:
        TypeError: It has no form in JSON.
    """
    kind = type(value)
    if kind in _PLAIN or kind is float:
        return value
    if kind is list:
        packed = _packed(value)
        return packed or [write_value(part, f"{where}[{i}]") for i, part in enumerate(value)]
    if kind is dict:
        return _write_dict(value, where)
    if kind in (tuple, set, frozenset):
        return {_MARK: kind.__name__, "of": [write_value(part, where) for part in value]}
    if _LEAVES.get(kind.__name__) is kind:
        return {_MARK: kind.__name__, "of": msgspec.to_builtins(value)}
    name = _name_of(kind, where)
    if isinstance(value, Enum):
        return {_MARK: name, "of": write_value(value.value, where)}
    if hasattr(value, "model_dump"):
        return {_MARK: name, "of": value.model_dump(mode="json")}
    if _holds_data(kind):
        return {_MARK: name, "of": msgspec.to_builtins(value)}
    msg = f"{where} is {kind_of(value)}"
    raise TypeError(msg)


def _write_dict(value: dict[Any, Any], where: str) -> Any:
    if all(type(key) is str for key in value) and _MARK not in value:
        return {key: write_value(part, f"{where}[{key!r}]") for key, part in value.items()}
    pairs = [[write_value(key, where), write_value(part, where)] for key, part in value.items()]
    return {_MARK: "dict", "of": pairs}


def _packed(value: list[Any]) -> dict[str, Any] | None:
    """Pack a list of floats that single precision holds exactly, as embeddings are."""
    if len(value) < _VECTOR or any(type(number) is not float for number in value):
        return None
    try:
        single = array("f", value)
    except OverflowError:
        return None
    if single.tolist() != value:  # also if one is NaN
        return None
    if sys.byteorder == "big":
        single.byteswap()
    return {_MARK: "float32", "of": msgspec.to_builtins(single.tobytes())}


def _name_of(kind: type[Any], where: str) -> str:
    if "<locals>" in kind.__qualname__:
        msg = f"{where} is of the class {kind.__name__}, which is local to a function"
        raise TypeError(msg)
    return f"{kind.__module__}:{kind.__qualname__}"


def _holds_data(kind: type[Any]) -> bool:
    return (
        hasattr(kind, "__attrs_attrs__")
        or hasattr(kind, "__dataclass_fields__")
        or hasattr(kind, "__struct_fields__")
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )


def restore_value(value: Any, item_id: str, output_type: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [restore_value(part, item_id, output_type) for part in value]
    if kind is not dict:
        return value
    mark = value.get(_MARK)
    if mark is None:
        return {key: restore_value(part, item_id, output_type) for key, part in value.items()}
    inner = value["of"]
    if mark == "float32":
        return _unpacked(inner)
    if mark in _LEAVES:
        return msgspec.convert(inner, _LEAVES[mark])
    if mark == "dict":
        pairs = [[restore_value(part, item_id, output_type) for part in pair] for pair in inner]
        return {_as_key(key): part for key, part in pairs}
    if mark in ("tuple", "set", "frozenset"):
        parts = [restore_value(part, item_id, output_type) for part in inner]
        kinds = {"tuple": tuple, "set": set, "frozenset": frozenset}
        return kinds[mark](parts)
    found = _class_of(mark, item_id, output_type)
    if isinstance(found, type) and issubclass(found, Enum):
        inner = restore_value(inner, item_id, output_type)
    return _make(found, inner, item_id)


def _as_key(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def _unpacked(text: str) -> list[float]:
    numbers = array("f", msgspec.convert(text, bytes))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def _class_of(name: str, item_id: str, output_type: Any) -> Any:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and (
        _holds_data(found) or issubclass(found, Enum) or hasattr(found, "model_validate")
    ):
        return found
    if output_type is not None:
        return output_type
    msg = (
        f"item {item_id!r}: its answer is of the class {path} of {module}, which is not loaded; "
        "import it before the batch, or give Journal(output_type=…)"
    )
    raise JournalError(msg, problem="unreadable_output")


def _make(kind: Any, inner: Any, item_id: str) -> Any:
    try:
        if hasattr(kind, "model_validate"):
            return kind.model_validate(inner)
        if isinstance(kind, type) and issubclass(kind, Enum):
            return kind(inner)
        return msgspec.convert(inner, kind)
    except (TypeError, ValueError) as error:
        msg = (
            f"item {item_id!r}: its answer is no {getattr(kind, '__name__', kind)} as that class "
            f'is now ({error}); give on_changed="rerun" for another output'
        )
        raise JournalError(msg, problem="unreadable_output") from error
