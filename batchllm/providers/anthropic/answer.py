"""From a message of Anthropic's to an ``LLMResponse``, or to the error that it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchllm.core import LLMResponse, normalize_usage
from batchllm.providers.wire import (
    Cited,
    as_parts,
    check_answered,
    cited,
    joined,
    make_response,
    malformed,
    mapping_of,
    mappings_of,
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
    # A block without a type is a text.
    blocks: list[Mapping[str, Any]] = [
        {"type": "text", **block} for block in as_parts(reply["content"], "text")
    ]
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
            "citations": list(_citations(blocks)) or None,
        },
    )
    explanation = details.get("explanation")
    detail = f": {printable(str(explanation)[:200])}" if explanation else ""
    check_answered(response, "anthropic", detail=detail)
    return response


def _citations(blocks: list[Mapping[str, Any]]) -> Iterator[Cited]:
    """Give the sources of each text; where they stand in the answer is where its text stands."""
    end = 0
    for block in blocks:
        text = block.get("text")
        if block.get("type") != "text" or not isinstance(text, str):
            continue
        start, end = end, end + len(text)
        for one in mappings_of(block.get("citations")):
            document = one.get("file_id") or one.get("source")
            yield cited(
                url=one.get("url"),
                title=one.get("title") or one.get("document_title"),
                text=one.get("cited_text"),
                start=start,
                end=end,
                source=document if document is not None else one.get("document_index"),
            )
