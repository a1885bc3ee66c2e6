"""Anthropic's Messages byte by byte: what goes out, and the oddities that come back."""

from typing import Any

import pytest

from batchllm.core import ConfigError, EmptyResponseError, MalformedResponseError, ProviderError
from tests.providers.wire_kit import SCHEMA, Server, anthropic, metadata_of, streaming

pytestmark = pytest.mark.anyio


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "model": "m-1",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
}


async def test_a_messages_request_has_what_was_set() -> None:
    """The limit that the wire demands, the version and the schema are there."""
    server = Server({**MESSAGE, "content": [{"type": "text", "text": "{}"}]})
    model = anthropic(server, schema=SCHEMA, parameters={"output_config": {"effort": "low"}})
    await model.generate("hello", system_instruction="be kind", config={"stop": "END"})
    assert server.sent == [
        {
            "model": "m",
            "max_tokens": 4096,
            "system": [{"type": "text", "text": "be kind"}],
            "messages": [{"role": "user", "content": "hello"}],
            "stop_sequences": ["END"],
            "output_config": {
                "effort": "low",
                "format": {"type": "json_schema", "schema": SCHEMA},
            },
        }
    ]
    headers = server.requests[0].headers
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("secret-key-1", "2023-06-01")
    assert server.requests[0].url.path == "/v1/messages"


@pytest.mark.parametrize(("given", "ttl"), [(True, "5m"), ("5m", "5m"), ("1h", "1h")])
async def test_the_system_prompt_can_be_cached(given: Any, ttl: str) -> None:
    """One mark on the last block of the system prompt covers all of it."""
    server = Server(MESSAGE)
    system = {"role": "system", "content": [{"type": "text", "text": "b"}]}
    developer = {"role": "developer", "content": "c"}
    prompt = [system, developer, {"role": "user", "content": "hello"}]
    model = anthropic(server, cache_system=given)
    await model.generate(prompt, system_instruction="a")
    first, second, third = server.sent[0]["system"]
    assert "cache_control" not in first
    assert "cache_control" not in second
    mark = {"type": "ephemeral", "ttl": ttl}
    assert third == {"type": "text", "text": "c", "cache_control": mark}
    assert [message["role"] for message in server.sent[0]["messages"]] == ["user"]
    await model.generate("without one")
    assert "system" not in server.sent[1]


def test_another_lifetime_is_refused() -> None:
    """A parameter that the provider does not offer is refused with those that it does."""
    with pytest.raises(ConfigError, match="'5m', '1h'"):
        anthropic(Server(MESSAGE), cache_system="2h")


async def test_messages_has_its_own_words_for_parts() -> None:
    """Images and documents become blocks with a source."""
    server = Server(MESSAGE)
    mark = {"type": "ephemeral"}
    block = {"type": "image", "source": {"type": "url", "url": "http://x.test/2.png"}}
    parts = [
        {"type": "text", "text": "a", "cache_control": mark},
        {"type": "image", "url": "http://x.test/1.png"},
        {"type": "image", "url": "data:image/gif;base64,MQ=="},
        {"type": "image", "data": "MQ==", "media_type": "image/jpeg", "cache_control": mark},
        {"type": "file", "data": b"1", "filename": "a.pdf"},
        {"type": "file", "file_id": "file-1"},
        block,
    ]
    await anthropic(server).generate(parts)
    base64 = {"type": "base64", "data": "MQ=="}
    assert server.sent[0]["messages"][0]["content"] == [
        parts[0],
        {"type": "image", "source": {"type": "url", "url": "http://x.test/1.png"}},
        {"type": "image", "source": {**base64, "media_type": "image/gif"}},
        {
            "type": "image",
            "source": {**base64, "media_type": "image/jpeg"},
            "cache_control": mark,
        },
        {
            "type": "document",
            "source": {**base64, "media_type": "application/pdf"},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "file", "file_id": "file-1"}},
        block,
    ]
    with pytest.raises(ValueError, match="no base64"):
        await anthropic(server).generate([{"type": "image", "data": "%%%"}])
    with pytest.raises(ValueError, match=r"no type; its keys are \['text'\]"):
        await anthropic(server).generate([{"text": "x"}])


MESSAGE_USAGE = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 50,
    "output_tokens": 5,
    "output_tokens_details": {"thinking_tokens": 2},
}


async def test_a_messages_answer_is_read_whole() -> None:
    """Cache reads and writes are part of the input, thoughts are no part of the text."""
    content = [
        {"type": "thinking", "thinking": "so", "signature": "s"},
        {"type": "text", "text": "h"},
        {"type": "text", "text": "i"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        {"type": "of the future"},
    ]
    reply = {**MESSAGE, "content": content, "stop_reason": "tool_use", "usage": MESSAGE_USAGE}
    response = await anthropic(Server(reply)).generate("x")
    assert response.text == "hi"
    assert response.token_usage == {
        "input_tokens": 92,
        "output_tokens": 5,
        "total_tokens": 97,
        "cached_input_tokens": 50,
        "cache_write_tokens": 30,
        "reasoning_tokens": 2,
    }
    metadata = metadata_of(response)
    assert (metadata["finish_reason"], metadata["reasoning"]) == ("tool", "so")
    assert metadata["tool_calls"] == [content[3]]


async def test_a_refusal_of_messages_is_explained() -> None:
    """The explanation that comes with a refusal is in the message."""
    details = {"type": "refusal", "category": "cyber", "explanation": "No weapons."}
    reply = {**MESSAGE, "content": [], "stop_reason": "refusal", "stop_details": details}
    with pytest.raises(EmptyResponseError, match="stopped the answer: No weapons") as caught:
        await anthropic(Server(reply)).generate("x")
    assert caught.value.response.metadata["stop_details"] == details


async def test_a_message_without_content_is_none() -> None:
    """An object that is no message can be tried again."""
    with pytest.raises(MalformedResponseError, match="no content"):
        await anthropic(Server({"id": "msg_1"})).generate("x")


async def test_no_room_for_text_is_told() -> None:
    """An answer of thoughts alone that max_tokens cut off names the remedy."""
    reply = {**MESSAGE, "content": [], "stop_reason": "max_tokens"}
    with pytest.raises(EmptyResponseError, match="raise max_tokens"):
        await anthropic(Server(reply)).generate("x")


def block_events(index: int, block: dict[str, Any], *deltas: dict[str, Any]) -> list[Any]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


async def test_a_streamed_message_is_put_together() -> None:
    """Blocks grow by their deltas, usage by later counts, and a closing mark may be missing."""
    usage = {**MESSAGE_USAGE, "output_tokens": 1}
    opened: dict[str, Any] = {
        "type": "message",
        "id": "msg_1",
        "content": [],
        "usage": usage,
        "stop_reason": None,
    }
    server = streaming(
        {"type": "message_start", "message": opened},
        {"type": "ping"},
        "",
        *block_events(
            0,
            {"type": "thinking", "thinking": ""},
            {"type": "thinking_delta", "thinking": "s"},
            {"type": "thinking_delta", "thinking": "o"},
            {"type": "signature_delta", "signature": "x"},
        ),
        *block_events(
            1,
            {"type": "text", "text": "h"},
            {"type": "text_delta", "text": "i"},
            {"type": "citations_delta", "citation": {}},
        ),
        *block_events(
            2,
            {"type": "tool_use", "name": "f", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"a"'},
            {"type": "input_json_delta", "partial_json": ": 1}"},
        ),
        *block_events(
            3,
            {"type": "tool_use", "name": "g", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"cut'},
        ),
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": 7}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": 9, "input_tokens": None},
        },
    )
    response = await anthropic(server, stream=True).generate("x")
    metadata = metadata_of(response)
    assert (response.text, metadata["reasoning"], metadata["response_id"]) == ("hi", "so", "msg_1")
    assert [call["input"] for call in metadata["tool_calls"]] == [{"a": 1}, '{"cut']
    assert (response.input_tokens, response.output_tokens) == (92, 9)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        {"error": {"type": "overloaded_error", "message": "Overloaded"}},
    ],
)
async def test_an_error_in_a_stream_of_messages_is_told(event: dict[str, Any]) -> None:
    """An error may come after a status of 200, and what was counted is kept."""
    opened = {"type": "message_start", "message": {"usage": {"input_tokens": 7}}}
    with pytest.raises(ProviderError, match="Overloaded") as caught:
        await anthropic(streaming(opened, event), stream=True).generate("x")
    assert caught.value.usage is not None
    assert caught.value.usage["input_tokens"] == 7
