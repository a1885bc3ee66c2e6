"""Templates: places are fields of the row, and everything else is a sentence at the start."""

import pytest

from batchllm.cli.exits import UsageError
from batchllm.cli.prompts import MissingFieldError
from batchllm.cli.templates import Template


def test_fields_are_put_in_their_places() -> None:
    """Places may repeat, and have spaces round the name."""
    template = Template.parse("{x} to { y }, {x}\n")
    assert template.fill({"x": "1", "y": "two"}) == "1 to two, 1\n"


def test_values_that_are_no_texts_are_written_as_json() -> None:
    """A list, a number, a truth and null come out as JSON has them."""
    fields = {"a": ["é", 1], "b": 2.5, "c": True, "d": None}
    assert Template.parse("{a} {b} {c} {d}").fill(fields) == '["é", 1] 2.5 true null'
    assert Template.parse("{{ a }}{{ d }}").fill(fields) == '["é", 1]null'


def test_a_field_of_any_name_can_be_named() -> None:
    """Dots and spaces may be part of a column's name."""
    assert Template.parse("{a.b} {my text}").fill({"a.b": "1", "my text": "2"}) == "1 2"
    assert Template.parse('{{ row["my text"] }}').fill({"my text": "2"}) == "2"


def test_a_field_in_a_field_can_be_named() -> None:
    """Of objects by a dot, of lists by a number."""
    fields = {"author": {"name": "Ann", "tags": ["x", "y"]}}
    assert Template.parse("{author.name} {author.tags[1]}").fill(fields) == "Ann y"
    assert Template.parse("{{ author.tags[-1] }}").fill(fields) == "y"


def test_what_a_row_has_wins_over_methods() -> None:
    """A field called items is the field, not the method of a dictionary."""
    assert Template.parse("{order.items}").fill({"order": {"items": 3}}) == "3"
    assert Template.parse("{{ items }}").fill({"items": "four"}) == "four"


def test_a_template_of_jinja() -> None:
    """Conditions, loops and filters, and single braces are text: JSON needs no doubling."""
    text = '{"mood": "glad"} or not? {% if lang %}In {{ lang | upper }}: {% endif %}{{ review }}'
    template = Template.parse(text)
    assert template.fill({"lang": "en", "review": "Good"}) == (
        '{"mood": "glad"} or not? In EN: Good'
    )
    optional = Template.parse("{{ review }}{{ note | default('') }}")
    assert optional.fill({"review": "Good"}) == "Good"


def test_nothing_is_escaped() -> None:
    """A prompt is no web page."""
    assert Template.parse("{x}").fill({"x": "<b> & 'c'"}) == "<b> & 'c'"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("{a}{b}", "b"),
        ("{{ a }}{{ b }}", "b"),
        ("{a.x}", "x"),
        ("{my text}", "my text"),
        ("{a}{c.y}", "y"),
    ],
)
def test_a_field_that_a_row_lacks_is_named(text: str, missing: str) -> None:
    """The message has the field, and those that are there."""
    with pytest.raises(MissingFieldError) as caught:
        Template.parse(text).fill({"a": {}, "c": 2})
    assert str(caught.value) == f"no field {missing!r} for the template; its fields: a, c"
    with pytest.raises(MissingFieldError, match="its fields: none"):
        Template.parse("{a}").fill({})


def test_a_template_that_fails_on_a_row_is_a_sentence() -> None:
    """The row is refused, and the others go on."""
    with pytest.raises(MissingFieldError, match="cannot be filled: division"):
        Template.parse("{{ 1 / n }}").fill({"n": 0})


def test_a_template_cannot_reach_beyond_the_row() -> None:
    """One from elsewhere runs no code of its own."""
    with pytest.raises(MissingFieldError):
        Template.parse("{{ x.__class__.__mro__ }}").fill({"x": ""})


@pytest.mark.parametrize(
    "text", ["{", "a } b", "{}", "{ }", "{a!r}", "{a:>3}", '{"a": 1}', "{{ a", "{% if %}{{ a }}"]
)
def test_what_is_no_place_is_refused_with_the_remedy(text: str) -> None:
    """JSON in a template, conversions and formats show how to write braces."""
    with pytest.raises(UsageError, match=r"--template: .*write fields as \{\{ name \}\}"):
        Template.parse(text)


@pytest.mark.parametrize("text", ["", "no field", "{{ 'a' }}"])
def test_a_template_without_a_field_is_refused(text: str) -> None:
    """It would send the same prompt for every row."""
    with pytest.raises(UsageError, match="same"):
        Template.parse(text)
