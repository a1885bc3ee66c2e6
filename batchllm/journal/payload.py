"""A result as bytes, and back: JSON in which what is no plain value says what it was.

Classes are found again among the modules that are loaded, by module and name. Nothing is imported
because a file says so, and nothing is called but the constructor of a class that holds data.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from array import array
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from batchllm.core import (
    AttemptFailure,
    JournalError,
    RecordedError,
    TokenUsage,
    WorkItemResult,
    kind_of,
    recorded,
)

__all__ = [
    "Payload",
    "as_plain",
    "decode_result",
    "encode_result",
    "pack",
    "replay_result",
    "unpack",
]

_COMPRESSED_FROM: Final = 1_000
"""Bytes; below, a text of an answer loses less than a tenth of a page of the file."""
_PACKED: Final = b"z"
_PLAIN: Final = (str, int, bool, type(None))
_LEAVES: Final = {
    kind.__name__: kind for kind in (bytes, date, datetime, Decimal, time, timedelta, UUID)
}
_MARK: Final = "$"
"""The key of an object that stands for what JSON does not have."""
_VECTOR: Final = 8
"""Numbers from which on a list of floats is packed, if single precision holds them exactly."""

_ENCODE: Final = msgspec.json.Encoder().encode

Payload = dict[str, Any]


def pack(data: bytes) -> bytes:
    """Compress what is large enough to gain by it. Call it where the event loop does not wait."""
    return _PACKED + zlib.compress(data, 1) if len(data) >= _COMPRESSED_FROM else data


def unpack(data: bytes) -> bytes:
    """Undo :func:`pack`."""
    return zlib.decompress(data[1:]) if data[:1] == _PACKED else data


def encode_result(
    result: WorkItemResult[Any, Any], *, prompt: Any = None, keep_inputs: bool = True
) -> bytes:
    """Write a result as JSON.

    Args:
        result: What to write.
        prompt: The item's prompt, as it was submitted.
        keep_inputs: Whether prompt and context are kept, as far as they have a form in JSON.

    Raises:
        JournalError: The output of an answer has no form in JSON; the message names the item.
    """
    output, context = result.output, result.context
    # Most results are texts and counts throughout; only what may hold a float is searched for one
    # that is not finite, since the search took as long as all the rest.
    is_plain = type(output) is str or output is None
    fields: Payload = {
        "id": result.item_id,
        "output": output if is_plain else _output_of(result),
        "error": result.error,
        "category": result.error_category,
        "usage": result.token_usage,
        "attempts": result.attempts,
        "spans": [round(span, 6) for span in result.spans],
    }
    if result.metadata:
        is_plain = False
        fields["metadata"] = _as_far_as_it_goes(result.metadata)
    if result.attempt_failures:
        fields["failures"] = [
            one and [one.error, one.error_category, one.status] for one in result.attempt_failures
        ]
    error = recorded(result.exception)
    if error is not None:
        fields["exception"] = [error.type_name, error.message]
    if keep_inputs:
        is_plain = is_plain and type(prompt) is str and context is None
        fields["prompt"] = _or_nothing(prompt)
        if context is not None:
            fields["context"] = _or_nothing(context)
    return _dump(fields, is_plain=is_plain)


def decode_result(data: bytes, output_type: Any = None) -> Payload:
    """Read what :func:`encode_result` wrote.

    Args:
        data: The bytes, packed or not.
        output_type: The class of outputs that are no plain value, in place of the recorded one.

    Returns:
        The fields by the names of ``WorkItemResult``, and ``prompt``.

    Raises:
        JournalError: The class of the output is not loaded.
    """
    fields: Payload = json.loads(unpack(data))
    exception = fields.get("exception")
    return {
        "item_id": fields["id"],
        "output": _restore(fields["output"], fields["id"], output_type),
        "error": fields["error"],
        "error_category": fields["category"],
        "token_usage": cast("TokenUsage", fields["usage"]),
        "attempts": fields["attempts"],
        "spans": tuple(fields["spans"]),
        "metadata": fields.get("metadata"),
        "exception": None if exception is None else RecordedError(*exception),
        "attempt_failures": tuple(
            one and AttemptFailure(*one) for one in fields.get("failures", ())
        ),
        "context": fields.get("context"),
        "prompt": fields.get("prompt"),
    }


def replay_result(
    data: bytes, *, success: bool, cost: float | None, position: int, output_type: Any = None
) -> tuple[WorkItemResult[Any, Any], Any]:
    """Make the result of an earlier run of its row.

    Args:
        data: The payload, as for :func:`decode_result`.
        success: Whether it was an answer.
        cost: In US dollars, ``None`` if no price was known.
        position: That of its item in the input.
        output_type: As for :func:`decode_result`.

    Returns:
        The result, marked ``replayed``, and the prompt that was kept with it.

    Raises:
        JournalError: The class of the output is not loaded.
    """
    fields = decode_result(data, output_type)
    prompt = fields.pop("prompt")
    result: WorkItemResult[Any, Any] = WorkItemResult(
        success=success, cost=cost, submission_index=position, replayed=True, **fields
    )
    return result, prompt


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


def _dump(fields: Payload, *, is_plain: bool) -> bytes:
    try:
        if is_plain or not _has_odd_floats(fields):
            return _ENCODE(fields)
        return _dump_odd(fields)
    except (TypeError, ValueError):
        return _dump_odd(fields)  # half of a surrogate pair: Python's encoder escapes it


def _dump_odd(fields: Payload) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _has_odd_floats(value: Any) -> bool:
    """Return whether a float in it is not finite, which msgspec would write as null."""
    if type(value) is float:
        return not math.isfinite(value)
    if type(value) is dict:
        return any(_has_odd_floats(part) for part in value.values())
    if type(value) is list:
        return any(_has_odd_floats(part) for part in value)
    return False


def _output_of(result: WorkItemResult[Any, Any]) -> Any:
    try:
        return _write(result.output, "its output")
    except (TypeError, ValueError, RecursionError) as error:
        if not result.success:
            return None  # part of an answer: the error is what counts
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        msg = (
            f"item {result.item_id!r}: {why}, so the journal cannot keep it; return plain values, "
            "or instances of attrs classes, dataclasses or Pydantic models of a module"
        )
        raise JournalError(msg, problem="unserialisable") from None


def _write(value: Any, where: str) -> Any:
    """Make *value* plain; what is not gets a mark.

    Raises:
        TypeError: It has no form in JSON.
    """
    kind = type(value)
    if kind in _PLAIN or kind is float:
        return value
    if kind is list:
        packed = _packed(value)
        return packed or [_write(part, f"{where}[{i}]") for i, part in enumerate(value)]
    if kind is dict:
        return _write_dict(value, where)
    if kind in (tuple, set, frozenset):
        return {_MARK: kind.__name__, "of": [_write(part, where) for part in value]}
    if _LEAVES.get(kind.__name__) is kind:
        return {_MARK: kind.__name__, "of": msgspec.to_builtins(value)}
    name = _name_of(kind, where)
    if isinstance(value, Enum):
        return {_MARK: name, "of": _write(value.value, where)}
    if hasattr(value, "model_dump"):
        return {_MARK: name, "of": value.model_dump(mode="json")}
    if _holds_data(kind):
        return {_MARK: name, "of": msgspec.to_builtins(value)}
    msg = f"{where} is {kind_of(value)}"
    raise TypeError(msg)


def _write_dict(value: dict[Any, Any], where: str) -> Any:
    if all(type(key) is str for key in value) and _MARK not in value:
        return {key: _write(part, f"{where}[{key!r}]") for key, part in value.items()}
    pairs = [[_write(key, where), _write(part, where)] for key, part in value.items()]
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


def _restore(value: Any, item_id: str, output_type: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [_restore(part, item_id, output_type) for part in value]
    if kind is not dict:
        return value
    mark = value.get(_MARK)
    if mark is None:
        return {key: _restore(part, item_id, output_type) for key, part in value.items()}
    inner = value["of"]
    if mark == "float32":
        return _unpacked(inner)
    if mark in _LEAVES:
        return msgspec.convert(inner, _LEAVES[mark])
    if mark == "dict":
        pairs = [[_restore(part, item_id, output_type) for part in pair] for pair in inner]
        return {_as_key(key): part for key, part in pairs}
    if mark in ("tuple", "set", "frozenset"):
        parts = [_restore(part, item_id, output_type) for part in inner]
        kinds = {"tuple": tuple, "set": set, "frozenset": frozenset}
        return kinds[mark](parts)
    found = _class_of(mark, item_id, output_type)
    if isinstance(found, type) and issubclass(found, Enum):
        inner = _restore(inner, item_id, output_type)
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


def _or_nothing(value: Any) -> Any:
    if type(value) is str or value is None:
        return value
    try:
        return msgspec.to_builtins(value)
    except (TypeError, ValueError, RecursionError):
        return None


def _as_far_as_it_goes(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what has a form in JSON; providers' raw objects have none, and are not needed."""
    kept = {str(key): _or_nothing(value) for key, value in metadata.items()}
    return {key: value for key, value in kept.items() if value is not None}
