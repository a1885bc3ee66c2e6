"""`POST …/v1/messages`, Anthropic's Messages."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from batchllm.simulator.wires.exchange import (
    Answer,
    Call,
    Context,
    Headers,
    Prefix,
    Problem,
    ProblemKind,
    StreamEvent,
    WireRequest,
)
from batchllm.simulator.wires.parsing import (
    SHORTEST_PREFIX,
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

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "refusal": "refusal",
    "unknown": "stopped_for_a_new_reason",
}
_ERROR_TYPES: Mapping[ProblemKind, str] = {
    "authentication": "authentication_error",
    "billing": "billing_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "timeout": "timeout_error",
    "conflict": "conflict_error",
    "payload_too_large": "request_too_large",
    "rate_limit": "rate_limit_error",
    "daily_limit": "rate_limit_error",
    "request_too_large": "rate_limit_error",
    "insufficient_quota": "enforced_spend_limit_reached",
    "slow_down": "rate_limit_error",
    "server_error": "api_error",
    "overloaded": "overloaded_error",
    "gateway_timeout": "timeout_error",
}
_LIFETIMES = {"5m": 300.0, "1h": 3600.0}
_TOKENS_PER_MESSAGE = 3


class AnthropicWire:
    """`POST …/messages`."""

    name = "anthropic"

    def matches(self, request: WireRequest) -> bool:
        """Return whether the request is for this wire."""
        return request.method == "POST" and request.path.endswith("/messages")

    def parse(self, request: WireRequest) -> Call:
        """Read the request.

        Raises:
            WireProblem: it is not valid.
        """
        if "anthropic-version" not in request.headers:
            invalid("anthropic-version: header is required")
        body = json_object(request)
        model = required_text(body, "model")
        if not isinstance(body.get("max_tokens"), int):
            invalid("max_tokens: Field required")
        messages = required_list(body, "messages")
        if not all(isinstance(message, Mapping) for message in messages):
            invalid("messages: each has to be an object")
        contents = [body.get("system"), *(message.get("content") for message in messages)]
        texts = [text_of(content) for content in contents if content]
        schema, tool = _schema_and_tool(body)
        return Call(
            model=model,
            prompt="\n".join(text for text, _ in texts),
            headline=texts[-1][0] if texts else "",
            digest=digest_of(model, body.get("system"), messages, schema),
            input_tokens=sum(
                count_tokens(text) + extra + _TOKENS_PER_MESSAGE for text, extra in texts
            ),
            tokens_allowed=body["max_tokens"],
            stream=bool(body.get("stream")),
            schema=schema,
            tool=tool,
            prefix=_marked_prefix(body, contents),
        )

    def body(self, call: Call, answer: Answer, context: Context) -> bytes:
        """The whole message as one JSON document."""
        message = _message(call, context) | {
            "content": [_block(call, answer)] if answer.text else [],
            "stop_reason": _stop_reason(call, answer),
            "stop_details": _stop_details(answer),
        }
        if not context.omit_usage:
            message["usage"] = _usage(answer)
        return dump(message).encode()

    def events(self, call: Call, answer: Answer, context: Context) -> Iterator[StreamEvent]:
        """The message event by event: input usage first, output usage last."""
        opened = _message(call, context)
        if not context.omit_usage:
            opened["usage"] = _usage(answer) | {"output_tokens": min(1, answer.output_tokens)}
        yield _event({"type": "message_start", "message": opened})
        yield _event({"type": "ping"})
        if answer.text:
            yield from _block_events(call, answer, context)
        if context.stream_problem is not None:
            error = json.loads(self.error(context.stream_problem, context, call))
            yield _event({"type": "error", "error": error["error"]})
            return
        if context.omit_terminal:
            return
        ending: dict[str, Any] = {
            "type": "message_delta",
            "delta": {"stop_reason": _stop_reason(call, answer), "stop_sequence": None},
        }
        if not context.omit_usage:
            ending["usage"] = {"output_tokens": answer.output_tokens}
        yield _event(ending)
        yield _event({"type": "message_stop"})

    def stream_type(self, call: Call) -> str:
        """The content type of a stream."""
        return EVENT_STREAM

    def error(self, problem: Problem, context: Context, call: Call | None) -> bytes:
        """The body of an error."""
        error = {
            "type": _ERROR_TYPES.get(problem.kind, "invalid_request_error"),
            "message": _words(problem),
        }
        reply = {"type": "error", "error": error, "request_id": context.request_id}
        return dump(reply).encode()

    def headers(self, context: Context) -> Headers:
        """The headers beside those of HTTP itself."""
        return (("request-id", context.request_id), *rate_headers(context, "anthropic"))


def _words(problem: Problem) -> str:
    match problem.kind:
        case "rate_limit" if problem.limit is not None:
            what = problem.dimension.replace("_", " ")
            return (
                f"This request would exceed your organization's rate limit of "
                f"{problem.limit:,.0f} {what} per minute."
            )
        case "context_length":
            return (
                f"prompt is too long: {problem.requested or 0:.0f} tokens > "
                f"{problem.limit or 0:.0f} maximum"
            )
        case _:
            return problem.message


def _schema_and_tool(body: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str | None]:
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if isinstance(wanted, Mapping) and wanted.get("type") == "json_schema":
        return wanted.get("schema") or {}, None
    choice = body.get("tool_choice") or {}
    for tool in body.get("tools") or ():
        if choice.get("type") == "any" or (
            choice.get("type") == "tool" and choice.get("name") == tool.get("name")
        ):
            return tool.get("input_schema") or {}, tool.get("name")
    return None, None


def _marked_prefix(body: Mapping[str, Any], contents: list[Any]) -> Prefix | None:
    """Return what lies before the last `cache_control` mark, if it is long enough to be kept."""
    blocks: list[Any] = [*(body.get("tools") or ())]
    for content in contents:
        blocks += content if isinstance(content, list) else [content]
    marks = [
        (number, block["cache_control"])
        for number, block in enumerate(blocks)
        if isinstance(block, Mapping) and block.get("cache_control")
    ]
    if body.get("cache_control"):
        marks.append((len(blocks) - 1, body["cache_control"]))
    if not marks:
        return None
    last, control = marks[-1]
    kept = blocks[: last + 1]
    tokens = sum(count_tokens(text_of(block)[0]) for block in kept)
    if tokens < SHORTEST_PREFIX:
        return None
    lifetime = _LIFETIMES.get(control.get("ttl", "5m"), 300.0)
    return Prefix(digest=digest_of(kept), tokens=tokens, lifetime=lifetime, explicit=True)


def _message(call: Call, context: Context) -> dict[str, Any]:
    return {
        "id": f"msg_{context.request_id}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
    }


def _usage(answer: Answer) -> dict[str, Any]:
    written, read = answer.cache_write_tokens, answer.cached_tokens
    return {
        "input_tokens": answer.input_tokens - written - read,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": answer.output_tokens,
        "service_tier": "standard",
    }


def _stop_reason(call: Call, answer: Answer) -> str:
    if call.tool and answer.finish == "stop":
        return "tool_use"
    return _STOP_REASONS[answer.finish]


def _stop_details(answer: Answer) -> dict[str, Any] | None:
    if answer.finish not in {"refusal", "content_filter"}:
        return None
    return {"type": "refusal", "category": "policy", "explanation": "Simulated refusal."}


def _block(call: Call, answer: Answer) -> dict[str, Any]:
    if not call.tool or answer.finish == "refusal":
        return {"type": "text", "text": answer.text}
    try:
        given = json.loads(answer.text)
    except ValueError:
        given = {"unparsed": answer.text}
    return {
        "type": "tool_use",
        "id": f"toolu_{call.digest[:12]}",
        "name": call.tool,
        "input": given,
    }


def _block_events(call: Call, answer: Answer, context: Context) -> Iterator[StreamEvent]:
    block = _block(call, answer)
    as_tool = block["type"] == "tool_use"
    nothing: dict[str, Any] = {"input": {}} if as_tool else {"text": ""}
    empty = block | nothing
    yield _event({"type": "content_block_start", "index": 0, "content_block": empty})
    pieces = pieces_of(answer.text)
    if context.stream_problem is not None:
        pieces = pieces[: len(pieces) // 2]
    for piece in pieces:
        delta = (
            {"type": "input_json_delta", "partial_json": piece}
            if as_tool
            else {"type": "text_delta", "text": piece}
        )
        yield _event(
            {"type": "content_block_delta", "index": 0, "delta": delta},
            tokens=count_tokens(piece),
        )
    if context.stream_problem is None:
        yield _event({"type": "content_block_stop", "index": 0})


def _event(data: Mapping[str, Any], tokens: int = 0) -> StreamEvent:
    return StreamEvent(event=data["type"], data=dump(data), tokens=tokens)
