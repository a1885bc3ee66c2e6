"""From JSON values to an output type, with every problem found and not only the first."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, cast, get_args, get_origin

import attrs
import msgspec
from attrs import define, field

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

_JSON_NAMES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "str",
    bool: "bool",
    int: "int",
    float: "float",
    type(None): "null",
}


@define(eq=False)
class Reading:
    """What came of reading one value.

    Attributes:
        output: The value as its type has it; ``MISSING`` where there are problems.
        problems: What is wrong, in the order of the fields.
        unknown: Keys that the type does not have; they are ignored, and tell unions apart.
    """

    output: Any = MISSING
    problems: list[Problem] = field(factory=list[Problem])
    unknown: int = 0

    def take(self, other: Reading) -> Any:
        """Add the findings of a part and give its output."""
        self.problems += other.problems
        self.unknown += other.unknown
        return other.output


def read_value(value: Any, kind: Any) -> Reading:
    """Read *value*, as ``json.loads`` gives it, as a *kind*."""
    return _Reader().read(value, kind, "")


@define(eq=False)
class _Reader:
    records: dict[Any, Record | None] = field(factory=dict[Any, "Record | None"])
    # Members of unions of recursive types would else be tried twice at each level: 2 ** depth.
    tried: dict[tuple[int, str, int], Reading] = field(factory=dict[tuple[int, str, int], Reading])

    def read(self, value: Any, kind: Any, path: str) -> Reading:
        bare = stripped(kind)
        members = union_members(bare)
        if members is not None:
            return self._union(value, kind, members, path)
        if is_pydantic_model(bare):
            return self._model(value, bare, path)
        record = self._record(bare)
        if record is not None:
            return self._fields(value, record, path)
        origin, parts = get_origin(bare), get_args(bare)
        if parts and origin in ARRAYS:
            return self._array(value, kind, path)
        if parts and origin in MAPPINGS:
            return self._mapping(value, kind, path)
        return _read_leaf(value, kind, path)

    def _model(self, value: Any, kind: Any, path: str) -> Reading:
        if _has_non_finite(value):
            return _read_leaf(value, Any, path)
        output, problems = read_model(value, kind, path)
        return Reading(output, problems)

    def _record(self, kind: Any) -> Record | None:
        if kind not in self.records:
            self.records[kind] = record_of(kind)
        return self.records[kind]

    def _fields(self, value: Any, record: Record, path: str) -> Reading:
        if not isinstance(value, dict):
            return _wrong_kind(value, "object", path)
        values = cast("dict[str, Any]", value)
        reading, found = Reading(), dict[str, Any]()
        for part in record.fields:
            given = values.get(part.key, MISSING)
            if given is None and not part.required and not accepts_null(part.type):
                continue  # strict schemas say null where a field may be left out
            where = f"{path}.{part.key}" if path else part.key
            if given is not MISSING:
                found[part.key] = reading.take(self.read(given, part.type, where))
            elif part.required:
                reading.problems.append(Problem(where, "is missing, and is required"))
        reading.unknown += len(values.keys() - {part.key for part in record.fields})
        if not reading.problems:
            _build(reading, record, found, value, path)
        return reading

    def _array(self, value: Any, kind: Any, path: str) -> Reading:
        bare = stripped(kind)
        origin, parts = get_origin(bare), get_args(bare)
        if not isinstance(value, list):
            return _wrong_kind(value, "array", path)
        values: list[Any] = value
        whole = _read_at_once(values, kind, path)
        if whole is not None:
            return whole
        fixed = origin is tuple and parts[-1] is not ...
        if fixed and len(values) != len(parts):
            text = f"Expected {len(parts)} elements, got {len(values)}"
            return Reading(problems=[Problem(path, text, value)])
        kinds = parts if fixed else (parts[0],) * len(values)
        reading = Reading()
        elements = [
            reading.take(self.read(element, element_kind, f"{path}[{index}]"))
            for index, (element, element_kind) in enumerate(zip(values, kinds, strict=True))
        ]
        _check_constraints(reading, value, kind, list, path)
        return _made(reading, ARRAYS[origin], elements, value, path)

    def _mapping(self, value: Any, kind: Any, path: str) -> Reading:
        if not isinstance(value, dict):
            return _wrong_kind(value, "object", path)
        key_kind, value_kind = get_args(stripped(kind))
        reading, found = Reading(), dict[Any, Any]()
        for key, part in cast("dict[str, Any]", value).items():
            where = f"{path}[{json.dumps(key)}]"
            read_key = reading.take(
                _read_leaf({key: None}, types.GenericAlias(dict, (key_kind, None)), where)
            )
            read_part = reading.take(self.read(part, value_kind, where))
            if read_key is not MISSING:
                found[next(iter(read_key))] = read_part
        _check_constraints(reading, value, kind, dict, path)
        return _made(reading, dict, found, value, path)

    def _union(self, value: Any, kind: Any, members: tuple[Any, ...], path: str) -> Reading:
        if value is None and accepts_null(kind):
            return Reading(None)
        whole = _read_at_once(value, kind, path)
        if whole is not None:
            return whole
        best: Reading | None = None
        for member in members:
            if member is type(None):
                continue
            reading = self._tried(value, member, path)
            if best is None or _fit(reading) < _fit(best):
                best = reading
        return best or _wrong_kind(value, "null", path)

    def _tried(self, value: Any, kind: Any, path: str) -> Reading:
        key = (id(value), path, id(kind))
        if key not in self.tried:
            self.tried[key] = self.read(value, kind, path)
        return self.tried[key]


def _fit(reading: Reading) -> tuple[int, int]:
    return len(reading.problems), reading.unknown


def _wrong_kind(value: Any, expected: str, path: str) -> Reading:
    got = _JSON_NAMES.get(type(value), type(value).__name__)
    return Reading(problems=[Problem(path, f"Expected `{expected}`, got `{got}`", value)])


def _read_at_once(value: Any, kind: Any, path: str) -> Reading | None:
    """The quick way, where msgspec knows the whole type and finds nothing wrong."""
    if not is_leaf(kind):
        return None
    try:
        reading = _read_leaf(value, kind, path)
    except TypeError:
        return None  # a union that msgspec cannot tell apart
    return None if reading.problems else reading


def _read_leaf(value: Any, kind: Any, path: str) -> Reading:
    try:
        output: Any = msgspec.convert(value, kind, str_keys=True)
    except msgspec.ValidationError as error:
        if isinstance(value, float) and value.is_integer():
            return _read_leaf(int(value), kind, path)  # JSON has one kind of number
        text, _, inner = str(error).partition(" - at `$")
        return Reading(problems=[Problem(path + inner.rstrip("`"), text, value)])
    if _has_non_finite(value):
        text = "NaN and Infinity are not numbers of JSON; give a finite number or null"
        return Reading(problems=[Problem(path, text, value)])
    return Reading(output)


def _has_non_finite(value: Any) -> bool:
    waiting: list[Any] = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, float):
            if not math.isfinite(part):
                return True
        elif isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
    return False


def _check_constraints(
    reading: Reading, value: Any, kind: Any, container: type[Any], path: str
) -> None:
    """Hold a container of records to the length that ``Annotated[…, Meta(…)]`` asks for."""
    if get_origin(kind) is Annotated:
        constraints = (container, *kind.__metadata__)
        reading.take(_read_leaf(value, Annotated[constraints], path))


def _build(reading: Reading, record: Record, found: Any, value: Any, path: str) -> None:
    _made(reading, lambda parts: record.kind(**parts), found, value, path)
    if reading.problems and attrs.has(record.kind):
        reading.problems = list(_refused(record.kind, found, value, path)) or reading.problems


_WRONG_VALUE = (ValueError, TypeError, LookupError, ArithmeticError, AssertionError)


def _made(
    reading: Reading, make: Callable[[Any], Any], parts: Any, value: Any, path: str
) -> Reading:
    """Call a constructor, whose validators and converters may refuse what has the right type."""
    if reading.problems:
        return reading
    try:
        reading.output = make(parts)
    except _WRONG_VALUE as error:
        reading.problems.append(Problem(path, _message(error), value))
    return reading


def _message(error: Exception) -> str:
    # Some validators of attrs put the attribute and more behind their message.
    text = error.args[0] if len(error.args) > 1 else error
    return str(text) or type(error).__name__


def _refused(
    kind: Any, found: Mapping[str, Any], value: Mapping[str, Any], path: str
) -> Iterator[Problem]:
    """The fields that a class refuses by themselves: its errors do not say which they are."""
    attributes = cast("tuple[attrs.Attribute[Any], ...]", attrs.fields(kind))
    for attribute in attributes:
        key, convert = attribute.alias or attribute.name, attribute.converter
        if key not in found or isinstance(convert, attrs.Converter):
            continue
        try:
            part = found[key] if convert is None else convert(found[key])
            if attribute.validator is not None:
                attribute.validator(None, attribute, part)
        except AttributeError:
            continue  # it looks at other fields, so the record as a whole is refused
        except _WRONG_VALUE as error:
            yield Problem(f"{path}.{key}" if path else key, _message(error), value[key])
