"""From a reply of Responses to an ``LLMResponse``, or to the error that it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from batchllm.core import LLMResponse, normalize_usage
from batchllm.providers.openai.chat_answer import citations_of
from batchllm.providers.wire import (
    Cited,
    Finish,
    as_parts,
    check_answered,
    error_within,
    joined,
    make_response,
    malformed,
    mapping_of,
    mappings_of,
    normalize_finish,
)

__all__ = ["error_of", "read_response"]

_UNFINISHED: Final = frozenset({"in_progress", "queued", "cancelled"})


def error_of(reply: Mapping[str, Any]) -> object:
    """Return the error in *reply*, as the body of an error reply; ``None`` without one."""
    if not reply.get("error") and reply.get("status") == "failed":
        return {"error": {"code": "server_error", "message": "the response failed"}}
    return error_within(reply, answered=reply.get("output") is not None)


def read_response(
    reply: Mapping[str, Any], headers: Mapping[str, str], provider: str
) -> LLMResponse:
    """Read a response that carries no error.

    Raises:
        MalformedResponseError: It is not complete.
        EmptyResponseError: A filter or a refusal left no answer, or the text is empty.
    """
    usage, status = normalize_usage(mapping_of(reply.get("usage")) or None), reply.get("status")
    items = mappings_of(reply.get("output"))
    if (isinstance(status, str) and status in _UNFINISHED) or (not status and not items):
        msg = f"{provider} answered with a response that is not complete: {status!r}"
        raise malformed(msg, usage, headers)
    contents = [
        part
        for item in items
        if _is_message(item)
        for part in as_parts(item.get("content"), "output_text")
    ]
    tools = [item for item in items if str(item.get("type")).endswith("function_call")]
    refusal = joined(contents, "refusal", "refusal")
    reason = mapping_of(reply.get("incomplete_details")).get("reason") or status
    response = make_response(
        joined(contents, "output_text", "text"),
        finish=_finish(reason, bool(tools)),
        usage=usage,
        headers=headers,
        raw=reply,
        metadata={
            "provider_finish_reason": reason,
            "response_id": reply.get("id"),
            "model": reply.get("model"),
            "service_tier": reply.get("service_tier"),
            "tool_calls": tools or None,
            "refusal": refusal or None,
            "reasoning": _reasoning(items) or None,
            "logprobs": [one for part in contents for one in mappings_of(part.get("logprobs"))]
            or None,
            "citations": list(_citations(contents)) or None,
        },
    )
    check_answered(response, provider, refusal=refusal)
    return response


def _is_message(item: Mapping[str, Any]) -> bool:
    kind = item.get("type")
    return kind == "message" or (not isinstance(kind, str) and "content" in item)


def _finish(reason: object, has_tools: bool) -> Finish:
    return "tool" if has_tools and reason == "completed" else normalize_finish(reason)


def _reasoning(items: list[Mapping[str, Any]]) -> str:
    """Join the summaries; open models behind this wire give their thoughts in full instead."""
    thoughts = [item for item in items if item.get("type") == "reasoning"]
    for key, kind in (("summary", "summary_text"), ("content", "reasoning_text")):
        texts = [joined(as_parts(one.get(key), kind), kind, "text") for one in thoughts]
        if any(texts):
            return "\n".join(text for text in texts if text)
    return ""


def _citations(contents: list[Mapping[str, Any]]) -> Iterator[Cited]:
    offset = 0
    for part in contents:
        if part.get("type") != "output_text":
            continue
        yield from citations_of(part.get("annotations"), offset)
        text = part.get("text")
        offset += len(text) if isinstance(text, str) else 0
