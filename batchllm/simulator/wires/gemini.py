"""Gemini's `generateContent`, streamed and whole, and its embeddings."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from batchllm.simulator.wires.exchange import (
    Answer,
    Call,
    Context,
    Headers,
    Problem,
    StreamEvent,
    WireRequest,
)
from batchllm.simulator.wires.gemini_errors import gemini_error
from batchllm.simulator.wires.parsing import (
    count_tokens,
    digest_of,
    dump,
    invalid,
    json_object,
    pieces_of,
    required_list,
    text_of,
)
from batchllm.simulator.wires.sse import EVENT_STREAM

_PATH = re.compile(r".*/models/([^/:]+):(\w+)$")
_GENERATE = frozenset({"generateContent", "streamGenerateContent"})
_EMBED = frozenset({"embedContent", "batchEmbedContents"})
_FINISH = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "PROHIBITED_CONTENT",
    "unknown": "STOPPED_FOR_A_NEW_REASON",
}
_CATEGORIES = (
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
)


class GeminiWire:
    """`POST …/models/{model}:generateContent` and its relations."""

    name = "gemini"

    def matches(self, request: WireRequest) -> bool:
        """Return whether the request is for this wire."""
        found = _PATH.match(request.path)
        return bool(request.method == "POST" and found and found[2] in _GENERATE | _EMBED)

    def parse(self, request: WireRequest) -> Call:
        """Read the request.

        Raises:
            WireProblem: it is not valid.
        """
        found = _PATH.match(request.path)
        assert found is not None
        model, verb = found[1], found[2]
        body = json_object(request)
        if verb in _EMBED:
            return _parse_embedding(model, verb, body)
        streamed = verb == "streamGenerateContent"
        return _parse_generation(model, body, streamed, request.query.get("alt") == "sse")

    def body(self, call: Call, answer: Answer, context: Context) -> bytes:
        """The whole answer as one JSON document."""
        if call.kind == "embed":
            vectors = [{"values": list(vector)} for vector in answer.vectors]
            single = {"embedding": vectors[0]} if vectors else {}
            return dump({"embeddings": vectors} if call.details["many"] else single).encode()
        reply = _reply(call, answer.text, context)
        if answer.finish == "content_filter" and not answer.text:
            del reply["candidates"]
            reply["promptFeedback"] = {"blockReason": "SAFETY", "safetyRatings": _ratings("HIGH")}
        else:
            reply["candidates"][0] |= _closing(answer)
        if not context.omit_usage:
            reply["usageMetadata"] = _usage(answer)
        return dump(reply).encode()

    def events(self, call: Call, answer: Answer, context: Context) -> Iterator[StreamEvent]:
        """The answer in pieces, the last with its reason to finish; there is no closing mark."""
        documents = list(_documents(call, answer, context))
        for number, (document, tokens) in enumerate(documents):
            data = dump(document)
            if call.details["sse"]:
                yield StreamEvent(data=data, tokens=tokens)
            else:
                opening = "[" if number == 0 else ",\r\n"
                closing = "]" if number == len(documents) - 1 else ""
                yield StreamEvent(data=opening + data + closing, tokens=tokens, bare=True)

    def stream_type(self, call: Call) -> str:
        """Server-sent events with `alt=sse`, one JSON list without."""
        return EVENT_STREAM if call.details["sse"] else "application/json"

    def error(self, problem: Problem, context: Context, call: Call | None) -> bytes:
        """The body of an error."""
        model = "unknown" if call is None else call.model
        return dump(gemini_error(problem, context, model)).encode()

    def headers(self, context: Context) -> Headers:
        """Return nothing: Gemini has no headers for limits."""
        return (("server-timing", f"gfet4t7; dur={context.latency * 1000:.0f}"),)


def _parse_generation(model: str, body: Mapping[str, Any], streamed: bool, sse: bool) -> Call:
    contents = required_list(body, "contents")
    instruction = body.get("systemInstruction") or body.get("system_instruction")
    spoken = [instruction, *contents] if instruction else contents
    texts = [_content_text(content) for content in spoken]
    settings = body.get("generationConfig") or {}
    schema = settings.get("responseJsonSchema") or settings.get("responseSchema")
    cached = body.get("cachedContent")
    if cached and (instruction or body.get("tools")):
        invalid(
            "CachedContent can not be used with GenerateContent request setting "
            "system_instruction, tools or tool_config."
        )
    return Call(
        model=model,
        prompt="\n".join(text for text, _ in texts),
        headline=texts[-1][0],
        digest=digest_of(model, spoken, schema, bool(cached)),
        input_tokens=sum(count_tokens(text) + extra for text, extra in texts),
        tokens_allowed=settings.get("maxOutputTokens"),
        stream=streamed,
        schema=schema,
        details={
            "sse": sse,
            "cached_content": cached,
            "json": settings.get("responseMimeType") == "application/json",
        },
    )


def _parse_embedding(model: str, verb: str, body: Mapping[str, Any]) -> Call:
    many = verb == "batchEmbedContents"
    requests = required_list(body, "requests") if many else [body]
    texts = tuple(_content_text(request.get("content"))[0] for request in requests)
    if not all(texts):
        invalid("EmbedContentRequest.content: contents are not specified")
    return Call(
        kind="embed",
        model=model,
        prompt="\n".join(texts),
        headline=texts[0],
        digest=digest_of(model, texts),
        input_tokens=sum(count_tokens(text) for text in texts),
        texts=texts,
        details={"many": many, "dimensions": requests[0].get("outputDimensionality")},
    )


def _content_text(content: Any) -> tuple[str, int]:
    if isinstance(content, Mapping):
        return text_of(content.get("parts"))
    if not isinstance(content, str):
        invalid("Invalid value at 'contents': each has to be a Content object.")
    return content, 0


def _documents(
    call: Call, answer: Answer, context: Context
) -> Iterator[tuple[dict[str, Any], int]]:
    pieces = pieces_of(answer.text) or [""]
    for number, piece in enumerate(pieces):
        if context.stream_problem is not None and number >= len(pieces) // 2:
            yield gemini_error(context.stream_problem, context, call.model), 0
            return
        reply = _reply(call, piece, context)
        if number == len(pieces) - 1:
            if not context.omit_terminal:
                reply["candidates"][0] |= _closing(answer)
            if not context.omit_usage:
                reply["usageMetadata"] = _usage(answer)
        yield reply, count_tokens(piece)


def _reply(call: Call, text: str, context: Context) -> dict[str, Any]:
    content: dict[str, Any] = {"role": "model"}
    if text:
        content["parts"] = [{"text": text}]
    return {
        "candidates": [{"index": 0, "content": content}],
        "modelVersion": f"{call.model}-001",
        "responseId": context.request_id,
    }


def _closing(answer: Answer) -> dict[str, Any]:
    blocked = answer.finish in {"content_filter", "refusal"}
    return {
        "finishReason": _FINISH[answer.finish],
        "safetyRatings": _ratings("HIGH" if blocked else "NEGLIGIBLE"),
    }


def _ratings(probability: str) -> list[dict[str, Any]]:
    return [{"category": category, "probability": probability} for category in _CATEGORIES]


def _usage(answer: Answer) -> dict[str, Any]:
    said = answer.output_tokens - answer.reasoning_tokens
    counts = {
        "promptTokenCount": answer.input_tokens,
        "cachedContentTokenCount": answer.cached_tokens,
        "candidatesTokenCount": said,
        "thoughtsTokenCount": answer.reasoning_tokens,
    }
    usage: dict[str, Any] = {name: number for name, number in counts.items() if number}
    usage["totalTokenCount"] = answer.input_tokens + answer.output_tokens
    return usage
