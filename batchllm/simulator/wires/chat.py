"""Chat Completions, as OpenAI and the providers that copied it speak it."""

from collections.abc import Iterator, Mapping
from typing import Any

from batchllm.simulator.wires.chat_errors import chat_error
from batchllm.simulator.wires.exchange import (
    Answer,
    Call,
    Context,
    Headers,
    Problem,
    StreamEvent,
    WireRequest,
)
from batchllm.simulator.wires.parsing import (
    automatic_prefix,
    count_tokens,
    digest_of,
    dump,
    invalid,
    json_object,
    pieces_of,
    required_list,
    required_text,
    text_of,
)
from batchllm.simulator.wires.rate_headers import rate_headers
from batchllm.simulator.wires.sse import EVENT_STREAM

_FINISH = {"refusal": "stop", "unknown": "stopped_for_a_new_reason"}
_USAGE_IN_LAST_CHUNK = frozenset({"mistral", "groq", "deepseek"})
_USAGE_ALWAYS = _USAGE_IN_LAST_CHUNK | {"openrouter"}
_TOKENS_PER_MESSAGE = 3


class ChatWire:
    """`POST …/chat/completions`."""

    name = "chat"

    def matches(self, request: WireRequest) -> bool:
        """Return whether the request is for this wire."""
        return request.method == "POST" and request.path.endswith("/chat/completions")

    def parse(self, request: WireRequest) -> Call:
        """Read the request.

        Raises:
            WireProblem: it is not valid.
        """
        body = json_object(request)
        model = _deployment(request.path) or required_text(body, "model")
        messages = required_list(body, "messages")
        texts = [_message_text(message) for message in messages]
        schema, tool = _schema_and_tool(body)
        options = body.get("stream_options") or {}
        kind = (body.get("response_format") or {}).get("type")
        return Call(
            model=model,
            prompt="\n".join(text for text, _ in texts),
            headline=texts[-1][0],
            digest=digest_of(model, messages, schema),
            input_tokens=sum(
                count_tokens(text) + extra + _TOKENS_PER_MESSAGE for text, extra in texts
            ),
            tokens_allowed=body.get("max_completion_tokens") or body.get("max_tokens"),
            stream=bool(body.get("stream")),
            include_usage=bool(options.get("include_usage")),
            schema=schema,
            tool=tool,
            prefix=automatic_prefix(texts[0][0]),
            details={"json": kind == "json_object"},
        )

    def body(self, call: Call, answer: Answer, context: Context) -> bytes:
        """The whole answer as one JSON document."""
        choice = {
            "index": 0,
            "finish_reason": _finish(call, answer),
            "logprobs": None,
            "message": _message(call, answer),
        }
        reply = _envelope(call, context, "chat.completion") | {"choices": [choice]}
        if not context.omit_usage:
            reply["usage"] = chat_usage(answer, context)
        _adorn(reply, answer, context)
        return dump(reply).encode()

    def events(self, call: Call, answer: Answer, context: Context) -> Iterator[StreamEvent]:
        """The answer in pieces, with usage and `[DONE]` at the end unless a fault takes them."""
        yield _chunk(call, context, {"role": "assistant", "content": ""})
        pieces = pieces_of(answer.text)
        for number, piece in enumerate(pieces):
            if context.stream_problem is not None and number >= len(pieces) // 2:
                problem = chat_error(context.stream_problem, context, call.model)
                yield StreamEvent(data=dump(problem))
                return
            yield _chunk(call, context, _delta(call, answer, piece), tokens=count_tokens(piece))
        if context.omit_terminal:
            return
        wanted = call.include_usage or context.profile in _USAGE_ALWAYS
        usage = chat_usage(answer, context) if wanted and not context.omit_usage else None
        inside = usage if context.profile in _USAGE_IN_LAST_CHUNK else None
        yield _chunk(call, context, {}, finish=_finish(call, answer), usage=inside)
        if usage is not None and inside is None:
            last = _envelope(call, context, "chat.completion.chunk")
            yield StreamEvent(data=dump(last | {"choices": [], "usage": usage}))
        yield StreamEvent(data="[DONE]")

    def stream_type(self, call: Call) -> str:
        """The content type of a stream."""
        return EVENT_STREAM

    def error(self, problem: Problem, context: Context, call: Call | None) -> bytes:
        """The body of an error."""
        model = "unknown" if call is None else call.model
        return dump(chat_error(problem, context, model)).encode()

    def headers(self, context: Context) -> Headers:
        """The headers beside those of HTTP itself."""
        own: Headers = (("x-request-id", context.request_id),)
        match context.profile:
            case "azure" | "azure-blind":
                own += (("apim-request-id", context.request_id),)
            case "openrouter":
                own += (("X-Generation-Id", f"gen-{context.request_id}"),)
            case "mistral":
                own += (("mistral-correlation-id", context.request_id),)
            case "openai":
                own += (("openai-processing-ms", str(round(context.latency * 1000))),)
            case _:
                pass
        return own + rate_headers(context)


def chat_usage(answer: Answer, context: Context) -> dict[str, Any]:
    """Token counts with the details that the profile has."""
    total = answer.input_tokens + answer.output_tokens
    usage: dict[str, Any] = {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": total,
    }
    match context.profile:
        case "deepseek":
            usage["prompt_cache_hit_tokens"] = answer.cached_tokens
            usage["prompt_cache_miss_tokens"] = answer.input_tokens - answer.cached_tokens
        case "vllm" | "ollama" | "mistral":
            return usage
        case "openrouter":
            usage["cost"] = round(total * 1e-6, 9)
            usage["is_byok"] = False
        case "groq":
            usage |= {"queue_time": 0.001, "prompt_time": 0.002, "completion_time": 0.01}
        case _:
            pass
    usage["prompt_tokens_details"] = {"cached_tokens": answer.cached_tokens}
    usage["completion_tokens_details"] = {"reasoning_tokens": answer.reasoning_tokens}
    return usage


def _deployment(path: str) -> str | None:
    _, found, after = path.partition("/openai/deployments/")
    return after.partition("/")[0] if found else None


def _message_text(message: Any) -> tuple[str, int]:
    if not isinstance(message, Mapping) or "role" not in message:
        invalid("Invalid 'messages': each needs a 'role'.")
    return text_of(message.get("content"))


def _schema_and_tool(body: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str | None]:
    wanted = body.get("response_format")
    if isinstance(wanted, Mapping) and wanted.get("type") == "json_schema":
        described = wanted.get("json_schema")
        if not isinstance(described, Mapping) or not described.get("name"):
            invalid("Missing required parameter: 'response_format.json_schema.name'.")
        return described.get("schema") or {}, None
    for tool in body.get("tools") or ():
        function = tool.get("function") or {}
        if _tool_is_forced(body.get("tool_choice"), function.get("name")):
            return function.get("parameters") or {}, function.get("name")
    return None, None


def _tool_is_forced(choice: Any, name: str | None) -> bool:
    if isinstance(choice, Mapping):
        choice = (choice.get("function") or {}).get("name")
        return bool(choice == name)
    return bool(choice == "required")


def _finish(call: Call, answer: Answer) -> str:
    if call.tool and answer.finish == "stop":
        return "tool_calls"
    return _FINISH.get(answer.finish, answer.finish)


def _message(call: Call, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.finish == "refusal":
        message |= {"content": None, "refusal": answer.text}
    elif call.tool:
        message |= {"content": None, "tool_calls": [_tool_call(call, answer.text)]}
    return message


def _tool_call(call: Call, arguments: str) -> dict[str, Any]:
    function = {"name": call.tool, "arguments": arguments}
    return {"id": f"call_{call.digest[:12]}", "type": "function", "function": function}


def _delta(call: Call, answer: Answer, piece: str) -> dict[str, Any]:
    if answer.finish == "refusal":
        return {"refusal": piece}
    if call.tool:
        return {"tool_calls": [{"index": 0, **_tool_call(call, piece)}]}
    return {"content": piece}


def _envelope(call: Call, context: Context, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{context.request_id}",
        "object": kind,
        "created": int(context.now),
        "model": call.model,
        "system_fingerprint": "fp_sim",
    }


def _chunk(
    call: Call,
    context: Context,
    delta: Mapping[str, Any],
    *,
    tokens: int = 0,
    finish: str | None = None,
    usage: Mapping[str, Any] | None = None,
) -> StreamEvent:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = _envelope(call, context, "chat.completion.chunk") | {"choices": [choice]}
    if call.include_usage or usage is not None:
        chunk["usage"] = usage
    return StreamEvent(data=dump(chunk), tokens=tokens)


def _adorn(reply: dict[str, Any], answer: Answer, context: Context) -> None:
    match context.profile:
        case "azure" | "azure-blind":
            verdict = {"hate": {"filtered": answer.finish == "content_filter", "severity": "safe"}}
            reply["prompt_filter_results"] = [
                {"prompt_index": 0, "content_filter_results": verdict}
            ]
            reply["choices"][0]["content_filter_results"] = verdict
        case "openrouter":
            reply["provider"] = "Simulated"
            reply["choices"][0]["native_finish_reason"] = reply["choices"][0]["finish_reason"]
        case "openai":
            reply["service_tier"] = "default"
        case _:
            pass
