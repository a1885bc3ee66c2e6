"""A result as bytes, and back; ``values.py`` has the form of its output."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from batchllm.core import (
    AttemptFailure,
    JournalError,
    RecordedError,
    TokenUsage,
    WorkItemResult,
    recorded,
)
from batchllm.journal.values import as_plain, restore_value, write_value

__all__ = [
    "Payload",
    "decode_result",
    "encode_result",
    "pack",
    "replay_result",
    "unpack",
]

_COMPRESSED_FROM: Final = 1_000
"""Bytes; below, a text of an answer loses less than a tenth of a page of the file."""
_PACKED: Final = b"z"
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


def decode_result(data: bytes, output_type: Any = None, *, plain: bool = False) -> Payload:
    """Read what :func:`encode_result` wrote.

    Args:
        data: The bytes, packed or not.
        output_type: The class of outputs that are no plain value, in place of the recorded one.
        plain: Whether outputs stay as JSON has them, so that no class need be loaded.

    Returns:
        The fields by the names of ``WorkItemResult``, and ``prompt``.

    Raises:
        JournalError: The class of the output is not loaded.
    """
    fields: Payload = json.loads(unpack(data))
    exception = fields.get("exception")
    return {
        "item_id": fields["id"],
        "output": as_plain(fields["output"])
        if plain
        else restore_value(fields["output"], fields["id"], output_type),
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
    data: bytes,
    *,
    success: bool,
    cost: float | None,
    position: int,
    output_type: Any = None,
    plain: bool = False,
) -> tuple[WorkItemResult[Any, Any], Any]:
    """Make the result of an earlier run of its row.

    Args:
        data: The payload, as for :func:`decode_result`.
        success: Whether it was an answer.
        cost: In US dollars, ``None`` if no price was known.
        position: That of its item in the input.
        output_type: As for :func:`decode_result`.
        plain: As for it.

    Returns:
        The result, marked ``replayed``, and the prompt that was kept with it.

    Raises:
        JournalError: The class of the output is not loaded.
    """
    fields = decode_result(data, output_type, plain=plain)
    prompt = fields.pop("prompt")
    result: WorkItemResult[Any, Any] = WorkItemResult(
        success=success, cost=cost, submission_index=position, replayed=True, **fields
    )
    return result, prompt


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
        return write_value(result.output, "its output")
    except (TypeError, ValueError, RecursionError) as error:
        if not result.success:
            return None  # part of an answer: the error is what counts
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        msg = (
            f"item {result.item_id!r}: {why}, so the journal cannot keep it; return plain values, "
            "or instances of attrs classes, dataclasses or Pydantic models of a module"
        )
        raise JournalError(msg, problem="unserialisable") from None


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
