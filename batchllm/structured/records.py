"""Making records: attrs classes and dataclasses by cattrs, and who is to blame if one refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any, Final, TypeAlias, cast, is_typeddict

import attrs
from cattrs import ClassValidationError, Converter
from cattrs.gen import make_dict_structure_fn, override

from batchllm.structured.leaves import WRONG_VALUE, Refused, below, refusal
from batchllm.structured.problems import MISSING, Problem
from batchllm.structured.shapes import Record

__all__ = ["REQUIRED", "blamed", "converter_for", "is_hashable", "maker_of"]

Read: TypeAlias = Callable[[Any, Any], Any]
Each: TypeAlias = Callable[[Iterable[tuple[str, Any, Any]]], list[Any]]
Make: TypeAlias = Callable[[Mapping[str, Any]], Any]

REQUIRED: Final = "is missing, and is required"


def converter_for(read: Read) -> Converter:
    """Make a converter that builds classes and reads whatever is in them by *read*."""
    converter = Converter(use_alias=True)
    converter.register_structure_hook_func(lambda _: True, read)
    for plain in (str, bytes, int, float, bool):  # these have hooks that go before any predicate
        converter.register_structure_hook(plain, read)
    return converter


def maker_of(kind: Any, record: Record, converter: Converter, each: Each) -> Make:
    """Return what makes a *kind* of the values of its keys, or raises ``Refused``.

    Args:
        kind: An attrs class, a dataclass or a ``TypedDict``.
        record: Its fields.
        converter: Builds classes.
        each: Reads parts, each with the step to it and its type.
    """
    if is_typeddict(record.kind):
        # Not by cattrs: it takes NotRequired in an annotation that is written as text for required.
        return lambda given: _typed_dict(record, each, given)
    structure = _structure_of(kind, record, converter)
    keys = {part.name: part.key for part in record.fields}

    def make(given: Mapping[str, Any]) -> Any:
        try:
            return structure(given, kind)
        except ClassValidationError as error:
            raise Refused(*_problems(error, keys, given)) from error

    return make


def _structure_of(kind: Any, record: Record, converter: Converter) -> Callable[[Any, Any], Any]:
    open_parameters: tuple[Any, ...] = getattr(kind, "__parameters__", ())
    if open_parameters:  # cattrs refuses a generic class whose arguments are not given
        kind = kind[(Any,) * len(open_parameters)]
    # It keeps hooks by type, and one without a hash cannot be kept; what stands in an attribute
    # without a type it passes unread, NaN included; and it does not follow a name within a type,
    # as in Optional["Town"].
    known: Any = attrs.fields(record.kind) if attrs.has(record.kind) else fields(record.kind)
    written = {attribute.name: attribute.type for attribute in known}
    read = converter.get_structure_hook(Any)
    overrides: dict[str, Any] = {
        part.name: override(struct_hook=partial(_read_as, read, part.type))
        for part in record.fields
        if written.get(part.name) is not part.type or not is_hashable(part.type)
    }
    return make_dict_structure_fn(
        kind, converter, _cattrs_use_alias=True, _cattrs_use_linecache=False, **overrides
    )


def _read_as(read: Read, kind: Any, value: Any, _: Any) -> Any:
    return read(value, kind)


def is_hashable(kind: Any) -> bool:
    """Return whether *kind* has a hash; an annotation may hold what has none, such as a list."""
    try:
        hash(kind)
    except TypeError:
        return False
    return True


def _typed_dict(record: Record, each: Each, given: Mapping[str, Any]) -> dict[str, Any]:
    parts = [
        (part.key, given.get(part.key, MISSING), part.type)
        for part in record.fields
        if part.key in given or part.required
    ]
    return {key: value for (key, _, _), value in zip(parts, each(parts), strict=True)}


def _problems(
    error: ClassValidationError, keys: Mapping[str, str], given: Mapping[str, Any]
) -> Iterator[Problem]:
    noted, others = error.group_exceptions()
    for part, note in noted:
        key = keys[note.name]
        if isinstance(part, KeyError) and key not in given:
            yield Problem(key, REQUIRED)
        else:
            yield from below(key, part, given.get(key))
    for part in others:
        yield refusal(part, "", given)


def blamed(record: Record, read: Read, given: Mapping[str, Any]) -> Iterator[Problem]:
    """Give the fields that an attrs class refuses by themselves: its error does not name them."""
    if not attrs.has(record.kind):
        return
    types_of = {part.key: part.type for part in record.fields}
    attributes = cast("tuple[attrs.Attribute[Any], ...]", attrs.fields(record.kind))
    for attribute in attributes:
        key, convert = attribute.alias or attribute.name, attribute.converter
        if key not in given or isinstance(convert, attrs.Converter):
            continue
        part = read(given[key], types_of[key])
        try:
            part = part if convert is None else convert(part)
            if attribute.validator is not None:
                attribute.validator(None, attribute, part)
        except AttributeError:
            continue  # it looks at other fields, so the record as a whole is refused
        except WRONG_VALUE as error:
            yield refusal(error, key, given[key])
