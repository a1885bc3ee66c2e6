"""Every schema that is sent as strict is one that the strict modes take."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, TypedDict, get_args

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.structured import SchemaRules, json_schema, output_schema, parse, strict_problems
from batchllm.structured.strict import strict_form, with_types
from tests.structured.models import (
    Add,
    Address,
    Bounded,
    Box,
    Cat,
    Colour,
    Dog,
    Movie,
    Person,
    Point,
    Zoo,
)

PROVIDERS: tuple[SchemaRules, ...] = ("openai", "anthropic", "gemini")
UserId = NewType("UserId", int)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Flavour(enum.StrEnum):
    SWEET = "sweet"
    SOUR = "sour"


@attrs.frozen
class Moods:
    mood: Colour
    level: Level
    size: Literal["s", "m"]
    number: Literal[1, 2]
    sure: Literal[True]
    mixed: Literal["a", 1, None]  # noqa: PYI061 one enum is what is tested
    maybe: Literal["x", "y"] | None = None
    flavour: Flavour = Flavour.SOUR


@dataclasses.dataclass
class Times:
    day: dt.date
    moment: dt.datetime
    clock: dt.time
    span: dt.timedelta
    key: uuid.UUID
    price: decimal.Decimal
    raw: bytes = b""


@attrs.frozen
class Numbers:
    share: Annotated[float, msgspec.Meta(ge=0, lt=1)]
    count: Annotated[int, msgspec.Meta(gt=0, multiple_of=2)]
    code: Annotated[str, msgspec.Meta(pattern="^a", min_length=2, description="the code")]
    few: Annotated[list[int], msgspec.Meta(min_length=2, max_length=3)]
    some: Annotated[list[int], msgspec.Meta(min_length=1)]


@attrs.frozen
class Empty:
    pass


@attrs.frozen
class enum_like:  # noqa: N801 the names of its fields are keywords of JSON schema
    enum: str
    const: int
    type: Literal["a"]
    properties: list[str]
    required: bool = False


class Partial(TypedDict, total=False):
    a: int
    b: list[Movie]


class Outer(TypedDict):
    inner: Partial
    extra: NotRequired[Address]


class Inner(pydantic.BaseModel):
    name: str
    lang: str = "en"
    tags: list[str] = pydantic.Field(default_factory=list)


class Middle(pydantic.BaseModel):
    inner: Inner
    many: list[Inner] = pydantic.Field(default_factory=list)
    either: Inner | int | None = None
    colour: Colour = Colour.RED


class Aliased(pydantic.BaseModel):
    text: str = pydantic.Field(alias="Text", min_length=2, pattern="^x", default="xx")
    other: int = pydantic.Field(
        validation_alias=pydantic.AliasChoices("yy", "yyy"), default=3, ge=1, le=9
    )


class Square(pydantic.BaseModel):
    kind: Literal["square"]
    side: float = pydantic.Field(gt=0)


class Circle(pydantic.BaseModel):
    kind: Literal["circle"]
    radius: float = 1.0


class Shapes(pydantic.BaseModel):
    first: Square | Circle = pydantic.Field(discriminator="kind")
    more: list[Square | Circle] = pydantic.Field(default_factory=list)
    price: decimal.Decimal = decimal.Decimal(1)
    when: dt.datetime | None = None
    where: pydantic.HttpUrl | None = None
    names: set[str] = pydantic.Field(default_factory=set)


class Ints(pydantic.RootModel[list[int]]):
    pass


class Either(pydantic.RootModel[Square | Circle]):
    pass


class Tree(pydantic.BaseModel):
    label: str = ""
    children: list["Tree"] = pydantic.Field(default_factory=list)


@pydantic.dataclasses.dataclass
class PydanticPoint:
    x: float
    label: str = "p"


@attrs.frozen
class Garden:
    model: Middle
    models: dict[str, Inner] | None = None


@attrs.frozen
class Bed:
    model: Middle
    point: PydanticPoint
    shapes: Shapes | None = None


@attrs.frozen
class Chain:
    label: str
    next: Optional["Chain"] = None


class Struct(msgspec.Struct):
    name: str
    level: Level = Level.LOW


ONE_OR_NULL: Any = Literal[1, None]  # noqa: PYI061
TYPES: list[Any] = [
    *(str, int, float, bool, None, bytes, UserId, dt.date, dt.datetime, dt.timedelta, uuid.UUID),
    *(decimal.Decimal, Colour, Level, Flavour, Literal["a", "b"], ONE_OR_NULL),
    *(list[str], set[int], frozenset[Colour], tuple[Cat, ...], Sequence[Person], list[list[int]]),
    *(int | None, str | int | None, Cat | Dog, list[Cat | Dog | None], dt.date | Colour),
    *(Annotated[int, msgspec.Meta(ge=3)], Annotated[list[Cat], msgspec.Meta(min_length=1)]),
    *(Person, Address, Point, Movie, Cat, Box[int], Box[list[Person]], Box[Box[Colour]]),
    *(Moods, Times, Numbers, Empty, enum_like, Partial, Outer, Inner, Middle, Aliased, Shapes),
    *(Ints, Either, PydanticPoint, Bed, Struct, (Person | None), Inner | Person, list[Middle]),
]
RECURSIVE: list[Any] = [Add, Tree, Chain, list[Chain]]
OPEN: list[Any] = [
    *(Any, dict, dict[str, int], Mapping[str, Cat], tuple[int, Cat], Zoo, Bounded, Garden),
    *(Box[Any], list[Any]),
]


def test_there_are_fifty_types_and_more() -> None:
    """The list is long enough to mean something."""
    assert len(TYPES) >= 50


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_strict_schemas_pass_every_providers_rules(kind: Any, provider: SchemaRules) -> None:
    """There is a strict form, and no provider refuses it."""
    schema = output_schema(kind)
    assert schema.strict
    assert strict_problems(schema.schema, provider) == []
    json.dumps(schema.schema)


@pytest.mark.parametrize("kind", RECURSIVE, ids=str)
def test_types_that_contain_themselves_are_for_openai_only(kind: Any) -> None:
    """The others say which definition it is; they are asked in the prompt."""
    schema = output_schema(kind)
    assert schema.strict
    assert strict_problems(schema.schema, "openai") == []
    for provider in ("anthropic", "gemini"):
        assert "contains itself" in " ".join(strict_problems(schema.schema, provider))


@pytest.mark.parametrize("kind", OPEN, ids=str)
def test_open_types_are_never_sent_as_strict(kind: Any) -> None:
    """Nor would they pass."""
    schema = output_schema(kind)
    assert not schema.strict
    assert schema.schema["type"] == "object"
    assert strict_problems(schema.schema, "openai")


OBJECT = {"type": "object", "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "rules", "problem"),
    [
        ({"type": "string"}, "openai", "the root is no object"),
        ({"anyOf": [OBJECT]}, "anthropic", "the root is no object"),
        ({"type": "object"}, "anthropic", "additionalProperties is not false"),
        ({**OBJECT, "properties": {"a": {"type": "null"}}}, "openai", "not every property"),
        ({**OBJECT, "required": ["a"]}, "gemini", "required names what is no property"),
        ({**OBJECT, "properties": {"a": {}}, "required": ["a"]}, "openai", "it has no type"),
        ({**OBJECT, "properties": {"a": {"enum": [1]}}}, "gemini", "it has no type"),
        ({**OBJECT, "properties": {"a": {"type": "array"}}}, "gemini", "without a schema"),
        ({**OBJECT, "properties": {"a": {"$ref": "#/$defs/A"}}}, "gemini", "refers to nothing"),
        ({**OBJECT, "$ref": "#"}, "openai", "keywords beside a $ref"),
        ({**OBJECT, "minLength": 1}, "anthropic", "minLength is not supported"),
        ({**OBJECT, "minItems": 2}, "anthropic", "minItems 2 is not supported"),
        ({**OBJECT, "format": "uri"}, "openai", "the format uri"),
        ({**OBJECT, "enum": [1]}, "openai", "1 in the enum is not of its type"),
        ({**OBJECT, "type": ["object", "string"], "enum": [True]}, "openai", "True in the enum"),
    ],
)
def test_what_is_refused_is_named(schema: Any, rules: SchemaRules, problem: str) -> None:
    """Each rule once."""
    assert any(problem in said for said in strict_problems(schema, rules))


def test_recursion_by_way_of_what_may_be_left_out_is_for_gemini() -> None:
    """It unrolls only what is not required."""
    node = {**OBJECT, "properties": {"next": {"$ref": "#/$defs/Node"}}}
    root = {**OBJECT, "properties": {"top": {"$ref": "#/$defs/Node"}}, "required": ["top"]}
    free, bound = (
        {**root, "$defs": {"Node": one}} for one in (node, {**node, "required": ["next"]})
    )
    assert strict_problems(free, "gemini") == []
    assert strict_problems(bound, "gemini") == ["$defs.Node: it contains itself"]
    assert strict_problems(free, "anthropic") == ["$defs.Node: it contains itself"]


def test_enums_carry_their_type() -> None:
    """Also in foreign schemas; values of several types are several enums."""
    properties = json_schema(Moods)["properties"]
    assert properties["mood"] == {"$ref": "#/$defs/Colour"}
    assert json_schema(Moods)["$defs"]["Colour"]["type"] == "string"
    assert json_schema(Moods)["$defs"]["Level"]["type"] == "integer"
    assert properties["sure"] == {"enum": [True], "type": "boolean"}
    assert {part["type"] for part in properties["mixed"]["anyOf"]} == {"string", "integer", "null"}
    assert with_types({"const": 1.5}) == {"enum": [1.5], "type": "number"}
    assert with_types({"enum": [[1]]}) == {"enum": [[1]]}
    assert with_types({"enum": [None, "a"]}) == {"enum": [None, "a"], "type": ["string", "null"]}
    assert with_types({"items": True}) == {"items": True}


def test_bounds_are_said_in_the_description() -> None:
    """Providers refuse one or another of them; the model reads them all the same."""
    properties = output_schema(Numbers).schema["properties"]
    assert properties["share"] == {
        "type": "number",
        "description": "(less than 1, at least 0)",
    }
    assert properties["code"]["description"] == "the code (matches the regular expression ^a)"
    assert "minItems" not in properties["few"]
    assert properties["some"]["minItems"] == 1
    assert strict_form({"type": "string", "format": "uri"})["description"] == "(format uri)"


def test_fields_that_are_called_like_keywords_are_fields() -> None:
    """A property named ``enum`` or ``const`` has a schema like any other."""
    properties = output_schema(enum_like).schema["properties"]
    assert properties.keys() == {"enum", "const", "type", "properties", "required"}
    assert properties["const"] == {"type": "integer"}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Ints, Ints([1, 2])),
        (Either, Either(Square(kind="square", side=1.0))),
        (list[Inner], [Inner(name="a")]),
        (Inner | Person, Inner(name="a")),
        ((Person | None), None),
        (Colour, Colour.RED),
    ],
)
def test_a_root_that_is_no_object_is_wrapped_and_unwrapped(kind: Any, value: Any) -> None:
    """Under the key ``value``; an answer without it is read, too."""
    schema = output_schema(kind).schema
    assert (schema["type"], schema["required"]) == ("object", ["value"])
    plain: Any = value
    if isinstance(value, pydantic.BaseModel):
        plain = value.model_dump(mode="json")
    elif isinstance(value, list):
        plain = [part.model_dump(mode="json") for part in value]
    plain = plain.value if isinstance(plain, enum.Enum) else plain
    assert parse(json.dumps({"value": plain}), kind) == value
    assert parse(json.dumps(plain), kind) == value


def test_null_is_the_default_for_models_at_any_depth() -> None:
    """Behind aliases, in unions, lists and records; a null that is allowed stays."""
    nulls = {"name": "a", "lang": None, "tags": None}
    middle = Middle(inner=Inner(name="a"), many=[Inner(name="a")], either=Inner(name="a"))
    given = {"inner": nulls, "many": [nulls], "either": nulls, "colour": None}
    assert parse(json.dumps(given), Middle) == middle
    point = {"x": 1, "label": None}
    assert parse(json.dumps({"model": given, "point": point}), Bed) == Bed(
        middle, PydanticPoint(1.0)
    )
    assert parse('{"Text": null, "yy": null}', Aliased) == Aliased()
    shapes = {"first": {"kind": "circle", "radius": None}, "when": None, "names": None}
    assert parse(json.dumps(shapes), Shapes).first == Circle(kind="circle")
    assert parse(json.dumps({"inner": nulls, "either": None}), Middle).either is None
    assert parse('{"label": null, "children": [{"label": null}]}', Tree) == Tree(children=[Tree()])


def test_a_null_for_what_is_required_is_a_problem() -> None:
    """With what the model says of it, whatever stands beside it."""
    with pytest.raises(ValueError, match="name: Input should be a valid string") as caught:
        parse('{"name": null, "lang": null, "tags": [null]}', Inner)
    assert "lang" not in str(caught.value)
    assert "tags[0]" in str(caught.value)


GENERATED: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(st.characters(codec="utf-8"), max_size=5),
    int: st.integers(-(2**60), 2**60),
    bool: st.booleans(),
    Colour: st.sampled_from(Colour),
    Literal["a", 1]: st.sampled_from(["a", 1]),
    list[int]: st.lists(st.integers(-9, 9), max_size=3),
    dt.date: st.dates(),
}


@st.composite
def models(draw: st.DrawFn) -> tuple[Any, Any]:
    """A Pydantic model or attrs class of generated fields, some with defaults, and a value."""
    kinds = draw(st.lists(st.sampled_from(list(GENERATED)), min_size=1, max_size=5))
    fields, given, wanted = {}, {}, {}
    for index, kind in enumerate(kinds):
        name, value = f"field_{index}", draw(GENERATED[kind])
        default = draw(st.none() | st.tuples(GENERATED[kind]))
        left_out = default is not None and draw(st.booleans())
        fields[name] = (kind, default)
        wanted[name] = default[0] if left_out and default else value
        given[name] = None if left_out else value
    if draw(st.booleans()):
        made: Any = pydantic.create_model(
            "Made", **{n: (k, d[0] if d else ...) for n, (k, d) in fields.items()}
        )
    else:
        made = attrs.make_class(
            "Made",
            {
                n: attrs.field(type=k, **({"default": d[0]} if d else {}))
                for n, (k, d) in sorted(fields.items(), key=lambda item: item[1][1] is not None)
            },
        )
    return made(**wanted), given


@given(models(), st.booleans())
def test_what_a_strict_answer_says_is_what_is_read(pair: tuple[Any, Any], nested: bool) -> None:
    """Every field is there, null stands for the default, and the schema passes everywhere."""
    value, given = pair
    kind: Any = type(value)
    text = json.dumps(given, default=lambda part: getattr(part, "value", None) or str(part))
    if nested:
        kind, value, text = list[kind], [value, value], f"[{text}, {text}]"
    schema = output_schema(kind)
    assert schema.strict
    assert all(strict_problems(schema.schema, provider) == [] for provider in PROVIDERS)
    assert parse(text, kind) == value


def test_the_providers_are_those_of_the_type() -> None:
    """No rules are forgotten here."""
    assert get_args(SchemaRules) == PROVIDERS
