"""Gemini's generateContent, embeddings and errors."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Desks = Callable[..., Any]

SCHEMA = {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}, "required": ["a"]}


def spoken(reply: Any) -> str:
    text = reply["candidates"][0]["content"]["parts"][0]["text"]
    assert isinstance(text, str)
    return text


def test_a_reply_has_the_documented_shape(desk: Desks) -> None:
    """Candidate, ratings and usage are there; counts of zero are left out."""
    reply = desk().gemini("hi", systemInstruction={"parts": [{"text": "be brief"}]}).json
    usage = reply["usageMetadata"]
    assert spoken(reply)
    assert reply["candidates"][0]["finishReason"] == "STOP"
    assert len(reply["candidates"][0]["safetyRatings"]) == 4
    assert reply["modelVersion"] == "g-001"
    assert usage["promptTokenCount"] == 3
    assert usage["totalTokenCount"] == 3 + usage["candidatesTokenCount"]
    assert "cachedContentTokenCount" not in usage


@pytest.mark.parametrize("field", ["responseSchema", "responseJsonSchema"])
def test_a_schema_is_kept_to(desk: Desks, field: str) -> None:
    """Both kinds of schema are; without one any JSON comes."""
    config = {"responseMimeType": "application/json", field: SCHEMA}
    assert isinstance(json.loads(spoken(desk().gemini(generationConfig=config).json))["a"], int)
    free = desk().gemini(generationConfig={"responseMimeType": "application/json"}).json
    assert "answer" in json.loads(spoken(free))


def test_a_stream_is_events_or_a_list(desk: Desks) -> None:
    """With `alt=sse` events without a closing mark, else one JSON list of the same documents."""
    prompt = "[[answer:one two three]]"
    events = desk().gemini(prompt, "streamGenerateContent?alt=sse")
    listed = desk().gemini(prompt, "streamGenerateContent")
    documents = [data for _, data in events.events]
    assert events.headers["content-type"].startswith("text/event-stream")
    assert listed.headers["content-type"] == "application/json"
    assert listed.json == documents
    assert "".join(spoken(document) for document in documents) == "one two three"
    assert [("finishReason" in each["candidates"][0]) for each in documents] == [False, False, True]
    assert "usageMetadata" in documents[-1]
    assert "[DONE]" not in events.text


def test_a_stream_can_fail(desk: Desks) -> None:
    """It can break off with an error, end without a reason, or lack its usage."""
    verb = "streamGenerateContent?alt=sse"
    broken = desk().gemini("[[fault:stream-error]]", verb).events
    assert broken[-1][1]["error"]["status"] == "UNAVAILABLE"
    assert "finishReason" not in desk().gemini("[[fault:no-terminal]]", verb).text
    assert "usageMetadata" not in desk().gemini("[[fault:no-usage]]", verb).text
    assert "usageMetadata" not in desk().gemini("[[fault:no-usage]]").json
    empty = desk().gemini("[[fault:empty]]", verb).events
    assert "parts" not in empty[0][1]["candidates"][0]["content"]


def test_a_blocked_prompt_has_no_candidates(desk: Desks) -> None:
    """The reason is in the feedback, at status 200."""
    got = desk().gemini("[[fault:content-filter]]")
    assert got.status == 200
    assert "candidates" not in got.json
    assert got.json["promptFeedback"]["blockReason"] == "SAFETY"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("length", "MAX_TOKENS"),
        ("refusal", "PROHIBITED_CONTENT"),
        ("unknown-finish", "STOPPED_FOR_A_NEW_REASON"),
    ],
)
def test_an_answer_can_be_cut_short(desk: Desks, fault: str, reason: str) -> None:
    """The finish reason says why."""
    assert desk().gemini(f"[[fault:{fault}]]").json["candidates"][0]["finishReason"] == reason


def test_a_quota_is_explained_in_the_body(desk: Desks) -> None:
    """Name and size of the quota and the wait are details; nothing is in the headers."""
    asked = desk("gemini-free?rpm=1")
    asked.gemini()
    refused = asked.gemini()
    failure, retry = refused.json["error"]["details"]
    (violation,) = failure["violations"]
    assert refused.json["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert "PerMinute" in violation["quotaId"]
    assert violation["quotaValue"] == "1"
    assert retry["retryDelay"] == "20s"
    assert "Please retry in 20s." in refused.json["error"]["message"]
    assert not [name for name in refused.headers if "ratelimit" in name or "retry" in name]


def test_a_quota_of_the_day_has_a_misleading_delay(desk: Desks) -> None:
    """The quota's name says day although the delay says seconds."""
    asked = desk("gemini-free?rpd=1")
    asked.gemini()
    failure, retry = asked.gemini().json["error"]["details"]
    assert "PerDay" in failure["violations"][0]["quotaId"]
    assert retry["retryDelay"] == "5s"


def test_a_quota_may_be_unexplained(desk: Desks) -> None:
    """Without hints, and on Vertex, there are no details."""
    for scenario in ("gemini-free?rpm=1&hints=no", "gemini-free?rpm=1&profile=vertex"):
        asked = desk(scenario)
        asked.gemini()
        error = asked.gemini().json["error"]
        assert error["message"] == "Resource exhausted, please try again later."
        assert "details" not in error


def test_errors_have_its_statuses(desk: Desks) -> None:
    """A wrong key is a 400 in the body; too long a prompt has numbers."""
    key = desk("default?key=k").gemini().json["error"]
    assert (key["code"], key["details"][0]["reason"]) == (400, "API_KEY_INVALID")
    long = desk("default?context=1").gemini("x" * 100).json["error"]
    assert (long["status"], "(25) exceeds" in long["message"]) == ("INVALID_ARGUMENT", True)
    assert desk().gemini("[[fault:404]]").json["error"]["status"] == "NOT_FOUND"
    assert desk().gemini(contents=[]).status == 400
    assert desk().gemini(contents=[3]).status == 400
    assert desk().gemini(contents=["plain"]).status == 200


def test_texts_are_embedded_one_by_one_or_together(desk: Desks) -> None:
    """A text has the same vector either way; the length can be chosen."""
    content = {"parts": [{"text": "a"}]}
    one = desk().send("POST", "/v1beta/models/e:embedContent", {"content": content}).json
    many = (
        desk()
        .send(
            "POST",
            "/v1beta/models/e:batchEmbedContents",
            {"requests": [{"content": content}, {"content": {"parts": [{"text": "b"}]}}]},
        )
        .json
    )
    assert many["embeddings"][0] == one["embedding"]
    assert len(many["embeddings"]) == 2
    short = {"content": content, "outputDimensionality": 3}
    got = desk().send("POST", "/v1beta/models/e:embedContent", short).json
    assert len(got["embedding"]["values"]) == 3
    empty: dict[str, Any] = {"content": {"parts": []}}
    assert desk().send("POST", "/v1beta/models/e:embedContent", empty).status == 400
