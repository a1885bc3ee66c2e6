"""`POST …/responses`, OpenAI's Responses."""

from collections.abc import Iterator, Mapping
from itertools import count
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
    required_text,
    text_of,
)
from batchllm.simulator.wires.rate_headers import rate_headers
from batchllm.simulator.wires.sse import EVENT_STREAM

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_TOKENS_PER_MESSAGE = 3
_NEW_STATUS = "stopped_for_a_new_reason"


class ResponsesWire:
    """`POST …/responses`."""

    name = "responses"

    def matches(self, request: WireRequest) -> bool:
        """Return whether the request is for this wire."""
        return request.method == "POST" and request.path.endswith("/responses")

    def parse(self, request: WireRequest) -> Call:
        """Read the request.

        Raises:
            WireProblem: it is not valid.
        """
        body = json_object(request)
        model = required_text(body, "model")
        texts = _input_texts(body)
        schema, tool = _schema_and_tool(body)
        tokens = (count_tokens(text) + extra + _TOKENS_PER_MESSAGE for text, extra in texts)
        return Call(
            model=model,
            prompt="\n".join(text for text, _ in texts),
            headline=texts[-1][0],
            digest=digest_of(model, body.get("instructions"), body["input"], schema),
            input_tokens=sum(tokens),
            tokens_allowed=body.get("max_output_tokens"),
            stream=bool(body.get("stream")),
            schema=schema,
            tool=tool,
            prefix=automatic_prefix(texts[0][0]),
            details={"json": _format_of(body).get("type") == "json_object"},
        )

    def body(self, call: Call, answer: Answer, context: Context) -> bytes:
        """The whole response as one JSON document."""
        return dump(_response(call, answer, context)).encode()

    def events(self, call: Call, answer: Answer, context: Context) -> Iterator[StreamEvent]:
        """The response event by event, each with its number."""
        numbers = count()
        for event in _events(call, answer, context):
            numbered = {**event, "sequence_number": next(numbers)}
            piece = event["delta"] if event["type"].endswith(".delta") else ""
            yield StreamEvent(event=event["type"], data=dump(numbered), tokens=count_tokens(piece))

    def stream_type(self, call: Call) -> str:
        """The content type of a stream."""
        return EVENT_STREAM

    def error(self, problem: Problem, context: Context, call: Call | None) -> bytes:
        """The body of an error."""
        model = "unknown" if call is None else call.model
        return dump(chat_error(problem, context, model)).encode()

    def headers(self, context: Context) -> Headers:
        """The headers beside those of HTTP itself."""
        return (("x-request-id", context.request_id), *rate_headers(context))


def _input_texts(body: Mapping[str, Any]) -> list[tuple[str, int]]:
    texts = []
    if isinstance(body.get("instructions"), str):
        texts.append((body["instructions"], 0))
    given = body.get("input")
    if isinstance(given, str) and given:
        return [*texts, (given, 0)]
    if not isinstance(given, list) or not given:
        invalid("Invalid 'input': expected a text or a list with at least one item.")
    for item in given:
        if not isinstance(item, Mapping):
            invalid("Invalid 'input': each item has to be an object.")
        texts.append(text_of(item.get("content")))
    return texts


def _format_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    wanted = (body.get("text") or {}).get("format")
    return wanted if isinstance(wanted, Mapping) else {}


def _schema_and_tool(body: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str | None]:
    wanted = _format_of(body)
    if wanted.get("type") == "json_schema":
        if not wanted.get("name"):
            invalid("Missing required parameter: 'text.format.name'.")
        return wanted.get("schema") or {}, None
    choice = body.get("tool_choice")
    named = choice.get("name") if isinstance(choice, Mapping) else None
    for tool in body.get("tools") or ():
        if choice == "required" or (named is not None and tool.get("name") == named):
            return tool.get("parameters") or {}, tool.get("name")
    return None, None


def _response(call: Call, answer: Answer, context: Context) -> dict[str, Any]:
    reason = _INCOMPLETE.get(answer.finish)
    status = "incomplete" if reason else "completed"
    response = _skeleton(call, context) | {
        "status": _NEW_STATUS if answer.finish == "unknown" else status,
        "completed_at": int(context.now),
        "incomplete_details": {"reason": reason} if reason else None,
        "output": [_item(call, answer, context)] if answer.text else [],
    }
    if not context.omit_usage:
        response["usage"] = _usage(answer)
    return response


def _skeleton(call: Call, context: Context) -> dict[str, Any]:
    return {
        "id": f"resp_{context.request_id}",
        "object": "response",
        "created_at": int(context.now),
        "status": "in_progress",
        "model": call.model,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "output": [],
        "parallel_tool_calls": True,
        "service_tier": "default",
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
    }


def _usage(answer: Answer) -> dict[str, Any]:
    return {
        "input_tokens": answer.input_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }


def _item(call: Call, answer: Answer, context: Context) -> dict[str, Any]:
    if call.tool and answer.finish != "refusal":
        return {
            "type": "function_call",
            "id": f"fc_{context.request_id}",
            "call_id": f"call_{call.digest[:12]}",
            "name": call.tool,
            "arguments": answer.text,
            "status": "completed",
        }
    return {
        "type": "message",
        "id": f"msg_{context.request_id}",
        "role": "assistant",
        "status": "incomplete" if answer.finish in _INCOMPLETE else "completed",
        "content": [_part(answer, answer.text)],
    }


def _part(answer: Answer, text: str) -> dict[str, Any]:
    if answer.finish == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": []}


def _events(call: Call, answer: Answer, context: Context) -> Iterator[dict[str, Any]]:
    skeleton = _skeleton(call, context)
    yield {"type": "response.created", "response": skeleton}
    yield {"type": "response.in_progress", "response": skeleton}
    if answer.text:
        yield from _item_events(call, answer, context)
    if context.stream_problem is not None:
        problem = chat_error(context.stream_problem, context, call.model)["error"]
        yield {
            "type": "error",
            "code": problem.get("code"),
            "message": problem["message"],
            "param": None,
        }
        return
    if context.omit_terminal:
        return
    kind = "incomplete" if answer.finish in _INCOMPLETE else "completed"
    yield {"type": f"response.{kind}", "response": _response(call, answer, context)}


def _item_events(call: Call, answer: Answer, context: Context) -> Iterator[dict[str, Any]]:
    item = _item(call, answer, context)
    if item["type"] == "function_call":
        family, done = "function_call_arguments", {"arguments": answer.text}
        place = {"item_id": item["id"], "output_index": 0}
        opened = item | {"arguments": "", "status": "in_progress"}
    else:
        family, done = "output_text", {"text": answer.text}
        if answer.finish == "refusal":
            family, done = "refusal", {"refusal": answer.text}
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        opened = item | {"content": [], "status": "in_progress"}
    yield {"type": "response.output_item.added", "output_index": 0, "item": opened}
    parts = "content_index" in place
    if parts:
        yield {"type": "response.content_part.added", **place, "part": _part(answer, "")}
    pieces = pieces_of(answer.text)
    if context.stream_problem is not None:
        pieces = pieces[: len(pieces) // 2]
    for piece in pieces:
        yield {"type": f"response.{family}.delta", **place, "delta": piece}
    if context.stream_problem is not None:
        return
    yield {"type": f"response.{family}.done", **place, **done}
    if parts:
        yield {"type": "response.content_part.done", **place, "part": _part(answer, answer.text)}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
