"""The build of output types: which of them are records, and of which fields."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    NewType,
    NotRequired,
    Required,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import attrs
from attrs import field, frozen

from batchllm.structured.problems import MISSING

__all__ = [
    "ARRAYS",
    "MAPPINGS",
    "Record",
    "RecordField",
    "accepts_null",
    "field_keys",
    "is_leaf",
    "is_pydantic_model",
    "record_of",
    "stripped",
    "union_members",
]

ARRAYS: dict[Any, type[Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    tuple: tuple,
    Sequence: list,
    MutableSequence: list,
    Collection: list,
    Iterable: list,
    AbstractSet: frozenset,
}
"""Generic containers that JSON writes as arrays, and what is made of them."""

MAPPINGS = frozenset({dict, Mapping, MutableMapping})


@frozen(kw_only=True)
class RecordField:
    """One field of a record.

    Attributes:
        name: Its name in the class.
        key: Its name in JSON, and in the record's constructor.
        type: Its type, with ``Annotated`` kept.
        required: If it has no default.
        default: The default; ``MISSING`` if there is none or a factory makes it.
        description: What it means, from ``metadata={"description": …}``.
    """

    name: str
    key: str
    type: Any
    required: bool
    default: Any = MISSING
    description: str | None = None


@frozen(kw_only=True)
class Record:
    """An attrs class, a dataclass or a ``TypedDict``."""

    kind: Any = field(repr=False)
    name: str
    fields: tuple[RecordField, ...]
    description: str | None


def record_of(kind: Any) -> Record | None:
    """Return the record that *kind* is; ``None`` for every other type."""
    origin: Any = get_origin(kind) or kind
    if not isinstance(origin, type) or is_pydantic_model(origin):
        return None
    if attrs.has(origin) or dataclasses.is_dataclass(origin):
        fields = _class_fields(kind, origin)
    elif is_typeddict(origin):
        fields = _typed_dict_fields(kind, origin)
    else:
        return None
    name = origin.__name__ + "".join(f"_{_name_of(part)}" for part in get_args(kind))
    return Record(kind=origin, name=name, fields=tuple(fields), description=_description(origin))


def _class_fields(kind: Any, origin: type[Any]) -> Iterable[RecordField]:
    hints = _hints(kind, origin)
    known: Iterable[Any] = attrs.fields(origin) if attrs.has(origin) else dataclasses.fields(origin)
    for part in known:
        if part.init:
            made = getattr(part, "default_factory", dataclasses.MISSING)
            # By identity: a default may be an array, which has no truth when it is compared.
            absent = part.default is attrs.NOTHING or part.default is dataclasses.MISSING
            plain = not absent and not isinstance(part.default, cast("type", attrs.Factory))
            yield RecordField(
                name=part.name,
                key=getattr(part, "alias", None) or part.name,
                type=hints.get(part.name, Any),
                required=absent and made is dataclasses.MISSING,
                default=part.default if plain else MISSING,
                description=part.metadata.get("description"),
            )


def _typed_dict_fields(kind: Any, origin: Any) -> Iterable[RecordField]:
    required: frozenset[str] = origin.__required_keys__
    for name, hint in _hints(kind, origin).items():
        # Annotations written as text hide Required and NotRequired from Python's own sets.
        marks = get_origin(hint)
        if marks in (Required, NotRequired):
            yield RecordField(
                name=name, key=name, type=get_args(hint)[0], required=marks is Required
            )
        else:
            yield RecordField(name=name, key=name, type=hint, required=name in required)


def _hints(kind: Any, origin: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(origin, include_extras=True)
    parameters: tuple[Any, ...] = getattr(origin, "__parameters__", ())
    given = dict(zip(parameters, get_args(kind), strict=False))
    return {name: _filled(hint, given) for name, hint in hints.items()} if parameters else hints


def _filled(hint: Any, given: Mapping[Any, Any]) -> Any:
    """Fill the type variables of a generic class into *hint*."""
    if isinstance(hint, TypeVar):
        return given.get(hint, Any)
    open_parameters: tuple[Any, ...] = getattr(hint, "__parameters__", ())
    if not open_parameters:
        return hint
    return hint[tuple(given.get(parameter, Any) for parameter in open_parameters)]


def _description(origin: Any) -> str | None:
    text: str | None = origin.__dict__.get("__doc__")
    generated = text is not None and text.startswith(f"{origin.__name__}(")
    return inspect.cleandoc(text) if text and not generated else None


def _name_of(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))


def is_pydantic_model(kind: Any) -> bool:
    """Return whether *kind* is a Pydantic model, by its methods, so that nothing is imported."""
    return isinstance(kind, type) and hasattr(kind, "model_validate_json")


def stripped(kind: Any) -> Any:
    """Strip ``Annotated``, ``NewType`` and the names of ``type`` statements off *kind*."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif isinstance(kind, NewType):
            kind = kind.__supertype__
        elif type(kind).__name__ == "TypeAliasType":
            kind = kind.__value__
        else:
            return kind


def union_members(kind: Any) -> tuple[Any, ...] | None:
    """Return the members of a union; ``None`` for every other type."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else None


def accepts_null(kind: Any) -> bool:
    """Return whether JSON's ``null`` is a value of *kind*."""
    bare = stripped(kind)
    members = union_members(bare)
    if members is not None:
        return any(accepts_null(member) for member in members)
    return bare in (Any, object, None, NoneType)


def is_leaf(kind: Any) -> bool:
    """Return whether msgspec alone reads *kind*: there is no record or Pydantic model in it."""
    bare = stripped(kind)
    if is_pydantic_model(bare) or record_of(bare) is not None:
        return False
    if union_members(bare) is not None or get_origin(bare) in (*ARRAYS, *MAPPINGS):
        return all(is_leaf(part) for part in get_args(bare) if part is not ...)
    return True


def field_keys(kind: Any) -> tuple[str, ...]:
    """Return the keys of the object that *kind* is in JSON; none if it is no such object."""
    bare = stripped(kind)
    members = union_members(bare)
    if members is not None:
        return tuple(dict.fromkeys(key for member in members for key in field_keys(member)))
    if is_pydantic_model(bare):
        return tuple(field.alias or name for name, field in bare.model_fields.items())
    record = record_of(bare)
    return () if record is None else tuple(field.key for field in record.fields)
