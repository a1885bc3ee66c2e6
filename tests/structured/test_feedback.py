import json
from typing import Any

import attrs
import cattrs
import msgspec
import pytest

from batchllm.structured import (
    OutputValidationError,
    Problem,
    feedback_prompt,
    feedback_text,
    merge_fields,
    parse,
    problems_of,
)
from tests.structured.models import Add, Address, Cat, Dog, Person


def refusal(text: str, kind: Any) -> OutputValidationError:
    with pytest.raises(OutputValidationError) as caught:
        parse(text, kind)
    return caught.value


def test_right_fields_survive_and_wrong_ones_are_named() -> None:
    """Fields are right as a whole or not at all."""
    value = {
        "name": "Ann",
        "age": -1,
        "address": {"street": "a", "number": 1, "lines": [2]},
        "nick": "A",
        "other": 1,
    }
    refused = refusal(json.dumps(value), Person)
    assert refused.valid == {"name": "Ann", "age": -1, "nick": "A"}
    assert [problem.path for problem in refused.problems] == ["address.lines[0]"]
    del value["address"]
    refused = refusal(json.dumps(value), Person)
    assert refused.valid == {"name": "Ann", "nick": "A"}
    assert [problem.path for problem in refused.problems] == ["age"]


def test_two_answers_make_a_whole_one() -> None:
    """Right fields stay, the second answer gives the rest."""
    valid = refusal(json.dumps({"name": "Ann", "age": "x"}), Person).valid
    merged = merge_fields(valid, {"name": "Bob", "age": 4})
    assert merged == {"name": "Ann", "age": 4}
    assert parse(json.dumps(merged), Person) == Person(name="Ann", age=4)
    assert merge_fields(valid, [1]) == [1]


def test_unions_have_right_fields_too() -> None:
    """By the keys of their members; what is no record has none."""
    assert refusal(json.dumps({"kind": "dog", "lives": "x"}), Cat | Dog).valid == {"kind": "dog"}
    assert refusal('["x"]', list[int]).valid == {}


def test_a_record_that_is_refused_as_a_whole_has_no_right_fields() -> None:
    """No single field is to blame; a validator may look at several."""

    @attrs.frozen
    class Range:
        low: int
        high: int = attrs.field()

        @high.validator
        def _check(self, _: Any, value: int) -> None:
            if value < self.low:
                msg = "high is below low"
                raise ValueError(msg)

    refused = refusal(json.dumps({"low": 3, "high": 1}), Range)
    assert refused.valid == {}
    assert [(p.path, p.message) for p in refused.problems] == [("", "high is below low")]


def test_converters_of_a_class_name_their_field() -> None:
    """A converter that refuses a value is a problem of its field; one with context is not asked."""

    @attrs.frozen
    class Size:
        number: str = attrs.field(converter=int)
        other: str = attrs.field(default="1", converter=attrs.Converter(int))

    assert [p.path for p in refusal(json.dumps({"number": "x"}), Size).problems] == ["number"]
    assert [p.path for p in refusal(json.dumps({"number": "1", "other": "x"}), Size).problems] == [
        ""
    ]


def test_feedback_names_what_was_right_and_what_to_fix() -> None:
    """The prompt goes on with the fields that were right, and the others with reasons."""
    error = refusal('{"name": "Ann", "age": "x"}', Person)
    assert feedback_prompt("Who?", error) == (
        "Who?\n\nYour previous answer was not valid.\n\n"
        "These fields were right, keep their values:\n"
        '- name: "Ann"\n\n'
        "Fix the following:\n"
        '- age: Expected `int`, got `str` (you gave "x")\n\n'
        "Answer again with the complete, corrected JSON and nothing else."
    )


def test_feedback_keeps_the_shape_of_the_prompt() -> None:
    """Messages get a message, content parts get a part; the original is left alone."""
    error = refusal("{", Person)
    messages = [{"role": "user", "content": "Who?"}]
    assert feedback_prompt(messages, error)[1]["role"] == "user"
    assert len(messages) == 1
    parts = [{"type": "text", "text": "Who?"}]
    assert feedback_prompt(parts, error)[1] == {"type": "text", "text": feedback_text(error)}


def test_long_values_and_many_problems_are_cut() -> None:
    """The feedback does not repeat megabytes to the model."""
    error = refusal(json.dumps(["x" * 1000] * 50), list[int])
    text = feedback_text(error)
    assert "and 20 more of the same kind" in text
    assert len(text) < 10_000


def test_errors_of_cattrs_are_read() -> None:
    """Paths of cattrs become ours."""
    with pytest.raises(cattrs.BaseValidationError) as caught:
        cattrs.structure({"street": "a", "lines": 3}, Address)
    assert {p.path for p in problems_of(caught.value)} == {"number", "lines"}
    with pytest.raises(cattrs.BaseValidationError) as nested:
        cattrs.structure([{"street": "a", "number": "x"}], list[Address])
    assert [p.path for p in problems_of(nested.value)] == ["[0].number"]


def test_errors_of_msgspec_are_read() -> None:
    """The one problem that msgspec tells has its path."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"street": "a", "number": "x"}, Address)
    assert problems_of(caught.value) == [Problem("number", "Expected `int`, got `str`")]


def test_other_errors_are_told_as_they_are() -> None:
    """An error without fields, even without a message, is still said."""
    assert problems_of(ValueError("no such town")) == [Problem("", "no such town")]
    assert problems_of(KeyError()) == [Problem("", "KeyError")]
    assert problems_of(OutputValidationError("bad")) == [Problem("", "bad")]
    assert "- the answer: no such town" in feedback_text(ValueError("no such town"))


def test_values_that_json_cannot_show_are_shown_somehow() -> None:
    """Feedback never fails for the value it quotes."""
    error = OutputValidationError("bad", problems=[Problem("x", "is odd", {1, 2})])
    assert "x: is odd (you gave {1, 2})" in feedback_text(error)
    assert repr(Problem("x", "is gone").value) == "MISSING"


def test_recursive_types_have_right_fields() -> None:
    """One side of a tree may be right."""
    assert refusal(json.dumps({"left": 1, "right": "x"}), Add).valid == {"left": 1}
