import datetime as dt
import enum
import gc
import json
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.structured import MISSING, OutputValidationError, Problem, parse
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
    Times,
    Zoo,
)

ANN = '{"name": "Ann", "age": 3}'


def problems(text: str, kind: Any) -> list[Problem]:
    with pytest.raises(OutputValidationError) as caught:
        parse(text, kind)
    assert caught.value.text == text
    return list(caught.value.problems)


@pytest.mark.parametrize(
    "text",
    [
        ANN,
        f"\ufeff  {ANN}\n",
        f"```json\n{ANN}\n```",
        f"Here you are:\n```\n{ANN}\n``` \nBye",
        f"Sure! The answer is {ANN}. Anything else?",
        '{"name": "Ann", "age": 3,}',
        '```json\n{"name": "Ann", "age": 3 , }\n```',
        f"It's {{odd}} to say {{ but: {ANN}",
        f'He said "{{" and then [1] {ANN}',
        f'<think>{{"name": "Bob", "age": -1}}</think> {ANN}',
        f'{{"name": "Draft", "age": 1}} and then {ANN}',
        f'{ANN} and not {{"name": 3}}',
        '{"name": "Ann", "age": 3.0, "unknown": null}',
        '{"name": "Ann", "age": 3, "age": 3}',
        '{"name": "Ann", "age": 3, "nick": null, "address": null}',
    ],
)
def test_json_is_found_in_what_surrounds_it(text: str) -> None:
    """Fences, prose, a byte order mark and a spare comma do not hide the answer."""
    assert parse(text, Person) == Person(name="Ann", age=3)


def test_strings_keep_what_looks_like_structure() -> None:
    """Braces, commas before brackets, fences and escapes inside of a text are not touched."""
    name = 'a ,} {"b": [,] } \\" ``` end'
    text = "x " + json.dumps({"name": name, "age": 1})[:-1] + ",} y"
    assert parse(text, Person).name == name


def test_every_problem_is_named_with_its_path() -> None:
    """Problems of all fields are found at once, with what stood there."""
    text = '{"name": "", "age": "x", "address": {"number": 2, "lines": ["a", 3]}}'
    assert problems(text, Person) == [
        Problem("age", "Expected `int`, got `str`", "x"),
        Problem("address.street", "is missing, and is required", MISSING),
        Problem("address.lines[1]", "Expected `str`, got `int`", 3),
    ]


def test_a_validator_of_the_class_names_its_field() -> None:
    """A value that a validator refuses is a problem of its field, once the types are right."""
    (problem,) = problems('{"name": "", "age": 1}', Person)
    assert (problem.path, problem.value) == ("name", "")
    assert "name" in problem.message


def test_a_refusal_of_the_whole_record_has_the_records_path() -> None:
    """An error that names no attribute belongs to the record; an empty one shows its type."""

    @attrs.frozen
    class Range:
        low: int
        high: int

        def __attrs_post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError

    (problem,) = problems('{"content": {"low": 2, "high": 1}}', Box[Range])
    assert (problem.path, problem.message) == ("content", "ValueError")


def test_the_error_carries_what_was_right() -> None:
    """The right fields, the parsed value and a readable message are in the error."""
    with pytest.raises(OutputValidationError, match=r"age: Expected `int`, got `str`") as caught:
        parse('{"name": "Ann", "age": "x"}', Person)
    assert caught.value.valid == {"name": "Ann"}
    assert caught.value.value == {"name": "Ann", "age": "x"}
    assert isinstance(caught.value, ValueError)


def test_many_problems_are_counted_in_the_message() -> None:
    """The message shows the first five and counts the rest."""
    with pytest.raises(OutputValidationError, match=r"\(and 2 more\)$"):
        parse(json.dumps(["x"] * 7), list[Cat])


@pytest.mark.parametrize(
    ("text", "value", "valid"),
    [
        ('{"name": "Ann", "age": 3', {"name": "Ann"}, {"name": "Ann"}),
        ('{"name": "Ann", "age": 3, "address": {"street": "a', {"name": "Ann", "age": 3}, None),
        ('so [1]: {"name": "Ann", "address": {"street"', {"name": "Ann"}, {"name": "Ann"}),
        ('```json\n{"name": "An', {}, {}),
        ('{"name": "Ann", "address": {"street": "a", "number": 1, "li', {"name": "Ann"}, None),
    ],
)
def test_an_answer_cut_short_keeps_its_whole_members(
    text: str, value: dict[str, Any], valid: dict[str, Any] | None
) -> None:
    """A field that may have lost its end is not counted as read."""
    with pytest.raises(OutputValidationError, match="breaks off") as caught:
        parse(text, Person)
    assert caught.value.value == value
    assert caught.value.valid == (value if valid is None else valid)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_problems_of_their_field(number: str) -> None:
    """NaN and infinities never reach a float, or an untyped value."""
    assert problems(f'{{"x": {number}}}', Point)[0].path == "x"
    assert problems(f"[1.0, {number}]", list[float])[0].path == "[1]"
    untyped = f'{{"content": {{"a": [{number}, null, "x"]}}}}'
    assert problems(untyped, Box[Any])[0].path == "content"


def test_a_key_with_two_values_is_refused() -> None:
    """None of two different values can be known to be meant."""
    assert problems('{"name": "Ann", "age": 3, "age": 4}', Person) == [
        Problem("age", "is given twice, with different values", 3)
    ]


def test_unions_take_the_member_that_fits_best() -> None:
    """A tag decides; without one, the member with the fewest unknown keys."""
    zoo = '{"animals": [{"kind": "dog", "lives": 1}, {"kind": "cat", "lives": 9}]}'
    assert parse(zoo, Zoo).animals == [Dog("dog", 1), Cat("cat", 9)]
    assert isinstance(parse('{"x": 1, "tags": []}', Address | Point), Point)
    short, long = attrs.make_class("Short", ["name"]), attrs.make_class("Long", ["name", "age"])
    assert isinstance(parse('{"name": 1, "age": 2}', short | long), long)
    assert isinstance(parse('{"name": 1, "other": 2}', long | short), short)
    assert problems('{"animals": [{"kind": "cat", "lives": "x"}]}', Zoo)[0].path == (
        "animals[0].lives"
    )


def test_unions_that_msgspec_cannot_tell_apart_take_the_first_that_fits() -> None:
    """Two kinds of text in one union are tried in their order."""
    assert parse('["2020-01-02"]', list[dt.date | Colour | None]) == [dt.date(2020, 1, 2)]
    assert parse('"blue"', dt.date | Colour) is Colour.BLUE


def test_containers_of_records_are_read_part_by_part() -> None:
    """Mappings and tuples name the part that is wrong, by key and by index."""
    text = '{"animals": [], "names": {"a": {"x": 1}}, "pair": [1, {"x": 2.5}]}'
    assert parse(text, Zoo) == Zoo([], {"a": Point(1.0)}, (1, Point(2.5)))
    assert problems('{"animals": {}, "names": {"a b": {}}, "pair": [1]}', Zoo) == [
        Problem("animals", "Expected `array`, got `object`", {}),
        Problem('names["a b"].x', "is missing, and is required"),
        Problem("pair", "Expected 2 elements, got 1", [1]),
    ]
    assert problems('{"animals": [], "names": [], "pair": 3}', Zoo)[0].path == "names"


def test_keys_of_mappings_have_their_type() -> None:
    """A key of text becomes what the type says, or is a problem."""
    assert parse('{"1": {"x": 0}}', dict[int, Point]) == {1: Point(0.0)}
    assert problems('{"one": {"x": 0}}', dict[int, Point])[0].path.startswith('["one"]')


def test_constraints_on_containers_hold() -> None:
    """Lengths and ranges in ``Annotated`` are checked on containers of records, too."""
    cat = {"kind": "cat", "lives": 1}
    assert problems('{"items": []}', Bounded)[0].path == "items"
    assert problems(json.dumps({"items": [cat], "share": 2}), Bounded)[0].path == "share"
    table = {"items": [cat], "table": {"a": cat, "b": cat}}
    assert problems(json.dumps(table), Bounded)[0].path == "table"


def test_generic_classes_are_filled_in() -> None:
    """The type argument of a generic class decides its fields."""
    assert parse('{"content": {"x": 1}}', Box[Point]).content == Point(1.0)
    assert problems('{"content": {"x": 1}, "others": [2]}', Box[Point])[0].path == "others[0]"
    assert parse('{"content": [1]}', Box).content == [1]


def test_a_typed_dict_stays_a_dict() -> None:
    """Its required keys are asked for, also when they were declared as text."""
    assert parse('{"title": "a", "colour": "red"}', Movie) == {"title": "a", "colour": Colour.RED}
    assert [p.path for p in problems('{"year": 1}', Movie)] == ["title", "colour"]


def test_what_is_no_object_may_stand_under_the_key_value() -> None:
    """Providers are asked for objects; the value is taken out again."""
    assert parse('{"value": [1, 2]}', list[int]) == [1, 2]
    assert parse("[1, 2]", list[int]) == [1, 2]
    assert parse('{"value": "red"}', Colour) is Colour.RED


@pytest.mark.parametrize("text", ["", "  ", "no json here", "{'name': 1}", "[1, 2", "9" * 5000])
def test_text_without_json_is_refused(text: str) -> None:
    """An answer that is no JSON at all says so for the answer as a whole."""
    assert problems(text, Person)[0].path == ""


def test_repair_guesses_only_when_asked() -> None:
    """json-repair reads Python's quotes; what fits no type is refused all the same."""
    pytest.importorskip("json_repair")
    text = "{'name': 'Ann', 'age': 3}"
    problems(text, Person)
    assert parse(text, Person, repair=True) == Person(name="Ann", age=3)
    with pytest.raises(OutputValidationError, match="no readable JSON"):
        parse("nothing", Person, repair=True)
    with pytest.raises(OutputValidationError, match="age"):
        parse("{'name': 'Ann'}", Person, repair=True)
    with pytest.raises(OutputValidationError, match=r"nested|no readable"):
        parse("{'a':" * 3000 + "1" + "}" * 3000, Person, repair=True)


def test_repair_without_its_library_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing optional library is an ImportError with the line for pip."""
    monkeypatch.setitem(__import__("sys").modules, "json_repair", None)
    with pytest.raises(ImportError, match=r'pip install "batchllm\[json\]"'):
        parse("{'name': 'Ann'}", Person, repair=True)


MEGABYTE = 1_000_000
HOSTILE = {
    "deep arrays": "[" * 10_000 + "]" * 10_000,
    "deep objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "open arrays": "[" * MEGABYTE,
    "open objects": "{" * MEGABYTE,
    "open object with members": '{"a":[' + '"b",' * (MEGABYTE // 4),
    "ten megabytes of quotes": '{"' + '\\"' * (5 * MEGABYTE),
    "fences": "```" * (MEGABYTE // 3 + 1),
    "a fence of blanks": "```" + " " * MEGABYTE,
    "ten megabytes of small objects": "{} " * (10 * MEGABYTE // 3),
    "commas and blanks": "[" + (", " * (MEGABYTE // 2)),
    "openings then commas": "[" * 20 + "," * MEGABYTE,
    "pairs": "[{" * 5_000 + "}]" * 4_999,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_answers_end_soon(text: str) -> None:
    """Megabytes or ten thousand levels neither hang nor overflow the stack.

    Work that grows with the square of the length would take hours, far beyond what any test may.
    """
    problems(text, Person)


def test_levels_that_json_takes_and_the_reader_does_not_are_refused() -> None:
    """A value that can be decoded, but is too deep to be read, is an answer that is refused."""
    depth = 400
    text = '{"left":' * depth + "1" + ',"right":1}' * depth
    assert problems(text, Add) == [Problem("", "The JSON is nested too deeply")]


def test_recursive_unions_are_read_once_per_level() -> None:
    """A wrong leaf thirty levels down does not double the work at each of them."""
    text = '{"left":' * 30 + '"x"' + ',"right":1}' * 30
    assert problems(text, Add | Times)


def test_a_large_answer_is_read_in_reasonable_time() -> None:
    """Thousands of records are read, and half a million numbers, which are too many to compare."""
    records = json.dumps([{"street": "x" * 40, "number": 7}] * 20_000)
    assert len(parse(records, list[Address])) == 20_000
    assert len(parse(json.dumps([0.123456789] * 500_000), list[float])) == 500_000


texts = st.text(st.characters(codec="utf-8"), max_size=20)
addresses = st.builds(Address, texts, st.integers(-(2**60), 2**60), st.lists(texts, max_size=3))
people = st.builds(
    Person, texts.filter(bool), st.integers(0, 150), st.none() | addresses, texts, st.booleans()
)
points = st.builds(
    Point,
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sets(texts, max_size=3),
    st.none() | st.dates(),
)
movies: Any = st.fixed_dictionaries(
    {"title": texts, "colour": st.sampled_from(Colour)}, optional={"year": st.integers(0, 3000)}
)
animals = st.builds(Cat, st.just("cat"), st.integers(0, 9)) | st.builds(
    Dog, st.just("dog"), st.integers(0, 9), st.lists(texts, max_size=2).map(tuple)
)
zoos = st.builds(
    Zoo,
    st.lists(animals, max_size=4),
    st.dictionaries(texts, points, max_size=2),
    st.none() | st.tuples(st.integers(-9, 9), points),
)
around = texts.filter(lambda text: not set(text) & set('{}[]"`'))


def as_json(value: object) -> str:
    plain: Any = msgspec.to_builtins(value)
    if isinstance(value, Person):
        plain["secret"] = value._secret
        del plain["computed"]
    return json.dumps(plain)


@given(
    st.one_of(
        st.tuples(people, st.just(Person)),
        st.tuples(points, st.just(Point)),
        st.tuples(movies, st.just(Movie)),
        st.tuples(zoos, st.just(Zoo)),
        st.tuples(st.lists(people, max_size=3), st.just(list[Person])),
    ),
    around,
    around,
)
def test_what_is_written_is_read_again(pair: Any, before: str, after: str) -> None:
    """The JSON of a value is read as that value, whatever text stands round it."""
    value, kind = pair
    text = ",".join(map(as_json, value)) if isinstance(value, list) else as_json(value)
    if isinstance(value, list):
        text = f"[{text}]"
    assert parse(text, kind) == value
    assert parse(f"{before}\n```json\n{text}\n```\n{after}", kind) == value
    assert parse(f"{before} x {text} {after}", kind) == value


shards = st.lists(
    st.sampled_from(
        [*'{}[]",:-7\\ \n\x00\ufeff\ud800', "```", "json\n", "null", "NaN", '"x"', '"value"']
    ),
    max_size=40,
).map("".join)
KINDS: list[Any] = [Point, Movie, Cat, list[int], dict[str, Cat], Colour, int, Address]


@given(st.text() | shards, st.sampled_from(KINDS))
def test_any_text_is_a_value_or_a_refusal(text: str, kind: Any) -> None:
    """No text raises anything but ``OutputValidationError``, and that names its reasons."""
    try:
        value = parse(text, kind)
    except OutputValidationError as error:
        refused = error
    else:
        assert msgspec.convert(msgspec.to_builtins(value), kind) == value
        return
    assert refused.problems
    assert refused.text == text


class Level(enum.IntEnum):
    LOW = 1


class Flavour(enum.StrEnum):
    SOUR = "sour"


def test_fields_may_be_called_anything() -> None:
    """Also like what cattrs calls its own arguments; one without a type takes any JSON."""
    fields = {
        "converter": attrs.field(type=Level),
        "cl": attrs.field(type=Flavour),
        "untyped": attrs.field(default=None),
    }
    odd = attrs.make_class("Odd", fields)
    text = '{"converter": 1, "cl": "sour", "untyped": [1]}'
    assert parse(text, odd) == odd(Level.LOW, Flavour.SOUR, [1])
    (problem,) = problems('{"converter": 1, "cl": "sour", "untyped": NaN}', odd)
    assert problem.path == "untyped"


def test_a_type_that_cannot_be_hashed_is_read_all_the_same() -> None:
    """Its converter is made for one reading."""
    kind: Any = Annotated[list[Cat], {"a": []}]
    holder: Any = attrs.make_class("Holder", {"cats": attrs.field(type=kind)})
    cats = '[{"kind": "cat", "lives": 1}]'
    assert parse(cats, kind) == [Cat("cat", 1)]
    assert parse(f'{{"cats": {cats}}}', holder) == holder([Cat("cat", 1)])
    assert parse(f'{{"a": {cats}}}', dict[str, kind]) == {"a": [Cat("cat", 1)]}
    assert problems('{"cats": [{"kind": "cat"}]}', holder)[0].path == "cats[0].lives"


def test_readings_in_several_threads_do_not_meet() -> None:
    """One reading's memory of a union is not seen by another."""
    text = json.dumps([{"x": 1, "tags": []}, {"street": "a", "number": 1}] * 200)

    def read(_: int) -> Any:
        return parse(text, list[Address | Point])

    with ThreadPoolExecutor(4) as pool:
        assert all(read(0) == one for one in pool.map(read, range(8)))


@attrs.frozen
class Front:
    a: int = 0


@attrs.frozen
class Back:
    b: int = 0


@attrs.frozen
class FrontOrNumber:
    part: Front | int


@attrs.frozen
class BackOrNumber:
    part: Back | int


def test_unknown_keys_count_at_any_depth() -> None:
    """Records that differ only within a part are distinguished by what the part does not know."""
    kind: Any = FrontOrNumber | BackOrNumber
    assert parse('{"part": {"b": 1}}', kind) == BackOrNumber(Back(1))
    assert parse('{"part": {"a": 1}}', kind) == FrontOrNumber(Front(1))


@attrs.define
class Left:
    x: int


@attrs.define
class Right:
    x: int


@attrs.define
class BothWays:
    one: Left | Right
    other: Right | Left
    several: list[Right | Left]


def test_the_first_member_of_a_union_goes_first_whatever_was_read_before() -> None:
    """Unions in two orders are equal to Python, and still each takes its own first member."""
    text = '{"x": 1}'
    for _ in range(2):
        assert parse(text, Left | Right) == Left(1)
        assert parse(text, Right | Left) == Right(1)
        assert parse(f"[{text}]", list[Left | Right]) == [Left(1)]
        assert parse(f"[{text}]", list[Right | Left]) == [Right(1)]
    both = parse(f'{{"one": {text}, "other": {text}, "several": [{text}]}}', BothWays)
    assert both == BothWays(Left(1), Right(1), [Right(1)])


def test_the_first_of_equal_members_is_taken_in_either_order() -> None:
    """Python takes A | B and B | A for equal; for an answer that fits both, order decides."""

    @attrs.frozen
    class Left:
        x: int

    @attrs.frozen
    class Right:
        x: int

    for _ in range(2):
        assert parse('{"x": 1}', Left | Right) == Left(1)
        assert parse('{"x": 1}', Right | Left) == Right(1)


def test_a_type_that_was_made_for_one_call_is_not_kept() -> None:
    """``list[Person]`` is a new object each time that it is written, in a loop of millions."""

    @attrs.frozen
    class Person:
        name: str

    first, second = list[Person], list[Person]
    assert parse('[{"name": "Ann"}]', first) == parse('[{"name": "Ann"}]', second)
    gone = weakref.ref(second)
    del second
    gc.collect()
    assert gone() is None
