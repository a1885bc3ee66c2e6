"""The type of a strategy's outputs, as a column of Arrow has it, and the outputs as its values.

A type of which every value has the same shape becomes a typed column: a record is a struct, a list
a list. What has no fixed shape, such as a mapping or a choice between types, is JSON in a text,
as in other tables of the library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, get_origin

from attrs import frozen

from batchllm.core import ConfigError, LLMCallStrategy, kind_of
from batchllm.providers import EmbeddingStrategy, GeminiEmbeddingStrategy
from batchllm.structured import json_schema

__all__ = ["JSON", "ListOf", "Shape", "StructOf", "fit", "output_type_of", "shape_of"]

Scalar: TypeAlias = Literal["bool", "int", "float", "text", "json"]
JSON: Final = "json"
_SCALARS: Final[Mapping[str, Scalar]] = {
    "boolean": "bool",
    "integer": "int",
    "number": "float",
    "string": "text",
}
_REF: Final = "#/$defs/"
_DEEPEST: Final = 20
"""Levels of a schema; one that refers to itself has no end, and is JSON from there on."""


@frozen
class ListOf:
    """The shape of a list.

    Attributes:
        of: That of each element.
    """

    of: Shape


@frozen
class StructOf:
    """The shape of a record.

    Attributes:
        fields: The shape of each field, by name.
    """

    fields: dict[str, Shape]


Shape: TypeAlias = Scalar | ListOf | StructOf


def output_type_of(strategy: LLMCallStrategy[Any], given: Any = None) -> Any:
    """Return the type of a strategy's outputs; ``None`` if it says none, as one of texts does.

    Args:
        strategy: The strategy; one of several parts has the type that they all have.
        given: What the user says that it is.

    Raises:
        ConfigError: *given* is no type.
    """
    if given is not None:
        if isinstance(given, type) or get_origin(given) is not None:
            return given
        msg = f"output is {given!r:.80}, {kind_of(given)}; give a type, such as list[str]"
        raise ConfigError(msg)
    if isinstance(strategy, EmbeddingStrategy | GeminiEmbeddingStrategy):
        return list[list[float]]
    own = getattr(strategy, "output", None)
    if own is not None and (isinstance(own, type) or get_origin(own) is not None):
        return own
    kinds = [output_type_of(part) for part in strategy.parts]
    return kinds[0] if kinds and all(kind == kinds[0] for kind in kinds) else None


def shape_of(kind: Any) -> Shape:
    """Return the shape of the values of a type.

    Raises:
        TypeError: *kind* holds a type that JSON cannot express.
    """
    # By the names of fields, as outputs are written down, and not by aliases.
    by_name = getattr(kind, "model_json_schema", None)
    schema = json_schema(kind) if by_name is None else by_name(by_alias=False)
    return _shape(schema, schema.get("$defs", {}), 0)


def _shape(schema: Any, definitions: Mapping[str, Any], depth: int) -> Shape:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return JSON
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(_REF):
        return _shape(definitions.get(reference.removeprefix(_REF)), definitions, depth + 1)
    schema = _without_null(schema)
    if schema is None:
        return JSON
    if "$ref" in schema:
        return _shape(schema, definitions, depth + 1)
    kind = schema.get("type")
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        return ListOf(_shape(schema["items"], definitions, depth + 1))
    if kind == "object" and schema.get("properties"):
        parts = schema["properties"].items()
        return StructOf({name: _shape(part, definitions, depth + 1) for name, part in parts})
    if kind is None:
        return _of_values(schema.get("enum") or [schema.get("const")])
    return _SCALARS.get(kind, JSON) if isinstance(kind, str) else JSON


def _without_null(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return *schema* without the choice of null, or ``None`` if several others stay."""
    choices = schema.get("anyOf")
    if choices is not None:
        rest = [choice for choice in choices if choice.get("type") != "null"]
        return rest[0] if len(rest) == 1 else None
    kinds = schema.get("type")
    if isinstance(kinds, list):
        rest = [kind for kind in kinds if kind != "null"]
        return {**schema, "type": rest[0]} if len(rest) == 1 else None
    return schema


def _of_values(values: list[Any]) -> Shape:
    kinds = {type(value) for value in values}
    if kinds == {str}:
        return "text"
    if kinds == {bool}:
        return "bool"
    return "int" if kinds == {int} else JSON


def fit(value: Any, shape: Shape) -> Any:
    """Return a value of JSON as a column of *shape* holds it.

    Raises:
        TypeError: It has another shape.
    """
    if value is None:
        return None
    match shape:
        case ListOf(of):
            if not isinstance(value, list | tuple):
                raise TypeError(_other(value, "a list"))
            return [fit(part, of) for part in value]
        case StructOf(fields):
            if not isinstance(value, Mapping):
                raise TypeError(_other(value, "an object"))
            return {name: fit(value.get(name), part) for name, part in fields.items()}
        case "json":
            return json.dumps(value, ensure_ascii=False, default=str)
        case "text":
            if not isinstance(value, str):
                raise TypeError(_other(value, "a text"))
            # Half of a pair of surrogates has no bytes of its own.
            return value.encode("utf-8", "backslashreplace").decode()
        case "float":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(_other(value, "a number"))
            return float(value)
        case "int":
            # JSON does not distinguish 3.0 from 3; a column has 64 bits.
            if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
                raise TypeError(_other(value, "a whole number"))
            if not -(2**63) <= value < 2**63:
                raise TypeError(_other(value, "a whole number of 64 bits"))
            return int(value)
        case _:
            if not isinstance(value, bool):
                raise TypeError(_other(value, "true or false"))
            return value


def _other(value: Any, expected: str) -> str:
    return f"{value!r:.40} is not {expected}"
