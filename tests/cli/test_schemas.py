"""``--schema``: files and classes become types that answers are held to."""

import json
from pathlib import Path
from typing import Any

import pytest

from batchllm.cli.exits import UsageError
from batchllm.cli.schemas import output_type, type_of_schema
from batchllm.structured import OutputValidationError, output_schema, parse

PERSON = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Person",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "description": "First and last"},
        "age": {"type": ["integer", "null"], "minimum": 0},
        "mood": {"enum": ["glad", "sad"]},
        "home": {"$ref": "#/$defs/Home"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "more": {"type": "object", "additionalProperties": {"type": "number"}},
        "any": {},
        "either": {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
    },
    "required": ["name", "mood"],
    "$defs": {
        "Home": {
            "type": "object",
            "properties": {"town": {"type": "string"}},
            "required": ["town"],
            "additionalProperties": False,
        }
    },
}


def test_values_are_held_to_the_schema() -> None:
    """Right answers come as plain values, problems are named by their fields."""
    kind = type_of_schema(PERSON, "person.json")
    good = {
        "name": "Ann Lee", "age": None, "mood": "glad", "home": {"town": "Ulm"},
        "tags": ["a"], "more": {"x": 1.5}, "any": [1], "either": True,
    }  # fmt: skip
    assert parse(json.dumps(good), kind) == good
    assert parse('{"name": "Ann", "mood": "sad"}', kind) == {"name": "Ann", "mood": "sad"}
    bad = {"name": "A", "mood": "angry", "home": {}, "tags": ["a", "b", "c"]}
    with pytest.raises(OutputValidationError) as caught:
        parse(json.dumps(bad), kind)
    said = str(caught.value)
    for field in ("name", "mood", "home.town", "tags"):
        assert field in said


def test_the_provider_gets_the_schema() -> None:
    """With its name, its descriptions and its required fields."""
    schema = output_schema(type_of_schema(PERSON, "person.json"))
    assert schema.name == "Person"
    assert schema.schema["properties"]["name"]["description"].startswith("First and last")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ([1], "person.json: it is not a schema"),
        ({"type": "strange"}, "its type is 'strange'; give one of string"),
        (
            {"type": "object", "properties": {"a": {"patternProperties": {}}}},
            "at a: patternProperties is not supported; leave it out, or give --schema module:Class",
        ),
        ({"$ref": "#/$defs/None"}, "#/$defs/None is nowhere in the file"),
        ({"$ref": "http://x/y"}, "is nowhere in the file"),
        ({"$ref": "#"}, "refers to itself"),
    ],
)
def test_a_schema_that_cannot_be_held_to_is_refused(schema: Any, message: str) -> None:
    """With the place in it, before anything is sent."""
    with pytest.raises(UsageError) as caught:
        type_of_schema(schema, "person.json")
    assert message in str(caught.value)


def test_a_schema_is_read_from_a_file(tmp_path: Path) -> None:
    """Also as OpenAI wraps it."""
    path = tmp_path / "person.json"
    path.write_text(json.dumps({"name": "person", "strict": True, "schema": PERSON}))
    assert parse('{"name": "Ann", "mood": "sad"}', output_type(str(path))) == {
        "name": "Ann",
        "mood": "sad",
    }


def test_a_class_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the folder in which the command is given, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [])
    (tmp_path / "made_up_types.py").write_text(
        "from attrs import frozen\n@frozen\nclass Mood:\n    mood: str\n"
    )
    kind = output_type("made_up_types:Mood")
    assert parse('{"mood": "glad"}', kind).mood == "glad"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("none.json", "none.json cannot be read: No such file"),
        ("no_such_module:Thing", "the module cannot be imported"),
        ("json:Nothing", "there is no Nothing in json"),
    ],
)
def test_a_schema_that_is_not_there_is_a_sentence(given: str, message: str) -> None:
    """It names the thing that was looked for."""
    with pytest.raises(UsageError) as caught:
        output_type(given)
    assert message in str(caught.value)


def test_a_file_that_is_not_json_is_a_sentence(tmp_path: Path) -> None:
    """It names the file."""
    path = tmp_path / "x.json"
    path.write_text("{")
    with pytest.raises(UsageError, match=r"x\.json is not JSON"):
        output_type(str(path))
