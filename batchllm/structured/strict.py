"""The strict form of a JSON schema, which providers can hold a model to while it writes.

It is what OpenAI, Anthropic and Gemini all accept: their rules are in ``rules.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from batchllm.structured.rules import FORMATS

__all__ = ["NotStrictError", "strict_form", "with_types"]

_KEPT: Final = frozenset(
    {
        *("$ref", "additionalProperties", "description", "enum", "format", "items", "minItems"),
        *("properties", "required", "title", "type"),
    }
)
# One strict mode or another refuses them, so they are put into words for the model to read.
_SAID: Final = {
    "contentEncoding": "encoded as",
    "exclusiveMaximum": "less than",
    "exclusiveMinimum": "greater than",
    "maximum": "at most",
    "maxItems": "number of elements at most",
    "minimum": "at least",
    "minItems": "number of elements at least",
    "multipleOf": "a multiple of",
    "pattern": "matches the regular expression",
}


class NotStrictError(TypeError):
    """A schema has no strict form: it leaves open which keys or values there are."""


def strict_form(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Require every property of *schema*, allow no others, and null for what is optional.

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
    kept = _kept(schema)
    if choices:
        if "allOf" in schema and len(choices) > 1:
            msg = f"{where} combines schemas by allOf, which has no strict form"
            raise NotStrictError(msg)
        for name in ("enum", "type"):
            kept.pop(name, None)  # the choices say it again
        return {**kept, "anyOf": [_strict(choice, where) for choice in choices]}
    if schema.get("type") == "object":
        return _strict_object(kept, where)
    if "prefixItems" in schema:
        msg = f"{where} is an array of fixed elements, which has no strict form"
        raise NotStrictError(msg)
    if "items" in schema:
        return {**kept, "items": _strict(schema["items"], f"{where}[]")}
    if "type" not in kept or schema.get("type") == "array":
        msg = f"{where} may be anything, which has no strict form"
        raise NotStrictError(msg)
    return kept


def _kept(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what every strict mode takes, and say the bounds in the description."""
    kept = {key: value for key, value in schema.items() if key in _KEPT}
    said = [f"{words} {schema[key]}" for key, words in _SAID.items() if key in schema]
    if schema.get("minItems") in (0, 1):
        said.remove(f"{_SAID['minItems']} {schema['minItems']}")
    else:
        kept.pop("minItems", None)
    if "format" in schema and schema["format"] not in FORMATS:
        said.append(f"format {kept.pop('format')}")
    if said:
        bounds = f"({', '.join(said)})"
        kept["description"] = f"{schema.get('description', '')} {bounds}".strip()
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


_NAMES: Final[dict[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


def with_types(schema: Any) -> Any:
    """Put a ``type`` beside every ``enum`` of *schema*; a ``const`` becomes one, too.

    OpenAI refuses an enumeration without a type, and Gemini does not know ``const``. Keywords
    are looked for where schemas stand, so that a property called ``enum`` is not one.
    """
    if not isinstance(schema, dict):
        return schema
    typed: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", schema).items():
        if key in ("properties", "$defs"):
            typed[key] = {name: with_types(part) for name, part in value.items()}
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            typed[key] = [with_types(part) for part in value]
        elif key in ("items", "additionalProperties"):
            typed[key] = with_types(value)
        elif key == "const":
            typed["enum"] = [value]
        else:
            typed[key] = value
    return _with_type(typed) if "enum" in typed and "type" not in typed else typed


def _with_type(schema: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, list[Any]] = {}
    for value in schema["enum"]:
        if type(value) not in _NAMES:
            return schema
        values.setdefault(_NAMES[type(value)], []).append(value)
    names = list(values)
    if len(values) == 1:
        return {**schema, "type": names[0]}
    if len(values) == 2 and "null" in values:
        return {**schema, "type": sorted(names, key="null".__eq__)}
    rest = {key: value for key, value in schema.items() if key != "enum"}
    return {**rest, "anyOf": [{"type": name, "enum": some} for name, some in values.items()]}
