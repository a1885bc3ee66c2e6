"""The part of JSON schema that the strict modes of providers accept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from attrs import frozen

__all__ = ["FORMATS", "SchemaRules", "strict_problems"]

SchemaRules: TypeAlias = Literal["openai", "anthropic", "gemini"]


@frozen(kw_only=True)
class _Rules:
    """One provider's rules.

    Attributes:
        keywords: What may stand in a schema.
        formats: Formats of strings.
        all_required: If every property has to be required.
        recursion: How a type may contain itself.
        most_min_items: The largest ``minItems``.
    """

    keywords: frozenset[str]
    formats: frozenset[str]
    all_required: bool = False
    recursion: Literal["any", "optional", "none"] = "any"
    most_min_items: float = float("inf")


_COMMON: Final = frozenset(
    {
        *("$defs", "$ref", "additionalProperties", "anyOf", "description", "enum", "format"),
        *("items", "minItems", "properties", "required", "title", "type"),
    }
)
_BOUNDS: Final = frozenset({"maximum", "maxItems", "minimum"})
FORMATS: Final = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"}
)
"""Formats of strings that all of them take."""

_RULES: Final[dict[str, _Rules]] = {
    "openai": _Rules(
        keywords=_COMMON
        | _BOUNDS
        | {"const", "exclusiveMaximum", "exclusiveMinimum", "multipleOf", "pattern"},
        formats=FORMATS,
        all_required=True,
    ),
    "anthropic": _Rules(
        keywords=_COMMON | {"allOf", "const", "default"},
        formats=FORMATS | {"uri"},
        recursion="none",
        most_min_items=1,
    ),
    "gemini": _Rules(
        keywords=_COMMON | _BOUNDS | {"oneOf", "prefixItems"},
        formats=FORMATS,
        recursion="optional",
    ),
}
_TYPES: Final[dict[str, Any]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
    "object": dict,
    "array": list,
}


def strict_problems(schema: Mapping[str, Any], rules: SchemaRules) -> list[str]:
    """List what the strict mode of a provider would refuse in *schema*.

    Args:
        schema: A JSON schema, such as ``output_schema(kind).schema``.
        rules: Whose rules.

    Returns:
        A sentence for each problem, with its place; none if the schema is accepted.

    Example:
        >>> strict_problems({"type": "array", "items": {"type": "string"}}, "openai")
        ['$: the root is no object; put it under a key of one']
    """
    check = _Check(_RULES[rules], schema.get("$defs", {}))
    problems = [*check.root(schema), *check.below(schema, "$")]
    for name, part in check.definitions.items():
        problems += check.below(part, f"$defs.{name}")
        if check.contains(part, name, frozenset()):
            problems.append(f"$defs.{name}: it contains itself")
    return problems


@frozen
class _Check:
    rules: _Rules
    definitions: Mapping[str, Any]

    def root(self, schema: Mapping[str, Any]) -> Iterator[str]:
        if schema.get("type") != "object" or "anyOf" in schema:
            yield "$: the root is no object; put it under a key of one"

    def below(self, schema: Mapping[str, Any], path: str) -> Iterator[str]:
        yield from self._here(schema, path)
        for step, part in _parts(schema):
            yield from self.below(part, f"{path}.{step}")

    def _here(self, schema: Mapping[str, Any], path: str) -> Iterator[str]:
        for key in sorted(schema.keys() - self.rules.keywords):
            yield f"{path}: {key} is not supported"
        if "$ref" in schema:
            yield from self._reference(schema, path)
        elif "type" not in schema and not schema.keys() & {"anyOf", "oneOf", "allOf"}:
            yield f"{path}: it has no type"
        if "format" in schema and schema["format"] not in self.rules.formats:
            yield f"{path}: the format {schema['format']} is not supported"
        if schema.get("minItems", 0) > self.rules.most_min_items:
            yield f"{path}: minItems {schema['minItems']} is not supported"
        if schema.get("type") == "object":
            yield from self._object(schema, path)
        if schema.get("type") == "array" and not isinstance(schema.get("items"), Mapping):
            yield f"{path}: an array without a schema of its items"
        kinds = schema.get("type", [])
        names = [kinds] if isinstance(kinds, str) else kinds
        for value in schema.get("enum", ()):
            if not any(_is(value, name) for name in names):
                yield f"{path}: {value!r} in the enum is not of its type"

    def _reference(self, schema: Mapping[str, Any], path: str) -> Iterator[str]:
        if schema.keys() - {"$ref", "$defs"}:
            yield f"{path}: keywords beside a $ref"
        if str(schema["$ref"]).removeprefix("#/$defs/") not in self.definitions:
            yield f"{path}: {schema['$ref']} refers to nothing"

    def _object(self, schema: Mapping[str, Any], path: str) -> Iterator[str]:
        if schema.get("additionalProperties") is not False:
            yield f"{path}: additionalProperties is not false"
        properties = schema.get("properties", {}).keys()
        required = set(schema.get("required", ()))
        if required - properties:
            yield f"{path}: required names what is no property"
        if self.rules.all_required and properties - required:
            yield f"{path}: not every property is required"

    def contains(self, schema: Mapping[str, Any], name: str, seen: frozenset[str]) -> bool:
        """Return whether *schema* leads back to *name* in a way that is not allowed."""
        if self.rules.recursion == "any":
            return False
        target = str(schema.get("$ref", "")).removeprefix("#/$defs/")
        if target == name:
            return True
        if target in self.definitions and target not in seen:
            return self.contains(self.definitions[target], name, seen | {target})
        required = schema.get("required", ())
        return any(
            self.contains(part, name, seen)
            for step, part in _parts(schema)
            if self.rules.recursion == "none"
            or not step.startswith("properties.")
            or step.removeprefix("properties.") in required
        )


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        yield f"properties.{name}", part
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for index, part in enumerate(schema.get(key, ())):
            yield f"{key}[{index}]", part
    if isinstance(schema.get("items"), Mapping):
        yield "items", schema["items"]


def _is(value: object, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])
