"""OpenAI's Responses."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Desks = Callable[..., Any]

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TEXT = {"format": {"type": "json_schema", "name": "Out", "schema": SCHEMA}}
TOOL = {"type": "function", "name": "save", "parameters": SCHEMA}


def spoken(reply: Any) -> str:
    text = reply["output"][0]["content"][0]["text"]
    assert isinstance(text, str)
    return text


def test_a_response_has_the_documented_shape(desk: Desks) -> None:
    """Status, output and usage are there, and the tokens add up."""
    reply = desk().responses("hi", instructions="be brief").json
    usage = reply["usage"]
    assert (reply["object"], reply["status"], reply["error"]) == ("response", "completed", None)
    assert spoken(reply)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens"] == 1 + 3 + 2 + 3


def test_input_may_be_a_list(desk: Desks) -> None:
    """Messages with parts are understood; what is no message is refused."""
    asked = desk()
    part = {"type": "input_text", "text": "[[answer:yes]]"}
    assert spoken(asked.responses(input=[{"role": "user", "content": [part]}]).json) == "yes"
    assert [asked.responses(input=given).status for given in ([], None, ["x"])] == [400] * 3


def test_structured_answers(desk: Desks) -> None:
    """A schema is kept to, and has to have a name; any JSON can be asked for."""
    assert isinstance(json.loads(spoken(desk().responses(text=TEXT).json))["a"], int)
    assert desk().responses(text={"format": {"type": "json_schema"}}).status == 400
    free = desk().responses(text={"format": {"type": "json_object"}}).json
    assert "answer" in json.loads(spoken(free))


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "save"}])
def test_a_forced_tool_is_called(desk: Desks, choice: Any) -> None:
    """The output is a call with the tool's arguments, streamed or not."""
    (call,) = desk().responses(tools=[TOOL], tool_choice=choice).json["output"]
    assert (call["type"], call["name"]) == ("function_call", "save")
    assert isinstance(json.loads(call["arguments"])["a"], int)
    events = desk().responses(tools=[TOOL], tool_choice=choice, stream=True).events
    pieces = [
        data["delta"] for name, data in events if name == "response.function_call_arguments.delta"
    ]
    assert "".join(pieces) == call["arguments"]
    assert desk().responses(tools=[TOOL]).json["output"][0]["type"] == "message"


def test_a_stream_has_the_documented_order(desk: Desks) -> None:
    """Events come in order and numbered; only the last has usage."""
    events = desk().responses("[[answer:one two]]", stream=True).events
    assert [name for name, _ in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [data["sequence_number"] for _, data in events] == list(range(10))
    assert all(data["type"] == name for name, data in events)
    assert spoken(events[-1][1]["response"]) == "one two"
    assert events[0][1]["response"]["usage"] is None
    assert events[-1][1]["response"]["usage"]["output_tokens"] == 2


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("length", "incomplete", "max_output_tokens"),
        ("content-filter", "incomplete", "content_filter"),
        ("empty", "completed", None),
        ("unknown-finish", "stopped_for_a_new_reason", None),
    ],
)
def test_an_answer_can_be_cut_short(
    desk: Desks, fault: str, status: str, reason: str | None
) -> None:
    """Status and details say why; a stream ends with the event of that name."""
    reply = desk().responses(f"[[fault:{fault}]]").json
    assert reply["status"] == status
    assert (reply["incomplete_details"] or {}).get("reason") == reason
    last, _ = desk().responses(f"[[fault:{fault}]]", stream=True).events[-1]
    assert last == ("response.incomplete" if reason else "response.completed")


def test_a_refusal_is_a_part_of_its_own(desk: Desks) -> None:
    """It is no text, streamed or not."""
    (part,) = desk().responses("[[fault:refusal]]").json["output"][0]["content"]
    assert part == {"type": "refusal", "refusal": "I cannot help with that."}
    names = [name for name, _ in desk().responses("[[fault:refusal]]", stream=True).events]
    assert "response.refusal.delta" in names
    assert "response.output_text.delta" not in names


def test_a_stream_can_fail(desk: Desks) -> None:
    """An error event ends it early; without a terminal event it just ends; usage can be missing."""
    broken = desk().responses("[[fault:stream-error]]", stream=True).events
    assert broken[-1][0] == "error"
    assert broken[-1][1]["code"] == "server_is_overloaded"
    cut = desk().responses("[[fault:no-terminal]]", stream=True).events
    assert cut[-1][0] == "response.output_item.done"
    assert desk().responses("[[fault:no-usage]]").json["usage"] is None
    assert desk().responses("[[fault:500]]").json["error"]["code"] == "server_error"
