"""Answers to a schema: valid when they should be, and wrong in the way that was asked for."""

import json
import random
from typing import Any, Literal, NamedTuple

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.simulator.faults import Fault
from batchllm.simulator.schema_answers import satisfy, spoil


@attrs.frozen
class Address:
    street: str
    number: int | None


@attrs.frozen
class Person:
    name: str
    age: int
    height: float
    mood: Literal["good", "bad"]
    home: Address
    others: list[Address]
    known: bool
    pair: tuple[int, str]
    boss: "Person | None" = None


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize("wanted", [Person, Address, list[Person], dict[str, int], Point, int])
@given(seed=st.integers(0, 10_000))
def test_a_value_can_be_read_as_its_type(wanted: Any, seed: int) -> None:
    """An answer made for the schema of a type can be decoded as that type."""
    made = satisfy(msgspec.json.schema(wanted), random.Random(seed))
    msgspec.json.decode(json.dumps(made), type=wanted)


@pytest.mark.parametrize(
    ("schema", "valid"),
    [
        ({"type": "integer", "minimum": 3, "exclusiveMaximum": 5}, lambda v: v in {3, 4}),
        ({"type": "integer", "exclusiveMinimum": -9, "maximum": -8}, lambda v: v == -8),
        ({"type": "integer", "maximum": -5}, lambda v: v <= -5),
        ({"type": "integer", "multipleOf": 7}, lambda v: v % 7 == 0),
        ({"type": "number", "minimum": 0.5, "maximum": 0.6}, lambda v: 0.5 <= v <= 0.6),
        ({"type": "string", "minLength": 30, "maxLength": 32}, lambda v: 30 <= len(v) <= 32),
        ({"type": "string", "format": "date"}, lambda v: len(v) == 10),
        ({"type": "array", "items": {"type": "null"}, "minItems": 4}, lambda v: v == [None] * 4),
        ({"items": {"const": 1}, "maxItems": 5, "uniqueItems": True}, lambda v: v == [1]),
        ({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}, lambda v: set(v) == {"a"}),
        ({"properties": {}, "required": ["b"]}, lambda v: set(v) == {"b"}),
        ({"type": ["null", "integer"]}, lambda v: isinstance(v, int)),
        ({"type": "boolean"}, lambda v: isinstance(v, bool)),
        ({"enum": ["x", "y"]}, lambda v: v in {"x", "y"}),
        ({"anyOf": [{"type": "null"}]}, lambda v: v is None),
        ({"oneOf": [{"type": "null"}, {"const": 2}]}, lambda v: v == 2),
        (True, lambda v: v is None),
        (
            {
                "allOf": [
                    {"$ref": "#/$defs/a"},
                    {"properties": {"q": {"const": 2}}, "required": ["q"]},
                ],
                "$defs": {"a": {"type": "object", "properties": {"p": {"const": 1}}}},
            },
            lambda v: v == {"p": 1, "q": 2},
        ),
    ],
)
def test_the_words_of_a_schema_are_kept(schema: Any, valid: Any) -> None:
    """Bounds, lengths, formats, choices and references hold, whatever the seed."""
    for seed in range(20):
        assert valid(satisfy(schema, random.Random(seed)))


def test_a_schema_without_end_ends() -> None:
    """A type that contains itself is answered all the same, and not too large."""
    node = {
        "type": "object",
        "required": ["left", "kids"],
        "properties": {
            "left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            "kids": {"type": "array", "items": {"$ref": "#"}},
            "maybe": {"type": ["object", "null"]},
        },
    }
    assert len(json.dumps(satisfy(node, random.Random(1)))) < 100_000


TEXT = json.dumps({"name": "amber", "tags": ["a", "b"]})


def spoilt(name: str, text: str = TEXT, seed: int = 1) -> str:
    return spoil(text, Fault(name), random.Random(seed))


def test_a_fence_and_a_trailer_leave_the_answer_whole() -> None:
    """Wrapped answers still hold the right one."""
    assert f"```json\n{TEXT}\n```" in spoilt("fenced")
    assert spoilt("trailing").startswith(TEXT)
    assert len(spoilt("trailing")) > len(TEXT)


def test_invalid_json_cannot_be_read() -> None:
    """A cut answer is no JSON."""
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(spoilt("invalid-json"))


@pytest.mark.parametrize("seed", range(6))
def test_a_field_is_missing_or_of_the_wrong_type(seed: int) -> None:
    """One field is gone, or has another type; the others are as they were."""
    right = json.loads(TEXT)
    fewer = json.loads(spoilt("missing-field", seed=seed))
    assert len(fewer) == 1
    assert fewer.items() <= right.items()
    wrong = json.loads(spoilt("wrong-type", seed=seed))
    changed = [name for name in right if type(wrong[name]) is not type(right[name])]
    assert wrong.keys() == right.keys()
    assert len(changed) == 1


def test_what_is_no_object_is_spoilt_too() -> None:
    """A list or a broken text does not stand in the way of a fault."""
    assert spoilt("missing-field", "[1]") == "null"
    assert json.loads(spoilt("wrong-type", "[1]")) == {"unexpected": [1]}
    assert json.loads(spoilt("wrong-type", "{broken")) == {"unexpected": "{broken"}
