"""From a message of Anthropic's to an ``LLMResponse``, or to the error that it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchllm.core import LLMResponse, normalize_usage
from batchllm.providers.wire import (
    as_parts,
    check_answered,
    joined,
    make_response,
    malformed,
    mapping_of,
    normalize_finish,
)
from batchllm.transport import printable

__all__ = ["read_message"]


def read_message(reply: Mapping[str, Any], headers: Mapping[str, str]) -> LLMResponse:
    """Read a message that carries no error.

    Raises:
        MalformedResponseError: It has no content.
        EmptyResponseError: A filter or a refusal left no answer, or the text is empty.
    """
    usage, reason = normalize_usage(reply.get("usage")), reply.get("stop_reason")
    if not isinstance(reply.get("content"), (list, str)):
        msg = "anthropic answered with a message that has no content"
        raise malformed(msg, usage, headers)
    blocks = as_parts(reply["content"], "text")
    details = mapping_of(reply.get("stop_details"))
    response = make_response(
        joined(blocks, "text", "text"),
        finish=normalize_finish(reason),
        usage=usage,
        headers=headers,
        raw=reply,
        metadata={
            "provider_finish_reason": reason,
            "response_id": reply.get("id"),
            "model": reply.get("model"),
            "service_tier": mapping_of(reply.get("usage")).get("service_tier"),
            "stop_sequence": reply.get("stop_sequence"),
            "stop_details": details or None,
            "tool_calls": [one for one in blocks if one.get("type") == "tool_use"] or None,
            "reasoning": joined(blocks, "thinking", "thinking") or None,
        },
    )
    explanation = details.get("explanation")
    detail = f": {printable(str(explanation)[:200])}" if explanation else ""
    check_answered(response, "anthropic", detail=detail)
    return response
