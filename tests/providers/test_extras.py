"""Parts of an answer beside its text come back alike: native and by SDKs, streamed or not."""

import json
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace as Thing
from typing import Any

import pytest

from batchllm.core import (
    Citation,
    LLMModel,
    LLMResponse,
    ProviderError,
    TokenLogprob,
    ToolCall,
)
from batchllm.llm_strategies import (
    AnthropicStrategy,
    OpenAIResponsesStrategy,
    OpenAIStrategy,
)
from batchllm.providers import (
    AnthropicModel,
    ChatModel,
    GeminiClient,
    GeminiModel,
    ResponsesModel,
)
from tests.providers.wire_kit import Server, streaming

pytestmark = pytest.mark.anyio

URL = "http://api.test/v1"
TOKENS = [
    {"token": "Sky", "logprob": -0.1, "top_logprobs": [{"token": "Sea", "logprob": -2.5}]},
    {"token": " blue.", "logprob": -0.2, "top_logprobs": []},
]
LOGPROBS = (
    TokenLogprob("Sky", -0.1, (TokenLogprob("Sea", -2.5),)),
    TokenLogprob(" blue.", -0.2),
)
WEB = {"url": "https://a.test", "title": "A"}
CALL = ToolCall("look", {"at": "sky"}, "c1")


def chat_reply() -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": "Sky blue.",
        "reasoning_content": "Look up.",
        "annotations": [
            {"type": "url_citation", "url_citation": {**WEB, "start_index": 0, "end_index": 3}}
        ],
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "look", "arguments": '{"at": "sky"}'},
            }
        ],
    }
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "r1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{**choice, "logprobs": {"content": TOKENS}}],
    }


def chat_events() -> list[Any]:
    base = {"id": "r1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    message = chat_reply()["choices"][0]["message"]
    (call,) = message["tool_calls"]
    deltas: list[dict[str, Any]] = [
        {"delta": {"reasoning_content": "Look "}},
        {"delta": {"reasoning_content": "up."}},
        {"delta": {"content": "Sky"}, "logprobs": {"content": TOKENS[:1]}},
        {"delta": {"content": " blue."}, "logprobs": {"content": TOKENS[1:]}},
        {"delta": {"annotations": message["annotations"]}},
        {"delta": {"tool_calls": [{"index": 0, **call}]}, "finish_reason": "stop"},
    ]
    return [{**base, "choices": [{"index": 0, **delta}]} for delta in deltas] + ["[DONE]"]


def responses_reply() -> dict[str, Any]:
    text = {
        "type": "output_text",
        "text": "Sky blue.",
        "annotations": [{"type": "url_citation", **WEB, "start_index": 0, "end_index": 3}],
        "logprobs": [{**token, "bytes": []} for token in TOKENS],
    }
    call = {"type": "function_call", "id": "fc1", "call_id": "c1", "name": "look"}
    return {
        "id": "r1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "completed",
        "output": [
            {
                "type": "reasoning",
                "id": "rs1",
                "summary": [{"type": "summary_text", "text": "Look up."}],
            },
            {
                "type": "message",
                "id": "m1",
                "role": "assistant",
                "status": "completed",
                "content": [text],
            },
            {**call, "arguments": '{"at": "sky"}'},
        ],
    }


def responses_events() -> list[Any]:
    delta = {"type": "response.output_text.delta", "item_id": "m1", "delta": "Sky"}
    whole = {"type": "response.completed", "response": responses_reply()}
    return [{**delta, "sequence_number": 1}, {**whole, "sequence_number": 2}]


def anthropic_reply() -> dict[str, Any]:
    found = {"type": "web_search_result_location", **WEB, "cited_text": "is blue"}
    return {
        "id": "r1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 2},
        "content": [
            {"type": "thinking", "thinking": "Look up.", "signature": "s"},
            {"type": "text", "text": "Sky", "citations": [found]},
            {"type": "text", "text": " blue.", "citations": None},
            {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "sky"}},
        ],
    }


def anthropic_events() -> list[Any]:
    reply = anthropic_reply()
    _, sky, _, tool = reply["content"]
    pieces = [
        ({"type": "thinking", "thinking": ""}, [("thinking_delta", "thinking", "Look up.")]),
        (
            {"type": "text", "text": ""},
            [("text_delta", "text", "Sky"), ("citations_delta", "citation", sky["citations"][0])],
        ),
        ({"type": "text", "text": ""}, [("text_delta", "text", " blue.")]),
        ({**tool, "input": {}}, [("input_json_delta", "partial_json", '{"at": "sky"}')]),
    ]
    events: list[Any] = [{"type": "message_start", "message": {**reply, "content": []}}]
    for index, (block, deltas) in enumerate(pieces):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [
            {"type": "content_block_delta", "index": index, "delta": {"type": kind, key: value}}
            for kind, key, value in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        *events,
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]


def sent_as_events(events: list[Any]) -> bytes:
    lines = []
    for event in events:
        kind = event.get("type") if isinstance(event, dict) else None
        data = event if isinstance(event, str) else json.dumps(event)
        lines.append((f"event: {kind}\n" if kind else "") + f"data: {data}\n\n")
    return "".join(lines).encode()


def client_of(package: str, body: bytes, kind: str, **settings: Any) -> Any:
    """A real client of that package, whose server gives one answer."""
    sdk = pytest.importorskip(package)
    httpx = pytest.importorskip(sdk.DefaultAsyncHttpxClient.__mro__[1].__module__.split(".")[0])

    class Pieces(httpx.AsyncByteStream):  # type: ignore[misc,name-defined]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield body

    def answer(request: Any) -> Any:
        return httpx.Response(200, headers={"content-type": kind}, stream=Pieces())

    http = sdk.DefaultAsyncHttpxClient(transport=httpx.MockTransport(answer))
    name = "AsyncOpenAI" if package == "openai" else "AsyncAnthropic"
    return getattr(sdk, name)(api_key="k", http_client=http, **settings)


STRATEGIES: dict[str, tuple[str, Callable[..., Any], Any, Any]] = {
    "chat": ("openai", OpenAIStrategy, chat_reply, chat_events),
    "responses": ("openai", OpenAIResponsesStrategy, responses_reply, responses_events),
    "anthropic": ("anthropic", AnthropicStrategy, anthropic_reply, anthropic_events),
}
NATIVE: dict[str, Callable[..., LLMModel]] = {
    "chat": ChatModel,
    "responses": ResponsesModel,
    "anthropic": AnthropicModel,
}


def model_of(wire: str, way: str, *, stream: bool) -> Any:
    package, strategy, whole, events = STRATEGIES[wire]
    if way == "native":
        server = streaming(*events()) if stream else Server(whole())
        return NATIVE[wire]("m", base_url=URL, api_key="k", http=server, stream=stream)
    kind = "text/event-stream" if stream else "application/json"
    body = sent_as_events(events()) if stream else json.dumps(whole()).encode()
    given = {"stream": True} if stream else {}
    return strategy(client_of(package, body, kind), "m", **given).model


# At [DONE] openai leaves a generator of its own unfinished, which Trio notices.
@pytest.mark.filterwarnings("ignore:Async generator 'openai._streaming:ResourceWarning")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("way", ["native", "sdk"])
@pytest.mark.parametrize("wire", sorted(STRATEGIES))
async def test_what_was_paid_for_comes_back(wire: str, way: str, stream: bool) -> None:
    """Reasoning, calls of tools, probabilities and sources, whoever carried them."""
    marks: list[None] = []
    model = model_of(wire, way, stream=stream)
    response: LLMResponse = await model.generate("?", progress=lambda: marks.append(None))
    assert response.text == "Sky blue."
    assert response.reasoning == "Look up."
    assert response.tool_calls == (CALL,)
    text = "is blue" if wire == "anthropic" else None
    assert response.citations == (Citation("https://a.test", "A", text, 0, 3),)
    assert response.logprobs == (() if wire == "anthropic" else LOGPROBS)
    assert bool(marks) is stream


GROUNDING = {
    "groundingChunks": [{"web": {"uri": "https://a.test", "title": "A"}}],
    "groundingSupports": [
        # In bytes: the first character is two of them.
        {
            "segment": {"partIndex": 1, "endIndex": 4, "text": "Äky"},
            "groundingChunkIndices": [0, 7],
        },
        {
            "segment": {"partIndex": 2, "startIndex": 1, "endIndex": 5, "text": "blue"},
            "groundingChunkIndices": [0],
        },
        # As some models count: from the beginning of the text.
        {
            "segment": {"startIndex": 5, "endIndex": 9, "text": "blue"},
            "groundingChunkIndices": [0],
        },
    ],
}


def gemini_reply() -> dict[str, Any]:
    parts = [
        {"text": "Look up.", "thought": True},
        {"text": "Äky"},
        {"text": " blue."},
        {"functionCall": {"id": "c1", "name": "look", "args": {"at": "sky"}}},
    ]
    candidate = {
        "content": {"parts": parts},
        "finishReason": "STOP",
        "groundingMetadata": GROUNDING,
        "logprobsResult": {
            "chosenCandidates": [{"token": "Äky", "logProbability": -0.1}],
            "topCandidates": [{"candidates": [{"token": "Sea", "logProbability": -2.5}]}],
        },
        "citationMetadata": {"citationSources": [{"endIndex": 10, "uri": "https://b.test"}]},
    }
    return {"candidates": [candidate]}


def check_gemini(response: LLMResponse) -> None:
    assert response.text == "Äky blue."
    assert response.reasoning == "Look up."
    assert response.tool_calls == (CALL,)
    assert response.logprobs == (TokenLogprob("Äky", -0.1, (TokenLogprob("Sea", -2.5),)),)
    assert response.citations == (
        Citation("https://a.test", "A", start=0, end=3),
        Citation("https://a.test", "A", start=4, end=8),
        Citation("https://a.test", "A", start=4, end=8),
        Citation("https://b.test", start=0, end=9),
    )


async def test_geminis_extras_come_by_googles_client_too() -> None:
    """Its objects have other names for the same fields."""
    types = pytest.importorskip("google.genai.types")
    reply = types.GenerateContentResponse.model_validate(gemini_reply())

    async def generate_content(**request: Any) -> Any:
        return reply

    client = Thing(aio=Thing(models=Thing(generate_content=generate_content)))
    check_gemini(await GeminiModel("m", client).generate("?"))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_geminis_extras_have_the_same_form(stream: bool) -> None:
    """Its bytes are characters here, and its own words for things are ours."""
    whole = gemini_reply()
    (candidate,) = whole["candidates"]
    first = {**candidate, "content": {"parts": candidate["content"]["parts"][:1]}}
    first = {key: first[key] for key in ("content", "logprobsResult")}
    rest = {**candidate, "content": {"parts": candidate["content"]["parts"][1:]}}
    del rest["logprobsResult"]
    events = [{"candidates": [one]} for one in (first, rest)]
    server = streaming(*events) if stream else Server(whole)
    client = GeminiClient("k", base_url="http://api.test/v1beta", http=server)
    response = await GeminiModel("m", client, stream=stream).generate("?")
    check_gemini(response)


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"citations": ["https://a.test"]}, Citation("https://a.test")),
        (
            {"citations": ["https://a.test"], "search_results": [WEB]},
            Citation("https://a.test", "A"),
        ),
    ],
)
async def test_sources_beside_the_choices_count(beside: dict[str, Any], expected: Citation) -> None:
    """Perplexity and xAI name them there."""
    reply = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], **beside}
    response = await ChatModel("m", api_key="k", http=Server(reply)).generate("?")
    assert response.citations == (expected,)


async def test_probabilities_in_their_old_form() -> None:
    """Together and old servers give two lists."""
    old = {"tokens": ["hi"], "token_logprobs": [-0.5]}
    choice = {"message": {"content": "hi"}, "finish_reason": "stop", "logprobs": old}
    response = await ChatModel("m", api_key="k", http=Server({"choices": [choice]})).generate("?")
    assert response.logprobs == (TokenLogprob("hi", -0.5),)


ERRORS: list[Any] = [
    {"error": {"message": "slow down, sk-secret-1", "code": 429}},
    {"object": "error", "message": "slow down, sk-secret-1", "code": 429},
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("wire", ["chat", "responses"])
@pytest.mark.parametrize("error", ERRORS)
async def test_an_error_in_a_200_keeps_code_and_words_by_a_real_client(
    wire: str, error: dict[str, Any], stream: bool
) -> None:
    """Gateways answer 200, and AsyncOpenAI takes that for an answer; streamed, it may raise."""
    package, strategy, _, _ = STRATEGIES[wire]
    kind = "text/event-stream" if stream else "application/json"
    body = sent_as_events([error, "[DONE]"]) if stream else json.dumps(error).encode()
    client = client_of(package, body, kind, base_url=URL)
    client.api_key = "sk-secret-1"
    given = {"stream": True} if stream else {}
    asked = strategy(client, "m", **given)
    with pytest.raises(Exception, match="slow down") as caught:
        await asked.model.generate("?")
    info = asked.error_classifier.classify(caught.value)
    assert info.is_rate_limit
    if isinstance(caught.value, ProviderError):
        assert caught.value.status == 429
        assert "sk-secret-1" not in str(caught.value)
