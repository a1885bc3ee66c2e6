"""The strict form of a JSON schema, which providers can hold a model to while it writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

__all__ = ["NotStrictError", "strict_form"]

_DROPPED = frozenset(
    {
        "$schema",
        "default",
        "discriminator",
        "maxLength",
        "maxProperties",
        "minLength",
        "minProperties",
        "uniqueItems",
    }
)
_FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"}
)


class NotStrictError(TypeError):
    """A schema has no strict form: it leaves open which keys or values there are."""


def strict_form(schema: Mapping[str, Any]) -> dict[str, Any]:
    """*schema* with every property required, no others allowed, and null for what is optional.

    Keywords that strict modes refuse are dropped; ``parse`` checks the type all the same.

    Raises:
        NotStrictError: A part allows any key or any value; it names the part.
    """
    return _strict(schema, "the output")


def _strict(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    if "$ref" in schema:
        strict: dict[str, Any] = {"$ref": schema["$ref"]}  # no keyword may stand beside it
    else:
        strict = _strict_here(schema, where)
    if definitions:
        strict["$defs"] = {name: _strict(part, name) for name, part in definitions.items()}
    return strict


def _strict_here(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    choices: Any = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    kept = {
        key: value
        for key, value in schema.items()
        if key not in _DROPPED | {"$defs", "anyOf", "oneOf", "allOf"}
        and not (key == "format" and value not in _FORMATS)
    }
    if choices:
        if "allOf" in schema and len(choices) > 1:
            msg = f"{where} combines schemas by allOf, which has no strict form"
            raise NotStrictError(msg)
        return {**kept, "anyOf": [_strict(choice, where) for choice in choices]}
    if schema.get("type") == "object":
        return _strict_object(kept, where)
    if "prefixItems" in schema:
        msg = f"{where} is an array of fixed elements, which has no strict form"
        raise NotStrictError(msg)
    if "items" in schema:
        return {**kept, "items": _strict(schema["items"], f"{where}[]")}
    if not schema.keys() & {"type", "enum", "const"} or schema.get("type") == "array":
        msg = f"{where} may be anything, which has no strict form"
        raise NotStrictError(msg)
    return kept


def _strict_object(schema: dict[str, Any], where: str) -> dict[str, Any]:
    if schema.get("additionalProperties") or "properties" not in schema:
        msg = f"{where} is an object with any keys, which has no strict form"
        raise NotStrictError(msg)
    properties: Mapping[str, Any] = schema["properties"]
    required = schema.get("required", ())
    strict = {
        key: _strict(part, f"{where}.{key}")
        if key in required
        else _nullable(_strict(part, f"{where}.{key}"))
        for key, part in properties.items()
    }
    return {
        **schema,
        "properties": strict,
        "required": list(properties),
        "additionalProperties": False,
    }


_NULL = {"type": "null"}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    choices = cast("list[Any]", schema.get("anyOf", []))
    if _NULL in choices or schema.get("type") == "null" or None in schema.get("enum", ()):
        return schema
    if choices:
        return {**schema, "anyOf": [*choices, _NULL]}
    return {"anyOf": [schema, _NULL]}
