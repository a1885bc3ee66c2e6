import dataclasses
import datetime as dt
import decimal
import enum
import io
import json
import math
import uuid
from pathlib import Path
from typing import Any

import attrs
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import (
    BatchResult,
    Category,
    EndCause,
    RecordedError,
    Tally,
    Termination,
    TokenUsage,
    WorkItemResult,
)
from tests.core.test_results import MIXED, batch, done

texts = st.text(max_size=8)
numbers = st.floats(0, 1e9)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
results = st.builds(
    WorkItemResult,
    item_id=texts,
    success=st.booleans(),
    output=plain,
    error=st.none() | texts,
    context=plain,
    token_usage=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(TokenUsage.__annotations__, st.integers(0, 10**12))
    ),
    metadata=st.none() | st.dictionaries(texts, plain, max_size=2),
    exception=st.none() | st.builds(ValueError, texts) | st.builds(RecordedError, texts, texts),
    error_category=st.none() | st.sampled_from([c.value for c in Category]) | texts,
    attempts=st.integers(0, 99),
    spans=st.lists(st.tuples(*[numbers] * 4), max_size=2).map(lambda parts: sum(parts, ())),
    cost=st.none() | numbers,
    submission_index=st.integers(-1, 10**6),
    replayed=st.booleans(),
)
batches = st.builds(
    BatchResult,
    st.lists(results, max_size=4),
    termination=st.builds(Termination, st.sampled_from(EndCause), texts, st.none() | texts),
    wall_time=numbers,
    warnings=st.lists(texts, max_size=2).map(tuple),
    stats=st.dictionaries(texts, plain, max_size=2),
)


def without_exceptions(whole: BatchResult[Any, Any]) -> Any:
    return [attrs.evolve(r, exception=None) for r in whole.results]


@given(batches)
def test_what_is_written_is_read_again(whole: BatchResult[Any, Any]) -> None:
    """Everything comes back, exceptions as the name of their type and their message."""
    text = whole.to_json()
    assert text.isascii()
    again = BatchResult.from_json(text)
    assert without_exceptions(again) == without_exceptions(whole)
    for name in ("termination", "wall_time", "warnings", "stats"):
        assert getattr(again, name) == getattr(whole, name)
    assert attrs.asdict(again.tally) == attrs.asdict(whole.tally)
    assert again.to_json() == text
    for before, after in zip(whole.results, again.results, strict=True):
        if isinstance(before.exception, ValueError):
            assert isinstance(after.exception, RecordedError)
            assert after.exception.type_name == "ValueError"
            assert after.exception.message == str(before.exception)


def test_sums_survive_without_results() -> None:
    """A run that kept no results keeps its counts in the file, too."""
    whole = BatchResult[Any, Any]([], tally=Tally(total=5, succeeded=4, failed=1, cost=0.5))
    again = BatchResult.from_json(whole.to_json().encode())
    assert (again.total_items, again.succeeded, again.failed, again.cost) == (5, 4, 1, 0.5)


class Size(enum.Enum):
    SMALL = "small"


@attrs.frozen
class Town:
    name: str
    size: Size = Size.SMALL


@dataclasses.dataclass
class Pair:
    towns: tuple[Town, ...]


def test_typed_outputs_are_read_as_their_type() -> None:
    """Attrs classes, dataclasses and models become plain values, and come back when asked."""
    town = Town("Ulm")
    outputs: list[tuple[Any, Any]] = [
        (town, Town),
        (Pair((town,)), Pair),
        ([town], list[Town]),
    ]
    for output, kind in outputs:
        text = batch(WorkItemResult("a", True, output, context=town)).to_json()
        (result,) = BatchResult.from_json(text, output_type=kind, context_type=Town).results
        assert (result.output, result.context) == (output, town)
    (untyped,) = BatchResult.from_json(text).results
    assert untyped.output == [{"name": "Ulm", "size": "small"}]
    nothing = WorkItemResult[Any, Any]("a", False)
    assert BatchResult.from_json(batch(nothing).to_json(), output_type=Town).outputs == [None]


def test_pydantic_outputs_are_read_as_their_model() -> None:
    """A model writes itself as JSON and reads itself again."""
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", day=(dt.date, ...))
    output = model(day=dt.date(2020, 1, 2))
    text = batch(WorkItemResult("a", True, output)).to_json()
    assert BatchResult.from_json(text, output_type=model).outputs == [output]


@attrs.frozen
class Event:
    """An output with values for which JSON has no type."""

    day: dt.date
    at: dt.datetime
    hour: dt.time
    took: dt.timedelta
    price: decimal.Decimal
    id: uuid.UUID
    picture: bytes
    tags: frozenset[str]
    towns: dict[int, Town]
    days: dict[dt.date, int]


EVENT = Event(
    dt.date(2024, 5, 6),
    dt.datetime(2024, 5, 6, 7, 8, tzinfo=dt.UTC),
    dt.time(7, 8),
    dt.timedelta(hours=1.5),
    decimal.Decimal("1.50"),
    uuid.UUID(int=7),
    b"\x00png",
    frozenset({"a"}),
    {7: Town("Ulm")},
    {dt.date(2024, 5, 6): 1},
)


def test_whatever_an_output_can_be_is_written() -> None:
    """Dates, decimals, ids, bytes, sets and their like go out as texts and lists, and come back."""
    text = batch(WorkItemResult("a", True, EVENT)).to_json()
    assert BatchResult.from_json(text, output_type=Event).outputs == [EVENT]
    plain = json.loads(text)["results"][0]["output"]
    assert (plain["day"], plain["price"], plain["tags"]) == ("2024-05-06", "1.50", ["a"])
    bare: Any = {"day": EVENT.day, 7: [EVENT.id], "s": {1}}
    (result,) = json.loads(batch(WorkItemResult("a", True, bare)).to_json())["results"]
    assert result["output"] == {"day": "2024-05-06", "7": [str(EVENT.id)], "s": [1]}


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (1j, "its output is a complex, which JSON cannot carry"),
        ({"a": [object()]}, r"its output\['a'\]\[0\] is an object"),
        ({True: "a"}, "its output has the key True, a bool"),
        ({("a", "b"): 1}, r"its output has the key \('a', 'b'\), a tuple"),
        ({1: "a", "1": "b"}, "its output has two keys that are the same text"),
        ([1.0, math.nan], r"its output\[1\] is nan"),
        (math.inf, "its output is inf"),
        ({1j}, r"its output\[0\] is a complex"),
        (circular(), "its output is nested too deeply, or contains itself"),
    ],
)
def test_what_json_cannot_carry_names_the_item(value: Any, why: str) -> None:
    """Nothing is written in another form in silence."""
    with pytest.raises(ValueError, match=f"item 'b': {why}"):
        batch(done("a"), WorkItemResult("b", True, value)).to_json()
    with pytest.raises(ValueError, match="item 'b': its context"):
        batch(WorkItemResult("b", True, context=value)).to_json()
    with pytest.raises(ValueError, match="item 'b': its metadata"):
        batch(WorkItemResult("b", True, metadata={"x": value})).to_json()
    with pytest.raises(ValueError, match="stats"):
        batch(stats={"x": value}).to_json()


def changed(**changes: Any) -> str:
    return json.dumps({**json.loads(MIXED.to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not the JSON of a batch: Expecting value"),
        ("[" * 100_000, "not the JSON of a batch"),
        ("[]", 'it has no key "batchllm"'),
        ("{}", 'it has no key "batchllm"'),
        (changed(batchllm=99), "version 99, and 1 can be read; update batchllm"),
        ('{"batchllm": 1}', "not the JSON of a batch: 'results'"),
        (changed(results=[{"item_id": "a"}]), "required field missing @ \\$.success"),
        (changed(results=[3]), "not the JSON of a batch"),
        (changed(results=None), "not the JSON of a batch"),
        (changed(wall_time="x"), "not the JSON of a batch"),
        (changed(termination={"cause": "no such"}), "not the JSON of a batch"),
    ],
)
def test_other_json_is_refused(text: str, why: str) -> None:
    """A wrong file says what is wrong with it."""
    with pytest.raises(ValueError, match=why):
        BatchResult.from_json(text)


def test_a_recorded_error_reads_like_the_one_it_stands_for() -> None:
    """Its text has type and message."""
    assert str(RecordedError("KeyError", "'a'")) == "KeyError: 'a'"
    assert str(RecordedError("KeyError", "")) == "KeyError"
    assert repr(RecordedError("KeyError", "x")) == "RecordedError('KeyError', 'x')"


@given(results)
def test_a_result_goes_through_a_dictionary(result: WorkItemResult[Any, Any]) -> None:
    """The dictionary is JSON, and what is read of it says the same again."""
    data = result.to_dict()
    again = WorkItemResult.from_dict(json.loads(json.dumps(data, allow_nan=False)))
    assert again.to_dict() == data
    assert (again.item_id, again.output, again.timing) == (
        result.item_id,
        result.output,
        result.timing,
    )


def test_an_output_of_a_class_is_read_as_that_class() -> None:
    """If it is named; else it stays a mapping."""
    data = done("a", context=Colour("red")).to_dict() | {"output": {"name": "blue"}}
    again = WorkItemResult.from_dict(data, output_type=Colour, context_type=Colour)
    assert (again.output, again.context) == (Colour("blue"), Colour("red"))
    with pytest.raises(ValueError, match=r"^this is not a result: "):
        WorkItemResult.from_dict(data | {"output": 3}, output_type=Colour)


@attrs.frozen
class Colour:
    name: str


@pytest.mark.parametrize(
    "wrong", [{}, {"item_id": "a"}, {"item_id": "a", "success": True, "attempts": "x"}, 3]
)
def test_what_is_no_result_is_refused(wrong: Any) -> None:
    """By a sentence that names what is wrong."""
    with pytest.raises(ValueError, match=r"^this is not a result: ."):
        WorkItemResult.from_dict(wrong)


def test_results_go_to_a_file_line_by_line(tmp_path: Path) -> None:
    """In input order, to a path or an open file; a path gets the whole or nothing."""
    path = tmp_path / "results.jsonl"
    MIXED.to_jsonl(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    read = [WorkItemResult.from_dict(json.loads(line)) for line in lines]
    assert [one.item_id for one in read] == [one.item_id for one in MIXED.in_input_order()]
    stream = io.StringIO()
    MIXED.to_jsonl(stream)
    assert stream.getvalue() == path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"^item 'bad': its output is an? object"):
        batch(done("a"), evolve(done("bad", 1), output=object())).to_jsonl(path)
    assert path.read_text(encoding="utf-8") == stream.getvalue()
    assert list(tmp_path.iterdir()) == [path]
