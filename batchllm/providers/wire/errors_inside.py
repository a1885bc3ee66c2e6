"""Errors that come with a status of 200: where they stand in a reply, on every wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from batchllm.policy import ErrorBody
from batchllm.providers.wire.answers import as_list

__all__ = ["MayBeError", "error_within", "is_error"]


_WRAPPED: Final = ("detail", "errors", "fault", "base_resp")


def error_within(reply: Mapping[str, Any], *, answered: bool) -> object:
    """Return the error in *reply*, as the body of an error reply; ``None`` without one.

    Args:
        reply: A whole reply, or one event of a stream.
        answered: If it has what an answer has, so that loose fields such as ``message``
            and ``code`` are none of an error.
    """
    if is_error(reply.get("error")):
        return reply
    for choice in as_list(reply.get("choices")):
        # OpenRouter puts the failure of the provider behind it into the choice.
        if isinstance(choice, dict) and is_error(cast("dict[str, Any]", choice).get("error")):
            return {"error": cast("dict[str, Any]", choice)["error"]}
    if answered:
        return None
    # vLLM and gateways send the error's own fields, with nothing or something else round them.
    kind = reply.get("type")
    named = reply.get("object") == "error" or (isinstance(kind, str) and "error" in kind.lower())
    if named:
        return reply
    said = ErrorBody.read(dict(reply))
    known = said.code or said.status or said.kind or any(reply.get(name) for name in _WRAPPED)
    return reply if said.message and known else None


def is_error(value: object) -> bool:
    """Return whether *value*, of a field ``error``, is an error; a mock's attribute is not."""
    return bool(value) and isinstance(value, dict | str | list | int)


class MayBeError(msgspec.Struct, gc=False):
    """A reply with the fields that it has if it is an error, in a frame or with none round it."""

    error: Any = None
    object: Any = None
    message: Any = None
    code: Any = None
    type: Any = None
    status: Any = None
    detail: Any = None
    errors: Any = None
    fault: Any = None
    base_resp: Any = None
    msg: Any = None
    error_msg: Any = None
    error_code: Any = None
    status_code: Any = None
    statusCode: Any = None  # noqa: N815 - as Azure's gateway spells it

    def find_error(self, *, answered: bool) -> Any:
        """Return the error, as :func:`error_within` does."""
        return error_within({name: getattr(self, name) for name in _FIELDS}, answered=answered)


_FIELDS: Final = MayBeError.__struct_fields__
