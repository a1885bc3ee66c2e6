"""Types that name themselves within another type, written down as they are.

There is no ``from __future__ import annotations`` here: it would hide that a part of an annotation
is a name of its own, as in ``Optional["Branch"]``.
"""

import dataclasses
from typing import Any, NamedTuple, Optional, TypedDict

import attrs
import pytest

from batchllm.structured import output_schema, parse


@attrs.frozen
class Branch:
    name: str
    left: Optional["Branch"] = None
    others: list["Branch"] = attrs.field(factory=list)
    by_name: dict[str, Optional["Branch"]] = attrs.field(factory=dict)


@dataclasses.dataclass
class Person:
    name: str
    mother: Optional["Person"] = None
    children: tuple["Person", ...] = ()


class Link(TypedDict):
    name: str
    next: Optional["Link"]


class Pair(NamedTuple):
    name: str
    rest: Optional["Pair"] = None


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (
            Branch,
            '{"name": "a", "left": {"name": "b"}, "others": [{"name": "c"}], "by_name": '
            '{"d": {"name": "d"}, "e": null}}',
            Branch("a", Branch("b"), [Branch("c")], {"d": Branch("d"), "e": None}),
        ),
        (
            Person,
            '{"name": "a", "mother": {"name": "b"}, "children": [{"name": "c"}]}',
            Person("a", Person("b"), (Person("c"),)),
        ),
        (
            Link,
            '{"name": "a", "next": {"name": "b", "next": null}}',
            {"name": "a", "next": {"name": "b", "next": None}},
        ),
        (Pair, '["a", ["b", null]]', Pair("a", Pair("b"))),
    ],
    ids=["attrs", "dataclass", "TypedDict", "NamedTuple"],
)
def test_a_type_may_hold_itself_by_name(kind: Any, text: str, value: Any) -> None:
    """At any depth of its annotation."""
    assert parse(text, kind) == value
    assert output_schema(kind).schema
