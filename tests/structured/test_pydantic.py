import datetime as dt
import json
from typing import Annotated, Any, Literal

import attrs
import pytest

from batchllm.structured import (
    MISSING,
    NotStrictError,
    OutputValidationError,
    Problem,
    json_schema,
    parse,
    problems_of,
)
from tests.structured.models import Colour

pydantic = pytest.importorskip("pydantic")
TypeAliasType = pytest.importorskip("typing_extensions").TypeAliasType


class Leaf(pydantic.BaseModel):  # type: ignore[name-defined,misc]
    size: int
    colour: Colour = Colour.RED


class Tree(pydantic.BaseModel):  # type: ignore[name-defined,misc]
    leaves: list[Leaf]
    label: str = pydantic.Field(alias="Label", min_length=2)


@attrs.frozen
class Garden:
    tree: Tree
    extra: Any = None


def refusal(value: Any, kind: Any) -> OutputValidationError:
    with pytest.raises(OutputValidationError) as caught:
        parse(json.dumps(value), kind)
    return caught.value


def problems(text: str, kind: Any) -> list[Problem]:
    with pytest.raises(OutputValidationError) as caught:
        parse(text, kind)
    return list(caught.value.problems)


def test_pydantic_models_validate_themselves() -> None:
    """A model's own validation runs, at the top and inside of other types."""
    text = '{"leaves": [{"size": 1, "colour": "blue"}], "Label": "oak"}'
    tree = parse(text, Tree)
    assert tree == Tree(leaves=[Leaf(size=1, colour=Colour.BLUE)], Label="oak")
    assert parse(f'{{"tree": {text}}}', Garden).tree == tree
    wrong = '{"tree": {"leaves": [{"size": "x"}]}}'
    assert [(p.path, p.value) for p in problems(wrong, Garden)] == [
        ("tree.leaves[0].size", "x"),
        ("tree.Label", MISSING),
    ]


def test_two_models_of_one_name_stay_apart() -> None:
    """The second one gets a number, also if it refers to itself or is used twice."""

    class Same(pydantic.BaseModel):
        part: str
        more: list["Same"] = pydantic.Field(default_factory=list)

    one = pydantic.create_model("Same", part=(int, ...))
    schema = json_schema(tuple[one, Same, Same, one])
    assert schema["$defs"].keys() == {"Same", "Same_2"}
    places = [item["$ref"].removeprefix("#/$defs/") for item in schema["prefixItems"]]
    assert places == ["Same", "Same_2", "Same_2", "Same"]
    definition = schema["$defs"]["Same_2"]
    assert definition["properties"]["more"]["items"] == {"$ref": "#/$defs/Same_2"}


def test_pydantic_models_bring_their_own_schema() -> None:
    """At the top, inside of other types, and recursive ones."""
    schema = json_schema(Tree)
    assert schema["properties"].keys() == {"leaves", "Label"}
    assert {"Leaf", "Colour"} == schema["$defs"].keys()
    assert json_schema(Garden)["$defs"].keys() == {"Tree", "Leaf", "Colour"}

    class Node(pydantic.BaseModel):
        children: list["Node"]

    assert json_schema(Node)["properties"].keys() == {"children"}
    assert "Node" in json_schema(Node)["$defs"]
    assert json_schema(pydantic.RootModel[list[int]])["type"] == "array"


def test_strict_forms_of_foreign_keywords() -> None:
    """``oneOf`` becomes ``anyOf``, unknown formats and lengths go, optional enums take null."""

    class Square(pydantic.BaseModel):
        kind: Literal["square"]

    class Circle(pydantic.BaseModel):
        kind: Literal["circle"]

    class Foreign(pydantic.BaseModel):
        shape: Square | Circle = pydantic.Field(discriminator="kind")
        url: Annotated[str, pydantic.Field(min_length=3)] = "abc"
        maybe: Literal["a", None] = None  # noqa: PYI061 pydantic writes it as one enum
        leaf: Leaf | int = 3
        nothing: None = None

    schema = json_schema(Foreign, strict=True)
    assert schema["properties"]["shape"]["anyOf"] == [
        {"$ref": "#/$defs/Square"},
        {"$ref": "#/$defs/Circle"},
    ]
    assert None in schema["properties"]["maybe"]["enum"]
    assert schema["properties"]["url"]["anyOf"][0].keys() == {"title", "type"}
    assert schema["properties"]["leaf"]["anyOf"][-1] == {"type": "null"}
    assert schema["properties"]["nothing"]["type"] == "null"


def test_unions_of_several_texts_are_expressed() -> None:
    """Also those that msgspec refuses, and types behind other names."""
    alias = TypeAliasType("Day", dt.date | Colour)
    assert json_schema(alias)["anyOf"] == [
        {"type": "string", "format": "date"},
        {"$ref": "#/$defs/Colour"},
    ]


def test_errors_of_pydantic_are_read() -> None:
    """Fields, reasons and values of a validation made elsewhere."""
    with pytest.raises(pydantic.ValidationError) as caught:
        Tree.model_validate({"leaves": [{"size": "x"}]})
    paths = [(p.path, p.value) for p in problems_of(caught.value)]
    assert paths[0] == ("leaves[0].size", "x")
    assert paths[1][0] == "Label"


@pytest.mark.parametrize("number", ["NaN", "1e999"])
def test_numbers_that_are_none_never_reach_a_model(number: str) -> None:
    """Pydantic would take them."""
    leaves = f'{{"tree": {{"leaves": [], "Label": "abc", "z": {number}}}}}'
    assert problems(leaves, Garden)[0].path == "tree"


def test_models_have_right_fields_too() -> None:
    """By their aliases, as JSON has them."""
    refused = refusal({"leaves": [], "Label": "x"}, Tree)
    valid, wrong = refused.valid, refused.problems
    assert valid == {"leaves": []}
    assert [problem.path for problem in wrong] == ["Label"]
    assert refusal({"tree": {"leaves": 1}, "extra": 2}, Garden).valid == {"extra": 2}


def test_a_model_in_a_record_may_have_no_strict_form() -> None:
    """An untyped field allows anything."""
    with pytest.raises(NotStrictError, match=r"the output\.extra may be anything"):
        json_schema(Garden, strict=True)


@pytest.mark.parametrize("text", ["\ud800", "x", '{"leaves": "\ud800"}', json.dumps([1])])
def test_any_text_is_a_model_or_a_refusal(text: str) -> None:
    """Lone surrogates, which no encoding has, included."""
    assert problems(text, Tree)
