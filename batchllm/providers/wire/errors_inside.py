"""Errors that come with a status of 200: where they stand in a reply, on every wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

__all__ = ["error_within", "is_error"]


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
