"""``--schema``: a JSON schema, or the name of a Python class, becomes an output type."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict, Union

import msgspec
from attrs import define, field

from batchllm.cli.exits import UsageError
from batchllm.structured import output_schema

__all__ = ["output_type", "type_of_schema"]

_PLAIN: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "null": None,
    "array": list[Any],
    "object": dict[str, Any],
}
_BOUNDS = {
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "pattern": "pattern",
    "description": "description",
}
"""Keywords that bound a value, and what msgspec calls them."""

# Keywords that say nothing which an answer could get wrong.
_SILENT = frozenset(
    {"$schema", "$id", "$comment", "$defs", "definitions", "title", "examples", "default", "format"}
    | {"readOnly", "writeOnly", "deprecated", "strict"}
)
_SHAPE = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum", "const"}
    | {"anyOf", "oneOf", "$ref"}
)


def output_type(given: str) -> Any:
    """Return the type that ``--schema`` asks for.

    Raises:
        UsageError: There is no such file or class, or it cannot be held to.
    """
    module, colon, name = given.partition(":")
    is_class = bool(colon) and all(part.isidentifier() for part in module.split("."))
    kind = _import(module, name, given) if is_class else _read(Path(given))
    try:
        output_schema(kind)
    except TypeError as error:
        msg = f"--schema {given}: {error}"
        raise UsageError(msg) from None
    return kind


def _import(module: str, name: str, given: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:  # a script's folder is there, that of a program is not
        sys.path.insert(0, here)
    try:
        value: Any = importlib.import_module(module)
    except ImportError as error:
        msg = f"--schema {given}: the module cannot be imported: {error}"
        raise UsageError(msg) from None
    for part in name.split("."):
        if not hasattr(value, part):
            msg = f"--schema {given}: there is no {name} in {module}"
            raise UsageError(msg)
        value = getattr(value, part)
    return value


def _read(path: Path) -> Any:
    try:
        schema: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        msg = f"--schema: {path} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from None
    except ValueError as error:
        msg = f"--schema: {path} is not JSON: {error}"
        raise UsageError(msg) from None
    if isinstance(schema, dict) and isinstance(schema.get("schema"), dict):
        schema = schema["schema"]  # as OpenAI wraps it: {"name": …, "schema": …, "strict": …}
    return type_of_schema(schema, path.name)


def type_of_schema(schema: Any, name: str) -> Any:
    """Return a type whose values are those that a JSON schema allows.

    Args:
        schema: The schema.
        name: Its name in messages.

    Raises:
        UsageError: It is not a schema, or has a keyword that no type can express.
    """
    return _Builder(schema, name).build(schema, "")


@define(eq=False)
class _Builder:
    """Makes types of a schema and its parts.

    Attributes:
        root: The whole, for references.
        name: Its name in messages.
    """

    root: Any
    name: str
    _under_way: list[str] = field(factory=list, init=False)

    def build(self, schema: Any, path: str) -> Any:
        """Return the type for the part of the schema at *path*."""
        if schema is True or schema == {}:
            return Any
        if not isinstance(schema, dict):
            raise self._wrong(path, "it is not a schema; give an object with a type")
        unknown = sorted(schema.keys() - _SILENT - _SHAPE - _BOUNDS.keys())
        if unknown:
            remedy = "leave it out, or give --schema module:Class with a Pydantic model"
            raise self._wrong(path, f"{unknown[0]} is not supported; {remedy}")
        kind = self._shape(schema, path)
        bounds = {_BOUNDS[key]: schema[key] for key in _BOUNDS if key in schema}
        return Annotated[kind, msgspec.Meta(**bounds)] if bounds else kind

    def _shape(self, schema: dict[str, Any], path: str) -> Any:
        if "$ref" in schema:
            return self._referred(schema["$ref"], path)
        if "const" in schema or "enum" in schema:
            values = tuple(schema.get("enum", [schema.get("const")]))
            return Literal[values]
        for key in ("anyOf", "oneOf"):
            if key in schema:
                parts = [self.build(one, f"{path}.{key}") for one in schema[key]]
                return Union[tuple(parts)]  # noqa: UP007 - made of a list
        kinds: Any = schema.get("type", "object" if "properties" in schema else None)
        if isinstance(kinds, list):
            parts = [self._shape({**schema, "type": one}, path) for one in kinds]
            return Union[tuple(parts)]  # noqa: UP007
        if kinds not in _PLAIN:
            raise self._wrong(path, f"its type is {kinds!r}; give one of {', '.join(_PLAIN)}")
        if kinds == "array" and "items" in schema:
            return list[self.build(schema["items"], f"{path}[]")]  # type: ignore[misc]
        return self._record(schema, path) if kinds == "object" else _PLAIN[kinds]

    def _record(self, schema: dict[str, Any], path: str) -> Any:
        properties = schema.get("properties")
        if not properties:
            others = schema.get("additionalProperties", True)
            return dict[str, self.build(others, f"{path}.*")] if others else _PLAIN["object"]  # type: ignore[misc]
        required = schema.get("required", [])
        fields = {}
        for key, part in properties.items():
            kind = self.build(part, f"{path}.{key}".lstrip("."))
            fields[key] = Required[kind] if key in required else NotRequired[kind]
        title = str(schema.get("title") or path.rpartition(".")[2] or Path(self.name).stem)
        return TypedDict(title, fields)  # type: ignore[operator]

    def _referred(self, reference: Any, path: str) -> Any:
        if reference in self._under_way:
            raise self._wrong(path, f"{reference} refers to itself, which no type can express")
        part = self.root
        for key in filter(None, str(reference).removeprefix("#").split("/")):
            part = part.get(key) if isinstance(part, dict) else None
        if part is None or not str(reference).startswith("#"):
            raise self._wrong(path, f"{reference} is nowhere in the file")
        self._under_way.append(reference)
        kind = self.build(part, str(reference).rpartition("/")[2])
        self._under_way.pop()
        return kind

    def _wrong(self, path: str, what: str) -> UsageError:
        return UsageError(f"--schema: {self.name}{', at ' + path if path else ''}: {what}")
