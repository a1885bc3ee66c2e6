"""Anthropic's Messages."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Desks = Callable[..., Any]

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOL = {"name": "save", "input_schema": SCHEMA}
LONG = "word " * 1000


def test_a_message_has_the_documented_shape(desk: Desks) -> None:
    """Role, content, stop reason and usage are there."""
    got = desk("anthropic").anthropic("hi", system="be brief")
    reply = got.json
    assert (reply["type"], reply["role"], reply["stop_reason"]) == (
        "message",
        "assistant",
        "end_turn",
    )
    assert reply["content"][0]["type"] == "text"
    assert reply["usage"]["input_tokens"] == 1 + 3 + 2 + 3
    assert got.headers["request-id"].startswith("req_")


def test_limits_are_told_in_its_own_headers(desk: Desks) -> None:
    """Limits, what is left rounded to thousands, and the time of the full refill."""
    asked = desk("anthropic?rpm=6&burst=1")
    headers = asked.anthropic("hi").headers
    told = {name.removeprefix("anthropic-ratelimit-"): value for name, value in headers.items()}
    assert told["requests-limit"] == "6"
    assert told["requests-remaining"] == "0"
    assert told["requests-reset"] == "2026-01-01T00:00:10Z"
    assert told["input-tokens-remaining"] == "30000"
    assert told["output-tokens-limit"] == "8000"
    refused = asked.anthropic("hi")
    assert (refused.status, refused.headers["retry-after"]) == (429, "10")
    assert refused.json["error"]["type"] == "rate_limit_error"
    assert "rate limit of 6 requests per minute" in refused.json["error"]["message"]


@pytest.mark.parametrize(
    "fields",
    [{"max_tokens": None}, {"messages": []}, {"messages": ["x"]}, {"model": None}],
)
def test_what_is_missing_is_told(desk: Desks, fields: dict[str, Any]) -> None:
    """Required fields and the version header are required."""
    got = desk().anthropic(**fields)
    assert (got.status, got.json["error"]["type"]) == (400, "invalid_request_error")
    unversioned = desk().send("POST", "/v1/messages", {})
    assert "anthropic-version" in unversioned.json["error"]["message"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("401", "authentication_error"),
        ("402", "billing_error"),
        ("403", "permission_error"),
        ("404", "not_found_error"),
        ("413", "request_too_large"),
        ("500", "api_error"),
        ("529", "overloaded_error"),
        ("context-length", "invalid_request_error"),
    ],
)
def test_errors_have_its_types(desk: Desks, fault: str, kind: str) -> None:
    """Each status comes with its type and a request id."""
    error = desk().anthropic(f"[[fault:{fault}]]").json
    assert (error["type"], error["error"]["type"]) == ("error", kind)
    assert error["request_id"].startswith("req_")


def test_too_long_a_prompt_is_told_in_its_words(desk: Desks) -> None:
    """Numbers are in the message."""
    message = desk("default?context=5").anthropic("x" * 100).json["error"]["message"]
    assert message == "prompt is too long: 28 tokens > 5 maximum"


def test_a_stream_has_the_documented_order(desk: Desks) -> None:
    """Input usage comes first, output usage last, each event under its own name."""
    events = desk().anthropic("[[answer:one two]]", stream=True).events
    assert [name for name, _ in events] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0][1]["message"]["usage"]["input_tokens"] > 0
    assert events[-2][1]["usage"] == {"output_tokens": 2}
    assert events[-2][1]["delta"]["stop_reason"] == "end_turn"
    assert "".join(data["delta"]["text"] for _, data in events[3:5]) == "one two"


def test_a_forced_tool_is_called(desk: Desks) -> None:
    """The input satisfies the schema; streamed it comes as partial JSON."""
    for choice in ({"type": "any"}, {"type": "tool", "name": "save"}):
        reply = desk().anthropic(tools=[TOOL], tool_choice=choice).json
        assert reply["stop_reason"] == "tool_use"
        assert isinstance(reply["content"][0]["input"]["a"], int)
        events = desk().anthropic(tools=[TOOL], tool_choice=choice, stream=True).events
        pieces = [
            data["delta"]["partial_json"] for name, data in events if name == "content_block_delta"
        ]
        assert json.loads("".join(pieces)) == reply["content"][0]["input"]
    broken = (
        desk().anthropic("[[fault:invalid-json]]", tools=[TOOL], tool_choice={"type": "any"}).json
    )
    assert list(broken["content"][0]["input"]) == ["unparsed"]
    assert desk().anthropic(tools=[TOOL]).json["stop_reason"] == "end_turn"


def test_a_schema_is_kept_to(desk: Desks) -> None:
    """Structured output comes as text."""
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    reply = desk().anthropic(output_config=config).json
    assert isinstance(json.loads(reply["content"][0]["text"])["a"], int)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("length", "max_tokens"),
        ("refusal", "refusal"),
        ("content-filter", "refusal"),
        ("empty", "end_turn"),
        ("unknown-finish", "stopped_for_a_new_reason"),
    ],
)
def test_an_answer_can_be_cut_short(desk: Desks, fault: str, reason: str) -> None:
    """The stop reason says why, and a refusal has details."""
    reply = desk().anthropic(f"[[fault:{fault}]]").json
    assert reply["stop_reason"] == reason
    assert (reply["stop_details"] is not None) == (reason == "refusal")
    assert bool(reply["content"]) == (fault not in {"empty", "content-filter"})


def test_marked_prefixes_are_cached(desk: Desks) -> None:
    """Written once, read while it lives, not counted as input; the mark's ttl is its life."""
    asked = desk("instant")
    mark = {"type": "ephemeral", "ttl": "1h"}
    system = [{"type": "text", "text": LONG, "cache_control": mark}]

    def counts(**fields: Any) -> tuple[int, int, int]:
        usage = asked.anthropic(**fields).json["usage"]
        names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        one, two, three = (usage[name] for name in names)
        return one, two, three

    assert counts(system=system) == (7, 1250, 0)
    assert counts(system=system) == (7, 0, 1250)
    asked.now += 3601
    assert counts(system=system) == (7, 1250, 0)
    assert counts(system=LONG) == (1257, 0, 0)
    short = [{"type": "text", "text": "short", "cache_control": mark}]
    assert counts(system=short)[1:] == (0, 0)
    assert counts(system=LONG + "!", cache_control={"type": "ephemeral"})[1] == 1252


def test_a_stream_can_fail(desk: Desks) -> None:
    """An error event ends it early; without a terminal event it just ends; usage can be missing."""
    broken = desk().anthropic("[[fault:stream-error]]", stream=True)
    assert broken.status == 200
    name, data = broken.events[-1]
    assert (name, data["error"]["type"]) == ("error", "overloaded_error")
    cut = desk().anthropic("[[fault:no-terminal]]", stream=True).events
    assert cut[-1][0] == "content_block_stop"
    assert "usage" not in desk().anthropic("[[fault:no-usage]]", stream=True).text
    assert "usage" not in desk().anthropic("[[fault:no-usage]]").json
    empty = desk().anthropic("[[fault:empty]]", stream=True).events
    assert [name for name, _ in empty] == ["message_start", "ping", "message_delta", "message_stop"]
