"""JSON schemas of output types."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Annotated, Any, cast, get_args, get_origin

import msgspec
from attrs import define, field, frozen

from batchllm.structured.leaves import not_json
from batchllm.structured.problems import MISSING
from batchllm.structured.shapes import (
    ARRAYS,
    MAPPINGS,
    Record,
    RecordField,
    is_leaf,
    is_pydantic_model,
    record_of,
    stripped,
    union_members,
)
from batchllm.structured.strict import NotStrictError, strict_form, with_types

__all__ = ["VALUE_KEY", "OutputSchema", "is_object", "json_schema", "output_schema"]

VALUE_KEY = "value"
"""The key under which providers are asked for what is no object, since they want one."""

_REF = "#/$defs/"


@frozen(kw_only=True)
class OutputSchema:
    """An output type as a provider gets it.

    Attributes:
        name: The type's name, in the letters that providers allow.
        schema: An object's JSON schema; the type itself may stand under its key ``value``.
        strict: If the schema has the strict form.
    """

    name: str
    schema: dict[str, Any]
    strict: bool


def output_schema(kind: Any, *, only: Collection[str] | None = None) -> OutputSchema:
    """Make the schema of *kind* for a provider: in strict form if the type allows it.

    Args:
        kind: The output type.
        only: Ask for these top-level fields and leave the others out.

    Raises:
        TypeError: *kind* holds a type that JSON cannot express.
    """
    schema = json_schema(kind)
    if not is_object(kind):
        definitions = schema.pop("$defs", None)
        schema = {"type": "object", "properties": {VALUE_KEY: schema}, "required": [VALUE_KEY]}
        if definitions:
            schema["$defs"] = definitions
    elif only is not None:
        schema = _narrowed(schema, only)
    try:
        return OutputSchema(name=schema_name(kind), schema=strict_form(schema), strict=True)
    except NotStrictError:
        return OutputSchema(name=schema_name(kind), schema=schema, strict=False)


def json_schema(kind: Any, *, strict: bool = False) -> dict[str, Any]:
    """Make the JSON schema of *kind*, which may be anything that ``parse`` reads.

    Args:
        kind: The output type.
        strict: Every property required, no others allowed, and null where a field may be left
            out, as strict modes of providers want it.

    Raises:
        TypeError: *kind* holds a type that JSON cannot express, or that has no strict form.
    """
    builder = _Builder()
    schema = builder.build(kind)
    schema, definitions = with_types(schema), with_types({"$defs": builder.definitions})["$defs"]
    reference = schema.get("$ref", "")
    if len(schema) == 1 and reference.startswith(_REF):
        name = reference.removeprefix(_REF)
        schema = dict(definitions[name])
        if not builder.is_recursive(name):
            del definitions[name]
    if definitions:
        schema["$defs"] = definitions
    return strict_form(schema) if strict else schema


def is_object(kind: Any) -> bool:
    """Return whether every value of *kind* is a JSON object with named fields."""
    bare = stripped(kind)
    if is_pydantic_model(bare):
        return not getattr(bare, "__pydantic_root_model__", False)
    return record_of(bare) is not None


def schema_name(kind: Any) -> str:
    """Name *kind* in 1 to 64 letters, digits, hyphens and underscores, alike in every process."""
    bare = stripped(kind)
    record = record_of(bare)
    name = record.name if record is not None else getattr(bare, "__name__", str(bare))
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:64] or "output"


def _narrowed(schema: dict[str, Any], only: Collection[str]) -> dict[str, Any]:
    properties = {key: part for key, part in schema["properties"].items() if key in only}
    required = [key for key in schema.get("required", ()) if key in only]
    return {**schema, "properties": properties, "required": required}


@define(eq=False)
class _Builder:
    """Builds the schema of one output type.

    Attributes:
        definitions: Its ``$defs`` so far.
        names: Of the records among them.
        models: The schemas of Pydantic models.
        place: The field that is being built, for messages.
    """

    definitions: dict[str, Any] = field(factory=dict[str, Any])
    names: dict[Any, str] = field(factory=dict[Any, str])
    models: dict[Any, dict[str, Any]] = field(factory=dict[Any, dict[str, Any]])
    place: str = "the output type"

    def build(self, kind: Any) -> dict[str, Any]:
        schema = self._bare(kind)
        description = _meta(kind, "description")
        return {**schema, "description": description} if description else schema

    def is_recursive(self, name: str) -> bool:
        return f'"{_REF}{name}"'.encode() in msgspec.json.encode(self.definitions)

    def _bare(self, kind: Any) -> dict[str, Any]:
        bare = stripped(kind)
        if is_pydantic_model(bare):
            if bare not in self.models:
                self.models[bare] = self._pydantic(bare)
            return self.models[bare]
        record = record_of(bare)
        if record is not None:
            return {"$ref": _REF + self._record(bare, record)}
        members = union_members(bare)
        if members is not None:
            return self._union(kind, members)
        origin, parts = get_origin(bare), get_args(bare)
        if parts and origin in ARRAYS and not is_leaf(kind):
            return {**self._array(origin, parts), **_lengths(kind, "Items")}
        if parts and origin in MAPPINGS and not is_leaf(kind):
            values = self.build(parts[1])
            return {
                "type": "object",
                "additionalProperties": values,
                **_lengths(kind, "Properties"),
            }
        return self._leaf(kind)

    def _record(self, kind: Any, record: Record) -> str:
        if kind in self.names:
            return self.names[kind]
        name = self._free_name(schema_name(kind))
        self.names[kind] = name
        self.definitions[name] = {}  # keeps the name while the fields refer to it
        schema: dict[str, Any] = {
            "title": record.name,
            "type": "object",
            "properties": {part.key: self._property(part, record) for part in record.fields},
            "required": [part.key for part in record.fields if part.required],
        }
        if record.description:
            schema["description"] = record.description
        self.definitions[name] = schema
        return name

    def _free_name(self, name: str, others: Collection[str] = ()) -> str:
        number, free = 1, name
        while free in self.definitions or free in others:
            number += 1
            free = f"{name[:60]}_{number}"
        return free

    def _property(self, part: RecordField, record: Record) -> dict[str, Any]:
        before, self.place = self.place, f"{record.name}.{part.name}"
        schema = self.build(part.type)
        self.place = before
        if part.description:
            schema = {**schema, "description": part.description}
        if part.default is not MISSING:
            with suppress(TypeError):  # a default that JSON cannot express is still a default
                schema = {**schema, "default": msgspec.to_builtins(part.default, str_keys=True)}
        return schema

    def _array(self, origin: Any, parts: tuple[Any, ...]) -> dict[str, Any]:
        if origin is tuple and parts[-1] is not ...:
            return {
                "type": "array",
                "prefixItems": [self.build(part) for part in parts],
                "items": False,
                "minItems": len(parts),
                "maxItems": len(parts),
            }
        return {"type": "array", "items": self.build(parts[0])}

    def _union(self, kind: Any, members: tuple[Any, ...]) -> dict[str, Any]:
        if is_leaf(kind):
            try:
                return self._leaf(kind)
            except TypeError:
                pass  # a union whose members msgspec cannot distinguish
        return {"anyOf": [self.build(member) for member in members]}

    def _leaf(self, kind: Any) -> dict[str, Any]:
        try:
            (schema,), components = msgspec.json.schema_components(
                [kind], ref_template=_REF + "{name}"
            )
        except TypeError as error:
            raise not_json(kind, self.place) from error
        return self._adopted(schema, components)

    def _pydantic(self, kind: Any) -> dict[str, Any]:
        schema: dict[str, Any] = kind.model_json_schema(ref_template=_REF + "{model}")
        definitions = schema.pop("$defs", {})
        if "properties" not in schema:
            # A recursive or root model: its definition is among the others.
            return self._adopted(schema, definitions)
        name = schema_name(kind)
        return self._adopted({"$ref": _REF + name}, {**definitions, name: schema})

    def _adopted(self, schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
        """Take over definitions that a library made; those whose name is taken get another."""
        renamed = {
            _REF + name: _REF + self._free_name(name, definitions)
            for name, part in definitions.items()
            if self.definitions.get(name, part) != part
        }
        for name, part in definitions.items():
            new = renamed.get(_REF + name, _REF + name).removeprefix(_REF)
            self.definitions[new] = _with_references(part, renamed)
        return cast("dict[str, Any]", _with_references(schema, renamed))


def _with_references(schema: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(schema, dict):
        return {
            key: renamed.get(part, part)
            if key == "$ref" and isinstance(part, str)
            else _with_references(part, renamed)
            for key, part in cast("dict[str, Any]", schema).items()
        }
    if isinstance(schema, list):
        return [_with_references(part, renamed) for part in schema]
    return schema


def _meta(kind: Any, name: str) -> Any:
    if get_origin(kind) is Annotated and not is_leaf(kind):
        for meta in kind.__metadata__:
            if isinstance(meta, msgspec.Meta):
                return getattr(meta, name)
    return None


def _lengths(kind: Any, of: str) -> dict[str, int]:
    bounds = {f"min{of}": _meta(kind, "min_length"), f"max{of}": _meta(kind, "max_length")}
    return {key: bound for key, bound in bounds.items() if bound is not None}
