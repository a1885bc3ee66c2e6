"""From JSON values to an output type: cattrs makes the objects, every problem has its path.

What is ours here, since no setting of cattrs does it: a union takes the member with the fewest
problems (and tries each member once per value, or recursive unions would take 2 ** depth steps),
null stands for a default, and a class that refuses its values is asked field by field which.
Leaves go to msgspec, whose messages a model understands.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast, get_args, get_origin

from attrs import define, field
from cattrs import Converter

from batchllm.structured.leaves import (
    Refused,
    below,
    check_constraints,
    check_finite,
    not_json,
    read_leaf,
    refusal,
    wrong_kind,
)
from batchllm.structured.models import read_model
from batchllm.structured.problems import MISSING, Problem
from batchllm.structured.records import REQUIRED, blamed, converter_for, is_hashable, maker_of
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

Hook: TypeAlias = Callable[[Any], Any]


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
    """The memory of one reading.

    Attributes:
        unknown: Keys that no type had; they are ignored, and distinguish members of unions.
        tried: What became of each value as a member of a union, and its unknown keys.
    """

    unknown: int = 0
    tried: dict[tuple[int, int], tuple[Any, Refused | None, int]] = field(factory=dict)


_MEMORY: Final[ContextVar[_Memory]] = ContextVar("batchllm.structured.reading")


def read_value(value: Any, kind: Any) -> Reading:
    """Read *value*, as ``json.loads`` gives it, as a *kind*."""
    # By its spelling, too: ``A | B == B | A``, but the order of the members counts.
    reader = _reader_of(kind, repr(kind)) if is_hashable(kind) else _Reader(kind)
    token = _MEMORY.set(_Memory())
    try:
        return Reading(reader.read(value, reader.kind))
    except Refused as refused:
        return Reading(problems=list(refused.problems))
    finally:
        _MEMORY.reset(token)


@lru_cache(maxsize=128)
def _reader_of(kind: Any, spelling: str) -> _Reader:
    return _Reader(kind)


@define(eq=False)
class _Reader:
    """Reads the values of one output type; how each type in it is read is found out once.

    Types are looked up by identity, since some have no hash and different ones may be equal. They
    are kept with their hooks, so that none is forgotten and its identity given to another; so what
    is read is always *kind* itself, and not an equal type that was made for one call.
    """

    kind: Any
    _hooks: dict[int, tuple[Any, Hook]] = field(factory=dict, init=False)
    _converter: Converter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._converter = converter_for(self.read)

    def read(self, value: Any, kind: Any) -> Any:
        known = self._hooks.get(id(kind))
        if known is None:
            known = self._hooks[id(kind)] = (kind, self._hook_of(kind))
        return known[1](value)

    def _hook_of(self, kind: Any) -> Hook:
        bare = stripped(kind)
        members = union_members(bare)
        if members is not None:
            return self._union_hook(kind, members)
        if is_pydantic_model(bare):
            return lambda value: _read_model(value, bare)
        record = record_of(bare)
        if record is not None:
            return self._record_hook(bare, record)
        origin, parts = get_origin(bare), get_args(bare)
        if parts and origin in ARRAYS:
            return self._array_hook(kind, origin, parts)
        if parts and origin in MAPPINGS:
            return self._mapping_hook(kind, parts)
        return lambda value: _read_alone(value, kind)

    def _each(self, parts: Iterable[tuple[str, Any, Any]]) -> list[Any]:
        """Read parts, each with the step to it and its type, and gather all their problems."""
        made, problems = list[Any](), list[Problem]()
        for step, value, kind in parts:
            try:
                if value is MISSING:
                    problems.append(Problem(step, REQUIRED))
                else:
                    made.append(self.read(value, kind))
            except Refused as refused:
                problems += below(step, refused, value)
        if problems:
            raise Refused(*problems)
        return made

    def _record_hook(self, kind: Any, record: Record) -> Hook:
        make = maker_of(kind, record, self._converter, self._each)
        fields = {part.key: part for part in record.fields}
        # Strict schemas say null where a field may be left out.
        skips = {p.key for p in record.fields if not p.required and not accepts_null(p.type)}

        def read(value: Any) -> Any:
            if not isinstance(value, dict):
                raise wrong_kind(value, "object")
            values = cast("dict[str, Any]", value)
            _MEMORY.get().unknown += len(values.keys() - fields.keys())
            given = {
                key: values[key]
                for key in fields
                if key in values and (values[key] is not None or key not in skips)
            }
            try:
                return make(given)
            except Refused as refused:
                if any(problem.path for problem in refused.problems):
                    raise
                blame = list(blamed(record, self.read, given))
                raise Refused(*(blame or refused.problems)) from refused

        return read

    def _array_hook(self, kind: Any, origin: Any, parts: tuple[Any, ...]) -> Hook:
        # Not by cattrs: it reads any iterable as an array, and no part of a list[Any].
        fixed = origin is tuple and parts[-1] is not ...
        whole = is_leaf(kind)

        def read(value: Any) -> Any:
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
            made = self._each(zip(steps, elements, kinds, strict=True))
            check_constraints(value, kind, list)
            try:
                return ARRAYS[origin](made)
            except TypeError as error:  # a set of what cannot be hashed
                raise Refused(refusal(error, "", value)) from error

        return read

    def _mapping_hook(self, kind: Any, parts: tuple[Any, ...]) -> Hook:
        # Not by cattrs: keys of JSON are texts, so a key that is a number needs msgspec's str_keys.
        keys: Any = types.GenericAlias(dict, (parts[0], None))

        def read(value: Any) -> Any:
            if not isinstance(value, dict):
                raise wrong_kind(value, "object")
            made, problems = dict[Any, Any](), list[Problem]()
            for key, part in cast("dict[str, Any]", value).items():
                step = f"[{json.dumps(key)}]"
                try:
                    (read_key,) = read_leaf({key: None}, keys)
                    made[read_key] = self.read(part, parts[1])
                except Refused as refused:
                    problems += below(step, refused, part)
            if problems:
                raise Refused(*problems)
            check_constraints(value, kind, dict)
            return made

        return read

    def _union_hook(self, kind: Any, members: tuple[Any, ...]) -> Hook:
        null, whole = accepts_null(kind), is_leaf(kind)
        others = [member for member in members if member is not type(None)]

        def read(value: Any) -> Any:
            if value is None and null:
                return None
            if whole:
                try:
                    return read_leaf(value, kind)
                except (Refused, TypeError):
                    pass  # it fits none, or msgspec cannot distinguish the members
            memory = _MEMORY.get()
            tried = [self._tried(memory, value, member) for member in others]
            fits = [(len(refused.problems) if refused else 0, more) for _, refused, more in tried]
            output, refused, unknown = tried[fits.index(min(fits))]
            memory.unknown += unknown
            if refused is not None:
                raise Refused(*refused.problems)
            return output

        return read

    def _tried(self, memory: _Memory, value: Any, kind: Any) -> tuple[Any, Refused | None, int]:
        key = (id(value), id(kind))
        if key not in memory.tried:
            before, memory.unknown = memory.unknown, 0
            output, why = MISSING, None
            try:
                output = self.read(value, kind)
            except Refused as refused:
                why = refused
            memory.tried[key] = (output, why, memory.unknown)
            memory.unknown = before
        return memory.tried[key]


def _read_alone(value: Any, kind: Any) -> Any:
    """Read a leaf that is no part of a union, in which msgspec refuses some pairs of types."""
    try:
        return read_leaf(value, kind)
    except TypeError as error:
        raise not_json(kind) from error


def _read_model(value: Any, kind: Any) -> Any:
    check_finite(value)
    output, problems = read_model(value, kind)
    if problems:
        raise Refused(*problems)
    return output
