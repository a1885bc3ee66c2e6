import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, NewType, Optional, cast

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.llm_strategies import llm
from batchllm.structured import NotStrictError, json_schema, output_schema, parse
from tests.structured.models import (
    Add,
    Bounded,
    Box,
    Cat,
    Colour,
    Movie,
    Person,
    Point,
    Zoo,
)

Schema = dict[str, Any]
UserId = NewType("UserId", int)


def fits(value: Any, schema: Schema, root: Schema) -> bool:
    """Check the keywords that say which values there may be; enough for our own schemas."""
    if "$ref" in schema:
        path = schema["$ref"].removeprefix("#/$defs/")
        return fits(value, root["$defs"][path], root)
    if "anyOf" in schema:
        return any(fits(value, choice, root) for choice in schema["anyOf"])
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds = schema.get("type")
    if kinds is not None and not any(of_type(value, kind) for kind in as_list(kinds)):
        return False
    if isinstance(value, dict):
        properties, more = schema.get("properties", {}), schema.get("additionalProperties", {})
        parts = [(part, properties.get(key, more)) for key, part in value.items()]
        return (
            set(schema.get("required", ())) <= value.keys()
            and not (more is False and value.keys() - properties.keys())
            and all(fits(part, part_schema, root) for part, part_schema in parts)
        )
    if isinstance(value, list) and "prefixItems" in schema:
        pairs = zip(value, schema["prefixItems"], strict=True)
        return all(fits(part, part_schema, root) for part, part_schema in pairs)
    if isinstance(value, list):
        return all(fits(part, schema.get("items", {}), root) for part in value)
    return True


def as_list(kinds: Any) -> list[str]:
    return kinds if isinstance(kinds, list) else [kinds]


def of_type(value: Any, kind: str) -> bool:
    match kind:
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            names = {"string": str, "boolean": bool, "object": dict, "array": list}
            return isinstance(value, names.get(kind, type(None)))


def test_a_record_becomes_an_object() -> None:
    """Fields, defaults, descriptions and nested records are all in the schema."""
    assert json_schema(Person) == {
        "title": "Person",
        "type": "object",
        "description": "A person.",
        "properties": {
            "name": {"type": "string", "description": "the full name"},
            "age": {"type": "integer"},
            "address": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}], "default": None},
            "nick": {"type": "string", "default": "none"},
            "secret": {"type": "boolean", "default": False},
        },
        "required": ["name", "age"],
        "$defs": {
            "Address": {
                "title": "Address",
                "type": "object",
                "description": "Where someone lives.",
                "properties": {
                    "street": {"type": "string"},
                    "number": {"type": "integer"},
                    "lines": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["street", "number"],
            }
        },
    }


def test_the_strict_form_requires_everything_and_allows_nothing_else() -> None:
    """A field that may be left out may be null instead, and defaults are gone."""
    schema = json_schema(Person, strict=True)
    assert schema["required"] == list(schema["properties"])
    assert schema["additionalProperties"] is False
    assert schema["properties"]["age"] == {"type": "integer"}
    assert schema["properties"]["nick"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert schema["properties"]["address"] == {
        "anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}]
    }
    assert schema["$defs"]["Address"]["required"] == ["street", "number", "lines"]


def test_a_recursive_type_refers_to_itself() -> None:
    """Its definition stays, so that the reference has a target."""
    schema = json_schema(Add, strict=True)
    assert schema["$defs"].keys() == {"Add", "Times"}
    assert {"$ref": "#/$defs/Add"} in schema["properties"]["left"]["anyOf"]


@attrs.frozen
class Left:
    """Holds one class called Same."""

    same: Any


def same(kind: Any) -> Any:
    return attrs.make_class("Same", {"part": attrs.field(type=kind)})


def test_two_records_of_one_name_stay_apart() -> None:
    """The second one gets a number."""
    schema = json_schema(list[same(int) | same(str)])
    assert schema["$defs"].keys() == {"Same", "Same_2"}


def test_constraints_and_descriptions_are_kept() -> None:
    """All that ``Annotated`` says of numbers and of containers is in the schema."""
    properties = json_schema(Bounded)["properties"]
    assert properties["items"]["minItems"] == 1
    assert properties["items"]["description"] == "at least one"
    assert properties["share"]["maximum"] == 1
    assert properties["table"]["maxProperties"] == 1
    assert json_schema(Annotated[list[Cat], "a note"]).keys() == {"type", "items", "$defs"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Person, "Person"),
        (Box[int], "Box_int"),
        (Box[list[Person]], "Box_list"),
        (list[Person], "list"),
        (Optional[Person], "Optional"),  # noqa: UP045 the name is what is tested
        (UserId, "int"),
        (type("Größe" * 30, (), {}), "Gr_e" * 16),
    ],
)
def test_names_are_stable_and_allowed(kind: Any, name: str) -> None:
    """1 to 64 of the letters that providers take."""
    from batchllm.structured.schema import schema_name

    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", schema_name(kind))
    assert schema_name(kind)[: len(name)] == name[:64]


def test_what_is_no_object_is_wrapped_for_providers() -> None:
    """Providers want an object at the top: the type stands under the key ``value``."""
    schema = output_schema(list[Person])
    assert schema.strict
    assert schema.schema["properties"]["value"]["items"] == {"$ref": "#/$defs/Person"}
    assert schema.schema["$defs"].keys() == {"Person", "Address"}
    assert output_schema(Colour).schema["required"] == ["value"]


def test_a_type_with_free_keys_is_asked_for_loosely() -> None:
    """A type without a strict form is still asked for, and the reason is in the error."""
    assert not output_schema(Zoo).strict
    with pytest.raises(NotStrictError, match=r"the output\.names is an object with any keys"):
        json_schema(Zoo, strict=True)


@pytest.mark.parametrize(
    "kind", [Any, list[Any], list, dict[str, int], tuple[int, Cat], Box[dict[str, int]]]
)
def test_open_types_have_no_strict_form(kind: Any) -> None:
    """Any value, any key and fixed tuples cannot be held strictly."""
    with pytest.raises(NotStrictError, match="no strict form"):
        json_schema(kind, strict=True)


def test_only_some_fields_may_be_asked_for() -> None:
    """The schema of what is still to be answered."""
    schema = output_schema(Person, only={"age", "nick"}).schema
    assert schema["properties"].keys() == {"age", "nick"}
    assert schema["required"] == ["age", "nick"]


def test_schemas_combined_by_all_of_have_no_strict_form() -> None:
    """One that only wraps another is unwrapped, several are refused."""
    from batchllm.structured.strict import strict_form

    assert strict_form({"allOf": [{"type": "string"}]}) == {"anyOf": [{"type": "string"}]}
    with pytest.raises(NotStrictError, match="allOf"):
        strict_form({"allOf": [{"type": "string"}, {"minLength": 1}]})


def test_a_type_that_json_cannot_express_is_refused() -> None:
    """Functions have no schema."""
    with pytest.raises(TypeError):
        json_schema(Callable[[], int])


def test_defaults_that_json_cannot_express_are_left_out() -> None:
    """A default is only a hint."""
    kind = attrs.make_class("K", {"part": attrs.field(type=int, default=object())})
    assert json_schema(kind)["properties"]["part"] == {"type": "integer"}


TYPES: list[Any] = [
    str,
    int,
    float,
    bool,
    type(None),
    Colour,
    list[str],
    Literal["a", 1],
    Movie,
    Cat,
]
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    Literal["a", 1]: st.sampled_from(["a", 1]),
    float: st.floats(allow_nan=False, allow_infinity=False),
    Movie: st.fixed_dictionaries(
        {"title": st.text(), "colour": st.sampled_from(Colour)}, optional={"year": st.integers()}
    ),
    Cat: st.builds(Cat, st.just("cat"), st.integers()),
}


@st.composite
def records(draw: st.DrawFn) -> Any:
    """An instance of a class of generated fields."""
    kinds = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=5))
    fields = {f"field_{index}": attrs.field(type=kind) for index, kind in enumerate(kinds)}
    kind = attrs.make_class("Generated", fields)
    return kind(*(draw(VALUES[part] if part in VALUES else st.from_type(part)) for part in kinds))


@given(records(), st.data())
def test_a_value_fits_its_schema_and_a_damaged_one_does_not(
    record: Any, data: st.DataObject
) -> None:
    """The schema accepts the JSON of every value, and notices a field that is gone."""
    value = msgspec.to_builtins(record)
    for schema in (json_schema(type(record)), json_schema(type(record), strict=True)):
        plain = dict(value)
        if schema.get("additionalProperties") is False:
            plain = {
                key: {"year": None, **part} if isinstance(part, dict) and "title" in part else part
                for key, part in plain.items()
            }
        assert fits(plain, schema, schema)
        del plain[data.draw(st.sampled_from(sorted(plain)))]
        assert not fits(plain, schema, schema)


def test_points_of_a_dataclass() -> None:
    """A dataclass without a text of its own has no description, and sets are arrays."""
    schema = json_schema(Point)
    assert "description" not in schema
    assert schema["properties"]["tags"]["type"] == "array"


@attrs.frozen
class WithPhoto:
    name: str
    photo: complex


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (object, "the output type is object"),
        (complex, "the output type is complex"),
        (list[object], r"the output type is list\[object\]"),
        (WithPhoto, "WithPhoto.photo is complex"),
        (list[WithPhoto], "WithPhoto.photo is complex"),
    ],
)
def test_a_type_that_json_cannot_express_is_refused_by_name_and_remedy(
    kind: Any, named: str
) -> None:
    """A schema cannot be made, and a model cannot be asked for it."""
    with pytest.raises(TypeError, match=f"{named}, which JSON cannot express; give an attrs class"):
        output_schema(kind)
    with pytest.raises(TypeError, match="such as list"):
        llm("sim:default", output=kind)


def test_an_answer_is_not_read_as_a_type_that_json_cannot_express() -> None:
    """The message is ours, and not that of the library which reads the leaves."""
    with pytest.raises(TypeError, match="is 'Town', which JSON cannot express; give an attrs"):
        parse("1", cast("Any", "Town"))
