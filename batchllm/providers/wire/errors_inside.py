"""Errors that come with a status of 200: where they stand in a reply, on every wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

__all__ = ["MayBeError", "error_within", "is_error"]


def error_within(reply: Mapping[str, Any], *, answered: bool) -> object:
    """Return the error in *reply*, as the body of an error reply; ``None`` if there is none.

    Args:
        reply: A whole reply, or one event of a stream.
        answered: Whether it has what an answer has, so that loose fields such as ``message``
            and ``code`` are none of an error.
    """
    if is_error(reply.get("error")):
        return reply
    for choice in _list(reply.get("choices")):
        # OpenRouter puts the failure of the provider behind it into the choice.
        if isinstance(choice, dict) and is_error(cast("dict[str, Any]", choice).get("error")):
            return {"error": cast("dict[str, Any]", choice)["error"]}
    if answered:
        return None
    # vLLM and gateways send the error's own fields, with nothing round them.
    kind, message = reply.get("type"), reply.get("message")
    named = reply.get("object") == "error" or (isinstance(kind, str) and "error" in kind.lower())
    coded = isinstance(message, str) and (reply.get("code") or reply.get("status")) is not None
    return reply if named or coded or isinstance(reply.get("detail"), str) else None


def is_error(value: object) -> bool:
    """Return whether *value*, of a field ``error``, is one; a mock's attribute is none."""
    return bool(value) and isinstance(value, dict | str | list | int)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


class MayBeError(msgspec.Struct, gc=False):
    """A reply with the fields that it has if it is an error, in a frame or with none round it."""

    error: Any = None
    object: Any = None
    message: Any = None
    code: Any = None
    type: Any = None
    status: Any = None
    detail: Any = None

    def find_error(self, *, answered: bool) -> Any:
        """Return the error, as :func:`error_within` does."""
        return error_within({name: getattr(self, name) for name in _FIELDS}, answered=answered)


_FIELDS: Final = MayBeError.__struct_fields__
