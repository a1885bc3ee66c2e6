"""From JSON values to an output type: cattrs reads, with every problem found and its path.

What is ours here, since no setting of cattrs does it: a union takes the member with the fewest
problems (and tries each member once per value, or recursive unions would take 2 ** depth steps),
null stands for a default, and a class that refuses its values is asked field by field which.
Leaves go to msgspec, whose messages a model understands.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import Any, Final, cast, get_args, get_origin, is_typeddict

import attrs
from attrs import define, field
from cattrs import ClassValidationError, Converter
from cattrs.gen import make_dict_structure_fn, override

from batchllm.structured.leaves import (
    WRONG_VALUE,
    Refused,
    below,
    check_constraints,
    check_finite,
    read_leaf,
    refusal,
    wrong_kind,
)
from batchllm.structured.models import read_model
from batchllm.structured.problems import MISSING, Problem
from batchllm.structured.shapes import (
    ARRAYS,
    MAPPINGS,
    Record,
    accepts_null,
    is_leaf,
    is_pydantic_model,
    record_of,
    stripped,
    union_members,
)

__all__ = ["Reading", "read_value"]


@define(eq=False)
class Reading:
    """The outcome of reading one value.

    Attributes:
        output: The value as its type has it; ``MISSING`` if there are problems.
        problems: What is wrong, in the order of the fields.
    """

    output: Any = MISSING
    problems: list[Problem] = field(factory=list[Problem])


@define(eq=False)
class _Memory:
    """What one reading remembers.

    Attributes:
        unknown: Keys that no type had; they are ignored, and distinguish members of unions.
        tried: What became of each value as a member of a union, and its unknown keys.
    """

    unknown: int = 0
    tried: dict[tuple[int, int], tuple[Any, Refused | None, int]] = field(factory=dict)


_MEMORY: Final[ContextVar[_Memory]] = ContextVar("batchllm.structured.reading")


def read_value(value: Any, kind: Any) -> Reading:
    """Read *value*, as ``json.loads`` gives it, as a *kind*."""
    converter = _converter_of(kind if _is_hashable(kind) else None)
    token = _MEMORY.set(_Memory())
    try:
        return Reading(_read(value, kind, converter))
    except Refused as refused:
        return Reading(problems=list(refused.problems))
    finally:
        _MEMORY.reset(token)


@lru_cache(maxsize=128)
def _converter_of(kind: Any) -> Converter:
    """Make the converter of one output type: cattrs compiles its classes once."""
    converter = Converter(use_alias=True)
    converter.register_structure_hook_factory(lambda _: True, _hook_of)
    for plain in (str, bytes, int, float, bool):  # these have hooks that go before any factory
        converter.register_structure_hook(plain, read_leaf)
    return converter


_Hook = Callable[[Any, Any], Any]


def _read(value: Any, kind: Any, converter: Converter) -> Any:
    # cattrs keeps hooks by type, and an annotation may hold what has no hash, such as a list.
    if not _is_hashable(kind):
        hook = _hook_of(kind, converter)
    elif _has_order(kind):
        hook = _hook_by_order(kind, repr(kind), converter)
    else:
        hook = converter.structure
    return hook(value, kind)


def _read_as(kind: Any, converter: Converter, value: Any, _: Any) -> Any:
    return _read(value, kind, converter)


@lru_cache(maxsize=1024)
def _has_order(kind: Any) -> bool:
    """Return whether the order of the members of a union counts in *kind*."""
    members = union_members(kind)
    if members is not None and len(set(members) - {type(None)}) > 1:
        return True
    return any(_is_hashable(part) and _has_order(part) for part in get_args(kind))


@lru_cache(maxsize=1024)
def _hook_by_order(kind: Any, spelling: str, converter: Converter) -> _Hook:
    """Return the hook of *kind*, which cattrs would mix up: ``A | B == B | A``."""
    return _hook_of(kind, converter)


def _is_hashable(kind: Any) -> bool:
    try:
        hash(kind)
    except TypeError:
        return False
    return True


def _hook_of(kind: Any, converter: Converter) -> _Hook:
    bare = stripped(kind)
    members = union_members(bare)
    if members is not None:
        return _union_hook(kind, members, converter)
    if is_pydantic_model(bare):
        return lambda value, _: _read_model(value, bare)
    record = record_of(bare)
    if record is not None:
        return _record_hook(bare, record, converter)
    origin, parts = get_origin(bare), get_args(bare)
    if parts and origin in ARRAYS:
        return _array_hook(kind, origin, parts, converter)
    if parts and origin in MAPPINGS:
        return _mapping_hook(kind, parts, converter)
    return lambda value, _: read_leaf(value, kind)


def _record_hook(kind: Any, record: Record, converter: Converter) -> _Hook:
    if is_typeddict(record.kind):
        structure = _typed_dict_hook(record, converter)
    else:
        structure = _class_hook(kind, record, converter)
    fields = {part.key: part for part in record.fields}
    keys = {part.name: part.key for part in record.fields}

    def read(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise wrong_kind(value, "object")
        values = cast("dict[str, Any]", value)
        _MEMORY.get().unknown += len(values.keys() - fields.keys())
        given = {
            key: values[key]
            for key, part in fields.items()
            # Strict schemas say null where a field may be left out.
            if key in values
            and (values[key] is not None or part.required or accepts_null(part.type))
        }
        try:
            return structure(given, kind)
        except ClassValidationError as error:
            problems = list(_class_problems(error, keys, given))
            if not any(p.path for p in problems) and attrs.has(record.kind):
                problems = list(_blamed(record, converter, given)) or problems
            raise Refused(*problems) from error

    return read


def _class_hook(kind: Any, record: Record, converter: Converter) -> _Hook:
    open_parameters: tuple[Any, ...] = getattr(kind, "__parameters__", ())
    if open_parameters:  # cattrs refuses a generic class whose arguments are not given
        kind = kind[(Any,) * len(open_parameters)]
    # It passes whatever stands in an attribute without a type, NaN included.
    bare = attrs.fields(record.kind) if attrs.has(record.kind) else ()
    untyped = {attribute.name for attribute in bare if attribute.type is None}
    overrides: dict[str, Any] = {
        part.name: override(struct_hook=_hook_of(part.type, converter))
        for part in record.fields
        if part.name in untyped or not _is_hashable(part.type)
    }
    for part in record.fields:
        if part.name not in overrides and _has_order(part.type):
            # Looked up when a value comes, since a class may have itself as a member.
            hook = partial(_read_as, part.type, converter)
            overrides[part.name] = override(struct_hook=hook)
    return make_dict_structure_fn(
        kind, converter, _cattrs_use_alias=True, _cattrs_use_linecache=False, **overrides
    )


def _typed_dict_hook(record: Record, converter: Converter) -> _Hook:
    # Not by cattrs: it takes NotRequired in an annotation that is written as text for required.
    def read(given: Any, _: Any) -> Any:
        parts = [
            (part.key, given.get(part.key, MISSING), part.type)
            for part in record.fields
            if part.key in given or part.required
        ]
        made = _each(parts, converter)
        return {key: value for (key, _, _), value in zip(parts, made, strict=True)}

    return read


def _each(parts: Iterable[tuple[str, Any, Any]], converter: Converter) -> list[Any]:
    """Read parts, each with the step to it and its type, and gather all their problems."""
    made, problems = list[Any](), list[Problem]()
    for step, value, kind in parts:
        try:
            if value is MISSING:
                problems.append(Problem(step, _REQUIRED))
            else:
                made.append(_read(value, kind, converter))
        except Refused as refused:
            problems += below(step, refused, value)
    if problems:
        raise Refused(*problems)
    return made


_REQUIRED: Final = "is missing, and is required"


def _class_problems(
    error: ClassValidationError, keys: Mapping[str, str], given: Any
) -> Iterator[Problem]:
    noted, others = error.group_exceptions()
    for part, note in noted:
        key = keys[note.name]
        if isinstance(part, KeyError) and key not in given:
            yield Problem(key, _REQUIRED)
        else:
            yield from below(key, part, given.get(key))
    for part in others:
        yield refusal(part, "", given)


def _blamed(record: Record, converter: Converter, given: Mapping[str, Any]) -> Iterator[Problem]:
    """Give the fields that a class refuses by themselves: its error does not say which it is."""
    types_of = {part.key: part.type for part in record.fields}
    attributes = cast("tuple[attrs.Attribute[Any], ...]", attrs.fields(record.kind))
    for attribute in attributes:
        key, convert = attribute.alias or attribute.name, attribute.converter
        if key not in given or isinstance(convert, attrs.Converter):
            continue
        part = _read(given[key], types_of[key], converter)
        try:
            part = part if convert is None else convert(part)
            if attribute.validator is not None:
                attribute.validator(None, attribute, part)
        except AttributeError:
            continue  # it looks at other fields, so the record as a whole is refused
        except WRONG_VALUE as error:
            yield refusal(error, key, given[key])


def _array_hook(kind: Any, origin: Any, parts: tuple[Any, ...], converter: Converter) -> _Hook:
    fixed = origin is tuple and parts[-1] is not ...
    whole = is_leaf(kind)

    def read(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise wrong_kind(value, "array")
        elements: list[Any] = value
        if whole:
            try:
                return read_leaf(elements, kind)
            except (Refused, TypeError):
                pass  # msgspec stops at the first problem, and refuses some unions
        if fixed and len(elements) != len(parts):
            text = f"Expected {len(parts)} elements, got {len(elements)}"
            raise Refused(Problem("", text, elements))
        kinds = parts if fixed else (parts[0],) * len(elements)
        steps = (f"[{index}]" for index in range(len(elements)))
        made = _each(zip(steps, elements, kinds, strict=True), converter)
        check_constraints(value, kind, list)
        try:
            return ARRAYS[origin](made)
        except TypeError as error:  # a set of what cannot be hashed
            raise Refused(refusal(error, "", value)) from error

    return read


def _mapping_hook(kind: Any, parts: tuple[Any, ...], converter: Converter) -> _Hook:
    # Not by cattrs: keys of JSON are texts, so a key that is a number needs msgspec's str_keys.
    keys: Any = types.GenericAlias(dict, (parts[0], None))

    def read(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise wrong_kind(value, "object")
        made, problems = dict[Any, Any](), list[Problem]()
        for key, part in cast("dict[str, Any]", value).items():
            step = f"[{json.dumps(key)}]"
            try:
                (read_key,) = read_leaf({key: None}, keys)
                made[read_key] = _read(part, parts[1], converter)
            except Refused as refused:
                problems += below(step, refused, part)
        if problems:
            raise Refused(*problems)
        check_constraints(value, kind, dict)
        return made

    return read


def _union_hook(kind: Any, members: tuple[Any, ...], converter: Converter) -> _Hook:
    null, whole = accepts_null(kind), is_leaf(kind)
    others = [member for member in members if member is not type(None)]

    def read(value: Any, _: Any) -> Any:
        if value is None and null:
            return None
        if whole:
            try:
                return read_leaf(value, kind)
            except (Refused, TypeError):
                pass  # it fits none, or msgspec cannot distinguish the members
        memory = _MEMORY.get()
        tried = [_tried(memory, value, member, converter) for member in others]
        fits = [(len(refused.problems) if refused else 0, more) for _, refused, more in tried]
        output, refused, unknown = tried[fits.index(min(fits))]
        memory.unknown += unknown
        if refused is not None:
            raise Refused(*refused.problems)
        return output

    return read


def _tried(
    memory: _Memory, value: Any, kind: Any, converter: Converter
) -> tuple[Any, Refused | None, int]:
    key = (id(value), id(kind))
    if key not in memory.tried:
        before, memory.unknown = memory.unknown, 0
        output, why = MISSING, None
        try:
            output = _read(value, kind, converter)
        except Refused as refused:
            why = refused
        memory.tried[key] = (output, why, memory.unknown)
        memory.unknown = before
    return memory.tried[key]


def _read_model(value: Any, kind: Any) -> Any:
    check_finite(value)
    output, problems = read_model(value, kind, "")
    if problems:
        raise Refused(*problems)
    return output
