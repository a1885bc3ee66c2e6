"""Templates: placeholders are fields of the row, and everything else is a sentence at the start."""

import pytest

from batchllm.cli.exits import UsageError
from batchllm.cli.templates import MissingFieldError, Template


def test_fields_are_put_in_their_places() -> None:
    """Placeholders may repeat, and doubled braces stand for braces."""
    template = Template.parse('{{"a": {x}}} to { y }, {x}')
    assert template.fill({"x": "1", "y": "two"}) == '{"a": 1} to two, 1'


def test_values_that_are_no_texts_are_written_as_json() -> None:
    """A list, a number, a truth and null come out as JSON has them."""
    fields = {"a": ["é", 1], "b": 2.5, "c": True, "d": None}
    assert Template.parse("{a} {b} {c} {d}").fill(fields) == '["é", 1] 2.5 true null'


def test_a_field_of_any_name_can_be_named() -> None:
    """Dots and spaces are part of a field's name, and no attribute of it is read."""
    assert Template.parse("{a.b} {my text}").fill({"a.b": "1", "my text": "2"}) == "1 2"


def test_a_field_that_a_row_lacks_is_named() -> None:
    """The message has the field, and those that are there."""
    with pytest.raises(MissingFieldError, match=r"no field 'b' .*its fields: a, c"):
        Template.parse("{a}{b}").fill({"a": 1, "c": 2})
    with pytest.raises(MissingFieldError, match="its fields: none"):
        Template.parse("{a}").fill({})


@pytest.mark.parametrize("text", ["{", "a } b", "{}", "{ }", "{a!r}", "{a:>3}", '{"a": 1}'])
def test_what_is_no_placeholder_is_refused_with_the_remedy(text: str) -> None:
    """JSON in a template, conversions and formats tell how to write braces."""
    with pytest.raises(UsageError, match=r"--template: .*write \{\{ and \}\}"):
        Template.parse(text)


@pytest.mark.parametrize("text", ["", "no field", "{{a}}"])
def test_a_template_without_a_field_is_refused(text: str) -> None:
    """It would send the same prompt for every row."""
    with pytest.raises(UsageError, match="same"):
        Template.parse(text)
