"""OpenAI's Responses byte by byte: what goes out, and the oddities that come back."""

from typing import Any

import pytest

from batchllm.core import EmptyResponseError, MalformedResponseError, ProviderError
from tests.providers.wire_kit import SCHEMA, Server, metadata_of, responses, streaming

pytestmark = pytest.mark.anyio


SAID = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
COMPLETED = {"id": "resp_1", "status": "completed", "model": "m-1", "output": [SAID]}


async def test_a_responses_request_has_what_was_set() -> None:
    """Input, instructions, limit and schema stand where Responses wants them."""
    said = {"type": "message", "content": [{"type": "output_text", "text": "{}"}]}
    server = Server({**COMPLETED, "output": [said]})
    model = responses(
        server,
        parameters={"max_tokens": 9, "text": {"verbosity": "low"}},
        extra={"new": 1},
        schema=SCHEMA,
        schema_name="Person",
    )
    config = {"top_p": 0.1, "extra": {"odd": True}}
    await model.generate("hello", system_instruction="be kind", temperature=0.5, config=config)
    wanted = {"type": "json_schema", "name": "Person", "strict": True, "schema": SCHEMA}
    assert server.sent == [
        {
            "model": "m",
            "input": "hello",
            "instructions": "be kind",
            "max_output_tokens": 9,
            "temperature": 0.5,
            "top_p": 0.1,
            "text": {"verbosity": "low", "format": wanted},
            "new": 1,
            "odd": True,
        }
    ]
    assert server.requests[0].headers["authorization"] == "Bearer secret-key-1"
    assert server.requests[0].url.path == "/v1/responses"


async def test_responses_has_its_own_words_for_parts() -> None:
    """Parts and items go out in the words of Responses; what only it knows goes out as it is."""
    server = Server(COMPLETED)
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "1"}
    parts = [
        {"type": "text", "text": "a"},
        {"type": "image", "url": "http://x.test/1.png", "detail": "low"},
        {"type": "image", "data": b"1"},
        {"type": "file", "file_id": "file-1"},
        {"type": "file", "url": "http://x.test/a.pdf"},
        {"type": "file", "data": b"1", "filename": "a.pdf"},
        {"type": "input_audio", "odd": 1},
    ]
    reply = {"role": "assistant", "content": [{"type": "text", "text": "b"}]}
    await responses(server).generate([{"role": "user", "content": parts}, reply, call, output])
    user, assistant, *items = server.sent[0]["input"]
    assert user["content"] == [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": "http://x.test/1.png", "detail": "low"},
        {"type": "input_image", "image_url": "data:image/png;base64,MQ=="},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_file", "file_url": "http://x.test/a.pdf"},
        {
            "type": "input_file",
            "filename": "a.pdf",
            "file_data": "data:application/pdf;base64,MQ==",
        },
        {"type": "input_audio", "odd": 1},
    ]
    assert assistant["content"] == [{"type": "output_text", "text": "b"}]
    assert items == [call, output]
    await responses(server).generate([output])
    assert server.sent[1]["input"] == [output]


async def test_a_message_without_a_role_is_told() -> None:
    """A prompt is either messages and items, or parts."""
    prompt = [{"role": "user", "content": "x"}, {"content": "y"}]
    with pytest.raises(ValueError, match="message 1 has no role"):
        await responses(Server(COMPLETED)).generate(prompt)
    with pytest.raises(ValueError, match=r"no type; its keys are \['text'\]"):
        await responses(Server(COMPLETED)).generate([{"text": "x"}])


async def test_a_responses_answer_is_read_whole() -> None:
    """Usage with its details, reasoning and calls of tools come back."""
    usage = {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 64},
        "total_tokens": 123,
    }
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]}
    tool = {"type": "function_call", "name": "f", "arguments": "{}"}
    output = [{"type": "reasoning", "summary": []}, thought, tool]
    response = await responses(Server({**COMPLETED, "output": output, "usage": usage})).generate(
        "x"
    )
    assert response.token_usage == {
        "input_tokens": 36,
        "output_tokens": 87,
        "total_tokens": 123,
        "cached_input_tokens": 4,
        "cache_write_tokens": 2,
        "reasoning_tokens": 64,
    }
    metadata = metadata_of(response)
    assert (metadata["finish_reason"], metadata["tool_calls"]) == ("tool", [tool])
    assert (metadata["reasoning"], metadata["response_id"]) == ("so", "resp_1")


@pytest.mark.parametrize("status", ["in_progress", "queued", "cancelled", None])
async def test_a_response_that_is_not_complete_is_none(status: str | None) -> None:
    """A status that is not an end, or none at all, is no answer."""
    with pytest.raises(MalformedResponseError, match="not complete"):
        await responses(Server({"status": status})).generate("x")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"error": {"code": "rate_limit_exceeded", "message": "slow"}}, "rate_limit_exceeded"),
        ({}, "server_error"),
    ],
)
async def test_a_failed_response_is_an_error(
    told: dict[str, Any], words: str, stream: bool
) -> None:
    """A success that says failed is a ProviderError, with what it cost."""
    usage = {"input_tokens": 5, "output_tokens": 1}
    failed = {"status": "failed", "usage": usage, **told}
    server = Server(failed)
    if stream:
        server = streaming({"type": "response.failed", "response": failed})
    with pytest.raises(ProviderError, match=words) as caught:
        await responses(server, stream=stream).generate("x")
    assert caught.value.usage == {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6}


async def test_a_filter_may_cut_a_response() -> None:
    """Incomplete by a content filter is no answer, even with some text."""
    cut = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    with pytest.raises(EmptyResponseError, match="content filter of openai") as caught:
        await responses(Server({**COMPLETED, **cut})).generate("x")
    assert caught.value.response.text == "hi"


async def test_a_last_event_without_output_is_completed_by_the_others() -> None:
    """Servers that leave the output out of the last event have told it before."""
    server = streaming(
        {"type": "response.created", "response": {"status": "in_progress"}},
        "",
        {"type": "response.output_item.done", "item": SAID},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
        "[DONE]",
        "never read",
    )
    assert (await responses(server, stream=True).generate("x")).text == "hi"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "server_error", "message": "broken"},
        {"type": "error", "error": {"code": "server_error", "message": "broken"}},
        {"error": {"code": "server_error", "message": "broken"}},
    ],
)
async def test_an_error_in_a_stream_of_responses_is_told(event: dict[str, Any]) -> None:
    """Each shape that an error event has been seen in is one."""
    with pytest.raises(ProviderError, match="server_error: broken"):
        await responses(streaming(event), stream=True).generate("x")
