"""Chat Completions byte by byte: what goes out, and the oddities that come back."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from batchllm.core import (
    ConfigError,
    EmptyResponseError,
    MalformedResponseError,
    ProviderError,
)
from batchllm.llm_strategies import llm
from batchllm.providers import PROFILES, ChatModel, ChatProfile
from tests.providers.wire_kit import Server

pytestmark = pytest.mark.anyio

PLAIN = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}


def model_of(server: Server, profile: str = "openai", **settings: Any) -> ChatModel:
    settings = {"base_url": "http://api.test/v1", "api_key": "secret-key-1"} | settings
    return ChatModel("m", profile=profile, http=server, **settings)


def events(*chunks: object, done: bool = True) -> bytes:
    texts = [chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks]
    return "".join(f"data: {text}\n\n" for text in texts + ["[DONE]"] * done).encode()


def streaming(*chunks: object, done: bool = True) -> Server:
    return Server(events(*chunks, done=done), content_type="text/event-stream; charset=utf-8")


def piece(content: Any = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "choices": [{"index": 0, "delta": {"content": content, **more}, "finish_reason": finish}]
    }


async def test_the_request_has_what_was_set() -> None:
    """Model, messages and parameters go out, max_tokens under the provider's name for it."""
    server = Server(PLAIN)
    parameters = {"max_tokens": 9, "seed": 3, "stop": ["x"], "temperature": 1.0, "user": None}
    model = model_of(server, parameters=parameters, extra={"new_thing": {"a": 1}})
    await model.generate("hello", system_instruction="be kind", temperature=0.5)
    assert server.sent == [
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "hello"},
            ],
            "max_completion_tokens": 9,
            "seed": 3,
            "stop": ["x"],
            "temperature": 0.5,
            "new_thing": {"a": 1},
        }
    ]
    assert server.requests[0].headers["authorization"] == "Bearer secret-key-1"
    assert server.requests[0].url.path == "/v1/chat/completions"


async def test_settings_of_one_call_win() -> None:
    """A call's config goes over the model's parameters, and its extra goes out unchecked."""
    server = Server(PLAIN)
    model = model_of(server, "mistral", parameters={"max_tokens": 9, "seed": 1})
    await model.generate("hello", config={"max_tokens": 5, "seed": 2, "extra": {"odd": True}})
    sent = server.sent[0]
    assert (sent["max_tokens"], sent["random_seed"], sent["odd"]) == (5, 2, True)
    assert "extra" not in sent


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("temprature", "unknown parameter 'temprature' for openai; did you mean 'temperature'?"),
        ("zzz", r"unknown parameter 'zzz' for openai\. To send it all the same, give it in extra"),
        ("top_k", "for openai"),
        ("messages", "'messages' cannot be set here: they are the prompt"),
        ("stream", "say stream=True"),
        ("n", "one call gives one answer"),
    ],
)
async def test_unknown_parameters_are_refused_by_name(name: str, words: str) -> None:
    """A parameter that would be ignored or refused is told before anything is sent."""
    with pytest.raises(ConfigError, match=words):
        model_of(Server(PLAIN), parameters={name: 1})
    server = Server(PLAIN)
    with pytest.raises(ConfigError, match=words):
        await model_of(server).generate("hello", config={name: 1})
    assert not server.sent


@pytest.mark.parametrize("profile", sorted(PROFILES))
async def test_each_profile_speaks_its_servers_dialect(profile: str) -> None:
    """Key header, names of fields and stream options are the profile's."""
    known = PROFILES[profile]
    server = streaming(piece("hi", "stop"))
    parameters = {"max_tokens": 5, "seed": 1}
    model = model_of(server, profile, parameters=parameters, stream=True)
    await model.generate("hello")
    (request,), (sent,) = server.requests, server.sent
    assert request.headers[known.auth_header] == known.auth_prefix + "secret-key-1"
    assert sent[known.max_tokens_field] == 5
    assert sent[known.seed_field] == 1
    assert sent["stream"] is True
    assert ("stream_options" in sent) is known.usage_in_stream
    assert model.quota_scope.provider == profile
    assert model.quota_scope.account != ""
    assert "secret-key-1" not in str(model.quota_scope)


def test_a_profile_of_ones_own_is_taken() -> None:
    """A ChatProfile can be given in place of a name, and a key is asked for where it says so."""
    mine = ChatProfile(provider="mine", base_url="http://mine.test", own_parameters=["knob"])
    with pytest.raises(ConfigError, match="mine needs a key"):
        ChatModel("m", profile=mine)
    assert ChatModel("m", profile=mine, api_key="k", parameters={"knob": 1}).profile is mine
    with pytest.raises(ConfigError, match="azure has no address of its own"):
        ChatModel("m", profile="azure", api_key="k")


def test_an_address_that_is_empty_is_not_the_usual_one() -> None:
    """A variable of a script that is not set must not send prompts and a key elsewhere."""
    for provider in ("openai", "anthropic", "gemini", "openai-compatible"):
        with pytest.raises(ConfigError, match=r"base_url is ''; give an address, or leave it out"):
            llm(f"{provider}:m", base_url="", api_key="k")


async def test_a_users_headers_win() -> None:
    """A header that the user gives is sent in place of ours, whatever its case."""
    server = Server(PLAIN)
    model = model_of(server, headers={"Authorization": "Custom x", "X-Team": "a"})
    await model.generate("hello")
    assert server.requests[0].headers["authorization"] == "Custom x"
    assert server.requests[0].headers["x-team"] == "a"


async def test_json_schema_goes_out_in_the_servers_mode() -> None:
    """A server without schemas gets JSON mode, and the schema in its instructions."""
    answer = {"choices": [{"message": {"content": '{"a": 1}'}, "finish_reason": "stop"}]}
    server = Server(answer)
    await model_of(server, schema={"type": "object"}, schema_name="Thing").generate("x")
    assert server.sent[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "Thing", "strict": True, "schema": {"type": "object"}},
    }
    deepseek = model_of(server, "deepseek", schema={"type": "object"})
    await deepseek.generate("x")
    await deepseek.generate("x", system_instruction="be kind")
    for sent, beginning in zip(
        server.sent[1:], ("Answer with one JSON", "be kind\n\nA"), strict=True
    ):
        assert sent["response_format"] == {"type": "json_object"}
        assert sent["messages"][0]["content"].startswith(beginning)
        assert '{"type":"object"}' in sent["messages"][0]["content"]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 12,
                "total_tokens": 21,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 7},
            },
            {
                "input_tokens": 9,
                "output_tokens": 12,
                "total_tokens": 21,
                "cached_input_tokens": 4,
                "cache_write_tokens": 2,
                "reasoning_tokens": 7,
            },
        ),
        (
            {"prompt_tokens": "9", "completion_tokens": 2.0, "prompt_cache_hit_tokens": 3},
            {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11, "cached_input_tokens": 3},
        ),
        (
            {"prompt_tokens": 1, "num_cached_tokens": 1, "prompt_tokens_details": None},
            {"input_tokens": 1, "total_tokens": 1, "cached_input_tokens": 1},
        ),
        ({"completion_tokens": 1}, {"output_tokens": 1, "total_tokens": 1}),
        ({"prompt_tokens": None, "completion_tokens": True}, {}),
        ({"prompt_tokens": -1, "completion_tokens": "many"}, {}),
        ({}, {}),
        ("free", {}),
        (None, {}),
    ],
)
async def test_usage_has_one_shape(usage: object, expected: Mapping[str, int]) -> None:
    """Counts are read wherever servers keep them, and what is no count is unknown."""
    for server, stream in (
        (Server({**PLAIN, "usage": usage}), False),
        (streaming(piece("hi"), piece("", "stop"), {"choices": [], "usage": usage}), True),
    ):
        response = await model_of(server, stream=stream).generate("hello")
        assert response.token_usage == expected


async def test_usage_in_groqs_own_place_is_found() -> None:
    """Groq's streams carry the counts in x_groq."""
    last = {**piece("", "stop"), "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}
    response = await model_of(streaming(piece("hi"), last), "groq", stream=True).generate("x")
    assert response.token_usage["total_tokens"] == 7


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"\n\n  \n" + json.dumps(PLAIN).encode(), "hi"),
        ({**PLAIN, "error": None, "choices": [*PLAIN["choices"], {}], "new": {"x": []}}, "hi"),
        ({"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}, "hi"),
        ({"id": 7, "choices": [{"message": {"content": "hi"}, "index": "0"}]}, "hi"),
        (
            {
                "choices": [
                    {"message": {"content": [{"type": "text", "text": "h"}, "?", {"text": "i"}]}}
                ]
            },
            "hi",
        ),
    ],
)
async def test_what_servers_make_of_an_answer_is_read(answer: object, text: str) -> None:
    """Blank lines, extra members, other types and content in parts do not hide the text."""
    assert (await model_of(Server(answer)).generate("x")).text == text


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ({"choices": []}, MalformedResponseError, "without a choice"),
        ({}, MalformedResponseError, "without a choice"),
        ({"choices": [{}]}, EmptyResponseError, "empty answer"),
        ([], MalformedResponseError, "no chat completion"),
        (b"\xff\xfe", MalformedResponseError, "no chat completion"),
        ({"error": "overloaded"}, ProviderError, "answered 200: overloaded"),
        ({"error": {"message": "slow", "code": 429}}, ProviderError, "answered 429: slow"),
        (
            {"choices": [{"message": {"content": "h"}, "finish_reason": "error"}]},
            MalformedResponseError,
            "half way",
        ),
        (
            {
                "choices": [],
                "prompt_filter_results": [{"content_filter_results": {"hate": {"filtered": True}}}],
            },
            EmptyResponseError,
            "stopped the prompt",
        ),
        (
            {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]},
            EmptyResponseError,
            "raise max_tokens",
        ),
    ],
)
async def test_what_is_no_answer_is_an_error(
    answer: object, error: type[Exception], words: str
) -> None:
    """Each way to have no answer has its own error."""
    with pytest.raises(error, match=words) as caught:
        await model_of(Server(answer, x_request_id="r9")).generate("x")
    assert type(caught.value) is error


async def test_a_status_inside_the_body_counts() -> None:
    """A success that carries an error with a status of its own is classified by that."""
    server = Server({"error": {"message": "try again in 2s", "code": 429}})
    with pytest.raises(ProviderError) as caught:
        await model_of(server, "openrouter").generate("x")
    assert caught.value.status == 429
    assert caught.value.hint is not None
    assert caught.value.hint.wait == pytest.approx(2.0)


async def test_tool_calls_pass_through() -> None:
    """An answer that only calls tools is one, with the calls in its metadata."""
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = {"content": None, "tool_calls": calls, "reasoning_content": "hm"}
    server = Server({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    response = await model_of(server).generate("x")
    assert response.text == ""
    assert response.metadata == {
        "finish_reason": "tool",
        "provider_finish_reason": "tool_calls",
        "tool_calls": calls,
        "reasoning": "hm",
    }


async def test_streamed_tool_calls_are_put_together() -> None:
    """Pieces of several calls, thoughts and a refusal come out whole."""
    server = streaming(
        piece("t", reasoning="h", tool_calls=[{"index": 1, "id": "b", "function": {"name": "g"}}]),
        piece(
            reasoning="m",
            refusal="no",
            tool_calls=[
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}},
                {"index": 0, "function": {"arguments": ":1}", "name": None}},
                {"function": None},
                "?",
            ],
        ),
        piece("", "tool_calls"),
    )
    response = await model_of(server, stream=True).generate("x")
    metadata = response.metadata or {}
    assert response.text == "t"
    assert [call["function"] for call in metadata["tool_calls"]] == [
        {"name": "f", "arguments": '{"x":1}'},
        {"name": "g", "arguments": ""},
    ]
    assert metadata["tool_calls"][0]["id"] == "a"
    assert (metadata["reasoning"], metadata["refusal"]) == ("hm", "no")


async def test_a_stream_keeps_what_it_told_once() -> None:
    """Model, fingerprint and filter results come from whichever chunk has them."""
    filtered = [{"content_filter_results": {"hate": {"filtered": True, "severity": "high"}}}]
    server = streaming(
        {"choices": [], "prompt_filter_results": filtered, "model": "m-1"},
        {"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "finish_reason": None}], "system_fingerprint": "fp"},
        "",
        {
            "choices": [
                {
                    "index": None,
                    "message": {"content": "hi"},
                    "finish_reason": "stop",
                    "content_filter_results": {"violence": [{"filtered": True}]},
                }
            ]
        },
        "[DONE]",
        piece("late"),
    )
    response = await model_of(server, "azure", stream=True).generate("x")
    assert response.text == "hi"
    assert response.metadata == {
        "finish_reason": "stop",
        "provider_finish_reason": "stop",
        "model": "m-1",
        "system_fingerprint": "fp",
        "prompt_filter_results": filtered,
        "content_filter_results": {"violence": [{"filtered": True}]},
    }


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
async def test_a_stream_answered_with_json_is_read(kind: str) -> None:
    """A server that does not stream is understood all the same."""
    server = Server({**PLAIN, "usage": {"prompt_tokens": 1}}, content_type=kind)
    response = await model_of(server, stream=True).generate("x")
    assert response.text == "hi"
    assert response.token_usage["input_tokens"] == 1


@pytest.mark.parametrize("body", [b"", b": hello\n\n", b"data: [DONE]\n\n", b"{}"])
async def test_a_stream_of_nothing_is_a_failure(body: bytes) -> None:
    """A stream without a single chunk is no empty answer."""
    server = Server(body, content_type="text/event-stream")
    with pytest.raises(MalformedResponseError, match="ended before it began"):
        await model_of(server, stream=True).generate("x")


async def test_a_stream_without_done_is_whole_with_its_finish() -> None:
    """The finish reason ends an answer, also where a server leaves [DONE] out."""
    server = streaming(piece("h"), piece("i", "stop"), done=False)
    assert (await model_of(server, stream=True).generate("x")).text == "hi"


async def test_a_broken_chunk_is_malformed() -> None:
    """A chunk that is no JSON fails the attempt."""
    with pytest.raises(MalformedResponseError, match="no chat completion"):
        await model_of(streaming(piece("h"), '{"choices": ['), stream=True).generate("x")


async def test_a_failed_stream_tells_what_it_cost() -> None:
    """Counts that arrived before a failure are in its error."""
    counted = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}
    for last in ({"error": {"message": "overloaded", "code": "server_error"}}, piece("more")):
        server = streaming(piece("h"), counted, last, done=False)
        with pytest.raises(ProviderError) as caught:
            await model_of(server, stream=True).generate("x")
        assert caught.value.usage == {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6}


async def test_a_server_that_repeats_the_key_does_not_show_it() -> None:
    """Neither an error body nor an unreadable one brings the key into a message."""
    echo = {"error": {"message": "bad key secret-key-1", "code": "secret-key-1"}}
    for server in (Server(echo, 401), Server(b"<p>secret-key-1</p>"), Server(echo, 302)):
        with pytest.raises(ProviderError) as caught:
            await model_of(server).generate("x")
        assert "secret-key-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "answered 500: no reason given"),
        (b"x" * 2_000, "x…"),
        (b'{"message": "gone\\n  away."}', "gone away$"),
    ],
)
async def test_error_bodies_are_told_in_one_line(body: bytes, words: str) -> None:
    """Empty, long and many-lined error texts make a readable message."""
    with pytest.raises(ProviderError, match=words) as caught:
        await model_of(Server(body, 500)).generate("x")
    assert len(str(caught.value)) < 700


async def test_messages_and_parts_take_the_wire_s_shape() -> None:
    """Chat messages go out as they are, and parts inside them in the provider's form."""
    data = base64.b64encode(b"png").decode()
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "data": b"png", "media_type": "image/png", "detail": "low"},
        {"type": "image", "url": "https://x.test/a.png"},
        {"type": "file", "data": data, "filename": "a.pdf"},
        {"type": "file", "file_id": "f1"},
        {"type": "file", "file": {"file_id": "f2"}},
        {"type": "input_audio", "input_audio": {}},
        {"type": "image", "data": f"data:image/gif;base64,{data}"},
    ]
    on_wire = [
        {"type": "text", "text": "What is it?"},
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{data}", "detail": "low"},
        },
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"},
        },
        {"type": "file", "file": {"file_id": "f1"}},
        {"type": "file", "file": {"file_id": "f2"}},
        {"type": "input_audio", "input_audio": {}},
        {"type": "image_url", "image_url": {"url": f"data:image/gif;base64,{data}"}},
    ]
    server = Server(PLAIN)
    model = model_of(server)
    await model.generate(parts)
    await model.generate([{"role": "user", "content": "a"}, {"role": "user", "content": parts}])
    assert server.sent[0]["messages"] == [{"role": "user", "content": on_wire}]
    assert server.sent[1]["messages"] == [
        {"role": "user", "content": "a"},
        {"role": "user", "content": on_wire},
    ]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (7, "the prompt is a int"),
        ([], "the prompt is a list"),
        (["a"], "the prompt is a list"),
        ([{"role": "user", "content": "x"}, {"text": "y"}], "message 1 has no role"),
        ([{"text": "y"}], "a content part has no type"),
        ([{"type": "image"}], "a part of type 'image' has no data"),
    ],
)
async def test_a_wrong_prompt_is_told(prompt: object, words: str) -> None:
    """A prompt of another shape fails with the shapes that are accepted."""
    server = Server(PLAIN)
    with pytest.raises(ValueError, match=words):
        await model_of(server).generate(prompt)
    assert not server.sent


def test_estimates_need_a_bound_on_the_answer() -> None:
    """With max_tokens a call's worst case is known, without it is not."""
    assert model_of(Server(PLAIN)).estimate("hello") is None
    model = model_of(Server(PLAIN), parameters={"max_tokens": 100})
    short, long = model.estimate("hello"), model.estimate([{"role": "user", "content": "ä" * 500}])
    assert short is not None
    assert long is not None
    assert (short.requests, short.output_tokens) == (1, 100)
    assert long.input_tokens >= 250
    parts = model.estimate([{"type": "text", "text": "x" * 400}, {"type": "image", "data": b""}])
    assert parts is not None
    assert parts.input_tokens >= 100


def test_identities_tell_models_apart() -> None:
    """All that changes an answer changes the identity, and the key is not in it."""
    one = model_of(Server(PLAIN)).identity()
    assert one == model_of(Server(PLAIN), api_key="another-key-2").identity()
    assert one != model_of(Server(PLAIN), parameters={"seed": 1}).identity()
    assert one != model_of(Server(PLAIN), schema={}).identity()
    assert "secret-key-1" not in str(one)


async def test_counts_under_another_wires_names_are_not_counted_twice() -> None:
    """LiteLLM repeats cached tokens under Anthropic's names, which are within the prompt's here."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    beside = {"cache_read_input_tokens": 4, "cache_creation_input_tokens": 2}
    server = Server({**PLAIN, "usage": {**usage, **beside}})
    response = await model_of(server).generate("hello")
    assert response.token_usage == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
