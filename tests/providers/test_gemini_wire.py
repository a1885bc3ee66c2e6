"""Gemini byte by byte: what goes out, and the oddities that come back."""

from types import SimpleNamespace
from typing import Any

import pytest

from batchllm.core import EmptyResponseError, MalformedResponseError
from tests.providers.wire_kit import SCHEMA, Server, gemini, metadata_of, streaming

pytestmark = pytest.mark.anyio


CANDIDATE = {"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}
GEMINI_USAGE = {
    "promptTokenCount": 10,
    "cachedContentTokenCount": 4,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 7,
    "toolUsePromptTokenCount": 3,
    "totalTokenCount": 25,
}


async def test_a_gemini_request_has_what_was_set() -> None:
    """Settings of the generation and of the request stand in their places, in camel case."""
    server = Server({"candidates": [{**CANDIDATE, "content": {"parts": [{"text": "{}"}]}}]})
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    model = gemini(server, schema=SCHEMA, safety_settings=safety, system_instruction="be kind")
    config = {
        "max_tokens": 9,
        "stop": "END",
        "thinking_config": {"thinking_budget": 0},
        "tools": [{"function_declarations": [{"name": "f", "parameters": {"a_b": 1}}]}],
        "extra": {"new_thing": 1},
    }
    await model.generate("hello", config=config)
    assert server.sent == [
        {
            "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
            "systemInstruction": {"parts": [{"text": "be kind"}]},
            "safetySettings": safety,
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"a_b": 1}}]}],
            "generationConfig": {
                "temperature": 0.0,
                "maxOutputTokens": 9,
                "stopSequences": ["END"],
                "thinkingConfig": {"thinkingBudget": 0},
                "responseMimeType": "application/json",
                "responseJsonSchema": SCHEMA,
            },
            "new_thing": 1,
        }
    ]
    assert server.requests[0].headers["x-goog-api-key"] == "secret-key-1"
    assert server.requests[0].url.path == "/v1beta/models/m:generateContent"


async def test_instructions_of_model_call_and_prompt_come_together() -> None:
    """Config before call before model; what the prompt brings comes after it."""
    server = Server({"candidates": [CANDIDATE]})
    model = gemini(server, system_instruction="model")
    prompt = [{"role": "system", "content": "prompt"}, {"role": "user", "content": "x"}]
    await model.generate("x", system_instruction="call")
    await model.generate("x", config={"system_instruction": "config"})
    await model.generate(prompt)
    await gemini(server).generate(prompt)
    both = gemini(server, parameters={"system_instruction": "parameters"})
    await both.generate("x", system_instruction="call", config={"system_instruction": "config"})
    await both.generate("x", system_instruction="call")
    await both.generate("x")
    instructions = [[p["text"] for p in s["systemInstruction"]["parts"]] for s in server.sent]
    assert instructions == [
        ["call"],
        ["config"],
        ["model", "prompt"],
        ["prompt"],
        ["config"],
        ["call"],
        ["parameters"],
    ]


class Part:
    """Looks like the SDK's pydantic objects."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def model_dump(self, *, exclude_none: bool) -> dict[str, Any]:
        return {name: value for name, value in self.fields.items() if value is not None}


async def test_contents_of_every_shape_go_out_alike() -> None:
    """Texts, parts, messages, mappings, SDK objects and stand-ins are all understood."""
    server = Server({"candidates": [CANDIDATE]})
    prompt = [
        "a",
        Part(text="b", thought=None),
        SimpleNamespace(text="c"),
        {"type": "text", "text": "d"},
        {"inline_data": {"mime_type": "image/png", "data": b"1"}},
        {"role": "assistant", "content": "e"},
        {"role": "model", "parts": [{"text": "f"}]},
        Part(role="user", parts=[{"text": "g"}]),
        SimpleNamespace(role=None, parts=["h", Part(text="i")]),
        {"parts": {"text": "j"}},
        {"type": "image", "data": "MQ=="},
        {"type": "file", "url": "gs://bucket/a.pdf", "media_type": "application/pdf"},
        {"type": "file", "file_id": "files/1"},
    ]
    await gemini(server).generate(prompt)
    turns = server.sent[0]["contents"]
    data = {"inlineData": {"mimeType": "image/png", "data": "MQ=="}}
    assert [(turn["role"], turn["parts"]) for turn in turns] == [
        ("user", [{"text": "a"}, {"text": "b"}, {"text": "c"}, {"text": "d"}, data]),
        ("model", [{"text": "e"}]),
        ("model", [{"text": "f"}]),
        ("user", [{"text": "g"}]),
        ("user", [{"text": "h"}, {"text": "i"}]),
        ("user", [{"text": "j"}]),
        (
            "user",
            [
                data,
                {"fileData": {"fileUri": "gs://bucket/a.pdf", "mimeType": "application/pdf"}},
                {"fileData": {"fileUri": "files/1"}},
            ],
        ),
    ]


async def test_a_gemini_answer_is_read_whole() -> None:
    """Thoughts are billed and are no part of the text; ratings and calls of tools come back."""
    parts = [
        {"text": "so", "thought": True},
        {"text": "hi"},
        {"functionCall": {"name": "f", "args": {"a_b": 1}}},
    ]
    ratings = [{"category": "HARM_CATEGORY_X", "probability": "LOW"}, {"category": "Y"}, "odd"]
    candidate = {**CANDIDATE, "content": {"parts": parts}, "safetyRatings": ratings}
    reply = {"candidates": [candidate], "usageMetadata": GEMINI_USAGE, "responseId": "r1"}
    response = await gemini(Server(reply)).generate("x")
    assert response.text == "hi"
    assert response.token_usage == {
        "input_tokens": 13,
        "output_tokens": 12,
        "total_tokens": 25,
        "cached_input_tokens": 4,
        "reasoning_tokens": 7,
    }
    metadata = metadata_of(response)
    assert metadata["safety_ratings"] == {"HARM_CATEGORY_X": "LOW"}
    assert (metadata["finish_reason"], metadata["provider_finish_reason"]) == ("tool", "STOP")
    assert metadata["tool_calls"] == [{"name": "f", "args": {"a_b": 1}}]
    assert (metadata["reasoning"], metadata["request_id"]) == ("so", "r1")
    assert response.raw == reply


@pytest.mark.parametrize("stream", [False, True])
async def test_a_blocked_prompt_is_told(stream: bool) -> None:
    """With a reason for blocking and no candidate, the error says both reason and rating."""
    ratings = [{"category": "HARM_CATEGORY_X", "probability": "HIGH"}]
    reply = {"promptFeedback": {"blockReason": "SAFETY", "safetyRatings": ratings}}
    server = streaming(reply) if stream else Server(reply)
    words = r"content filter of gemini stopped the answer \(SAFETY, HARM_CATEGORY_X HIGH\)"
    with pytest.raises(EmptyResponseError, match=words) as caught:
        await gemini(server, stream=stream).generate("x")
    metadata = caught.value.response.metadata
    assert (metadata["block_reason"], metadata["finish_reason"]) == ("SAFETY", "filtered")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({}, "without a candidate"),
        ({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}, "MALFORMED_FUNCTION_CALL"),
        ({"candidates": [{**CANDIDATE, "finishReason": "OTHER"}]}, "failed half way"),
    ],
)
async def test_a_gemini_reply_that_is_no_answer_is_malformed(
    reply: dict[str, Any], words: str
) -> None:
    """No candidate without a reason, or one that failed, can be tried again."""
    with pytest.raises(MalformedResponseError, match=words):
        await gemini(Server(reply)).generate("x")


async def test_a_streamed_gemini_answer_is_put_together() -> None:
    """Texts and thoughts are joined, the last counts win, and other candidates are left out."""

    def chunk(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"candidates": [{"content": {"parts": list(parts)}, **more}]}

    server = streaming(
        chunk({"text": "s", "thought": True}) | {"usageMetadata": {"promptTokenCount": 1}},
        "",
        chunk({"text": "o", "thought": True}, {"text": "h"}),
        {"candidates": [{"index": 1, "content": {"parts": [{"text": "other"}]}}]},
        chunk({"text": "i"}, {"functionCall": {"name": "f"}}),
        chunk(finishReason="STOP") | {"usageMetadata": GEMINI_USAGE, "responseId": "r1"},
    )
    response = await gemini(server, stream=True).generate("x")
    assert (response.text, metadata_of(response)["reasoning"]) == ("hi", "so")
    assert response.total_tokens == 25
    assert server.requests[0].url.query == b"alt=sse"
