"""Chat Completions: the shape of replies, and what each provider does its own way."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Desks = Callable[..., Any]

TOOL = {
    "type": "function",
    "function": {
        "name": "save",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}


def test_a_reply_has_the_documented_shape(desk: Desks) -> None:
    """Every field that clients read is there, and the tokens add up."""
    reply = desk().chat("hi").json
    (choice,) = reply["choices"]
    usage = reply["usage"]
    assert reply["object"] == "chat.completion"
    assert reply["model"] == "m"
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["refusal"] is None
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] == 4


def test_limits_are_told_on_every_reply(desk: Desks) -> None:
    """Six headers with Go durations, by the state after this request."""
    headers = desk("openai-tier1").chat("hi", max_tokens=496).headers
    told = {name: value for name, value in headers.items() if name.startswith("x-ratelimit")}
    assert told == {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-remaining-tokens": "29500",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-reset-tokens": "1s",
    }
    assert headers["x-request-id"] == "req_00000001"


def test_usage_in_a_stream_has_to_be_asked_for(desk: Desks) -> None:
    """Without `include_usage` no chunk has usage; with it the others say null."""
    assert '"usage"' not in desk().chat(stream=True).text
    chunks = [data for _, data in desk().chat(
        stream=True, stream_options={"include_usage": True}
    ).events if data != "[DONE]"]  # fmt: skip
    assert [chunk["usage"] is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]


def test_content_may_come_in_parts(desk: Desks) -> None:
    """Texts are joined, and a picture costs tokens."""
    text, picture = (
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "x"}},
    )
    asked = desk()
    message = {"role": "user", "content": [text, picture]}
    asked.chat(messages=[{"role": "system", "content": "be brief"}, message])
    entry = asked.simulator.log.entries[0]
    assert (entry.prompt, entry.input_tokens) == ("what?", 2 + 2 + 256 + 6)
    nothing = desk().chat(messages=[{"role": "assistant", "content": None}])
    assert nothing.json["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "save"}}])
def test_a_forced_tool_is_called(desk: Desks, choice: Any) -> None:
    """The answer is the tool's arguments; streamed it comes in pieces."""
    reply = desk().chat(tools=[TOOL], tool_choice=choice).json["choices"][0]
    (call,) = reply["message"]["tool_calls"]
    assert (reply["finish_reason"], call["function"]["name"]) == ("tool_calls", "save")
    arguments = json.loads(call["function"]["arguments"])
    assert isinstance(arguments["a"], int)
    events = desk().chat(tools=[TOOL], tool_choice=choice, stream=True).events
    deltas = [data["choices"][0]["delta"] for _, data in events if data != "[DONE]"]
    streamed = "".join(
        call["function"]["arguments"] for delta in deltas for call in delta.get("tool_calls", ())
    )
    assert json.loads(streamed) == arguments


def test_a_tool_that_is_free_is_not_called(desk: Desks) -> None:
    """Without a choice the answer is words."""
    reply = desk().chat(tools=[TOOL]).json["choices"][0]
    assert (reply["finish_reason"], "tool_calls" in reply["message"]) == ("stop", False)


def test_a_refusal_can_be_streamed(desk: Desks) -> None:
    """Its words come as refusal and not as content."""
    events = desk().chat("[[fault:refusal]]", stream=True).events
    deltas = [data["choices"][0]["delta"] for _, data in events if data != "[DONE]"]
    assert "".join(delta.get("refusal", "") for delta in deltas) == "I cannot help with that."


def test_long_prefixes_are_cached(desk: Desks) -> None:
    """The second request with a long system message reads it from the cache, for five minutes."""
    asked = desk("instant")
    system = {"role": "system", "content": "word " * 1200}

    def cached() -> int:
        messages = [system, {"role": "user", "content": "x"}]
        count = asked.chat(messages=messages).json["usage"]["prompt_tokens_details"][
            "cached_tokens"
        ]
        assert isinstance(count, int)
        return count

    assert [cached(), cached()] == [0, 1408]
    asked.now += 301
    assert cached() == 0


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("insufficient-quota", "insufficient_quota", "insufficient_quota"),
        ("slow-down", "rate_limit_error", "slow_down"),
        ("503", "service_unavailable_error", "server_is_overloaded"),
        ("too-large", "tokens", "rate_limit_exceeded"),
        ("daily-limit", "requests", "rate_limit_exceeded"),
        ("content-policy", "invalid_request_error", "content_policy_violation"),
    ],
)
def test_errors_have_type_and_code(desk: Desks, fault: str, kind: str, code: str) -> None:
    """Clients decide by the code, so it has to be right."""
    error = desk().chat(f"[[fault:{fault}]]").json["error"]
    assert (error["type"], error["code"]) == (kind, code)


def test_a_token_limit_names_itself(desk: Desks) -> None:
    """The message has limit, use, request and wait; the type is tokens."""
    body = {"model": "m", "max_tokens": 496, "messages": [{"role": "user", "content": "b"}]}
    asked = desk("default?tpm=600")
    asked.begin("POST", "/v1/chat/completions", body)
    error = asked.chat("b", max_tokens=496).json["error"]
    assert error["type"] == "tokens"
    assert (
        "per min (TPM): Limit 600, Used 500, Requested 500. Please try again in 40s."
        in (error["message"])
    )


def test_azure_is_itself(desk: Desks) -> None:
    """Deployment in the path, integer resets, its own words, filter results."""
    body = {"messages": [{"role": "user", "content": "x"}]}
    path = "/openai/deployments/dep/chat/completions?api-version=2024-10-21"
    asked = desk("azure?rpm=6")
    got = asked.send("POST", path, body)
    refused = asked.send("POST", path, body)
    assert got.json["model"] == "dep"
    assert "prompt_filter_results" in got.json
    assert "content_filter_results" in got.json["choices"][0]
    assert got.headers["x-ratelimit-reset-tokens"].isdigit()
    assert "x-ratelimit-limit-requests" not in got.headers
    assert refused.json["error"]["code"] == "429"
    assert "Please retry after 10 seconds" in refused.json["error"]["message"]
    assert refused.headers["retry-after-ms"] == "10000"
    filtered = asked.chat("[[fault:content-policy]]", model="other").json["error"]
    assert (filtered["code"], filtered["innererror"]["code"]) == (
        "content_filter", "ResponsibleAIPolicyViolation",
    )  # fmt: skip
    assert asked.chat("[[fault:500]]", model="third").json["error"]["code"] == "server_error"


def test_azure_may_tell_nothing(desk: Desks) -> None:
    """Some deployments send -1 and 0, also with a refusal."""
    asked = desk("azure?profile=azure-blind&rpm=6&hints=no")
    asked.chat()
    refused = asked.chat()
    assert refused.headers["x-ratelimit-remaining-requests"] == "-1"
    assert refused.headers["x-ratelimit-reset-tokens"] == "0"
    assert "retry-after" not in refused.headers
    assert "Please retry" not in refused.text


def test_groq_is_itself(desk: Desks) -> None:
    """Requests are told by the day, tokens by the minute; the minute's requests are hidden."""
    got = desk("groq").chat(stream=True)
    assert got.headers["x-ratelimit-limit-requests"] == "14400"
    assert got.headers["x-ratelimit-limit-tokens"] == "6000"
    last = [data for _, data in got.events if data != "[DONE]"][-1]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"]["queue_time"] > 0
    asked = desk("groq?rpm=1")
    asked.chat()
    refused = asked.chat()
    assert refused.headers["retry-after"] == "60"
    assert "retry-after-ms" not in refused.headers


def test_mistral_is_itself(desk: Desks) -> None:
    """Its headers name the minute, its throttle has code 1300, its validation errors a list."""
    asked = desk("mistral")
    got = asked.chat()
    refused = asked.chat()
    assert got.headers["x-ratelimit-limit-req-minute"] == "60"
    assert got.headers["x-ratelimit-limit-tokens-minute"] == "500000"
    assert set(got.json["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert refused.json["code"] == "1300"
    assert refused.json["raw_status_code"] == 429
    asked.now += 60
    assert "detail" in asked.chat("[[fault:422]]").json
    asked.now += 60
    assert asked.chat("[[fault:401]]").json["type"] == "invalid_request_error"


def test_openrouter_is_itself(desk: Desks) -> None:
    """Codes are numbers, usage has a cost, resets are in milliseconds of the epoch."""
    asked = desk("openrouter?rpm=1")
    got, refused = asked.chat(), asked.chat()
    assert got.json["usage"]["cost"] > 0
    assert got.json["provider"] == "Simulated"
    assert "x-ratelimit-limit" not in got.headers
    assert refused.json["error"]["code"] == 429
    assert refused.headers["x-ratelimit-reset"] == str((1_767_225_600 + 60) * 1000)
    assert '"usage":{' in desk("openrouter").chat(stream=True).text


def test_deepseek_is_itself(desk: Desks) -> None:
    """Cache hits and misses are told apart, limits are not told at all."""
    usage = desk("deepseek").chat().json["usage"]
    assert (
        usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"]
        == usage["prompt_tokens"]
    )
    assert not [name for name in desk("deepseek").chat().headers if "ratelimit" in name]


def test_vllm_and_ollama_are_themselves(desk: Desks) -> None:
    """vLLM's codes are numbers; Ollama's queue has its own words."""
    error = desk("queue").chat("[[fault:context-length]]").json["error"]
    assert (error["code"], error["type"]) == (400, "BadRequestError")
    assert desk("queue").chat("[[fault:500]]").json["error"]["type"] == "InternalServerError"
    busy = desk("ollama").chat("[[fault:503]]").json["error"]["message"]
    assert "maximum pending requests exceeded" in busy
    assert desk("ollama").chat("[[fault:404]]").json["error"]["type"] == "api_error"
