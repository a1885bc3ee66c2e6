"""From a ``generateContent`` reply to an ``LLMResponse``, whoever's client fetched it.

The reply is the wire's JSON, an object of Google's SDK, or a stand-in with the same attributes:
every field is looked up by its name in snake case, and in camel case where it is JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, cast

from batchllm.core import LLMResponse, TokenUsage, read_count
from batchllm.providers.gemini.prompt import camel_case, camel_name
from batchllm.providers.wire import (
    Finish,
    check_answered,
    make_response,
    malformed,
    normalize_finish,
)

__all__ = ["look", "read_reply", "read_usage"]

_COUNTS: Final = (
    "prompt_token_count",
    "tool_use_prompt_token_count",
    "candidates_token_count",
    "thoughts_token_count",
    "cached_content_token_count",
    "total_token_count",
)
_WIRE_NAMES: Final = {
    name: camel_name(name)
    for name in (
        "block_reason",
        "cached_content_token_count",
        "candidates_token_count",
        "finish_reason",
        "function_call",
        "model_version",
        "prompt_feedback",
        "prompt_token_count",
        "response_id",
        "safety_ratings",
        "thoughts_token_count",
        "tool_use_prompt_token_count",
        "total_token_count",
        "usage_metadata",
    )
}


def look(value: object, name: str) -> Any:
    """The field *name* of JSON, of an SDK's object or of a stand-in; ``None`` without it."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        found = fields.get(_WIRE_NAMES.get(name, name))
        return fields.get(name) if found is None else found
    return getattr(value, name, None)


def read_reply(reply: object, headers: Mapping[str, str]) -> LLMResponse:
    """Read a reply that carries no error.

    Metadata beside those of every provider: ``safety_ratings`` (category to probability), and
    where there are any ``block_reason``, ``tool_calls`` and ``reasoning``. Thoughts are no part
    of the text.

    Raises:
        MalformedResponseError: It has neither a candidate nor a reason, or failed half way.
        EmptyResponseError: A filter left no answer, or the text is empty.
    """
    usage = read_usage(reply)
    candidates = _list(look(reply, "candidates"))
    feedback = look(reply, "prompt_feedback")
    block = _word(look(feedback, "block_reason"))
    text = look(reply, "text") if not candidates and not isinstance(reply, dict) else None
    if not candidates and not block and not isinstance(text, str):
        msg = "gemini answered without a candidate, and without a reason for it"
        raise malformed(msg, usage, headers)
    candidate = candidates[0] if candidates else None
    parts = _list(look(look(candidate, "content"), "parts"))
    reason = block or _word(look(candidate, "finish_reason"))
    tools = [call for part in parts if (call := look(part, "function_call")) is not None]
    finish = _finish(reason, block is not None, bool(tools))
    if finish == "error":
        msg = f"gemini failed half way: finish reason {reason!r}"
        raise malformed(msg, usage, headers)
    ratings = _ratings(candidate) or _ratings(feedback)
    response = make_response(
        text if isinstance(text, str) else _texts(parts, thought=False),
        finish=finish,
        usage=usage,
        headers=headers,
        raw=reply,
        metadata={
            "provider_finish_reason": reason,
            "request_id": look(reply, "response_id"),
            "response_id": look(reply, "response_id"),
            "model": look(reply, "model_version"),
            "safety_ratings": ratings,
            "block_reason": block,
            "tool_calls": camel_case(tools) or None,
            "reasoning": _texts(parts, thought=True) or None,
        },
    )
    check_answered(response, "gemini", detail=_detail(reason, ratings))
    return response


def read_usage(reply: object) -> TokenUsage | None:
    """The token counts; ``None`` where there are none."""
    told = look(reply, "usage_metadata")
    counts = {
        name: count for name in _COUNTS if (count := read_count(look(told, name))) is not None
    }
    if not counts:
        return None
    # Counts of zero are left out. Thoughts are counted beside the candidates, and what tools
    # were asked beside the prompt.
    prompt, tools, said, thoughts, cached = (counts.get(name, 0) for name in _COUNTS[:-1])
    usage: TokenUsage = {
        "input_tokens": prompt + tools,
        "output_tokens": said + thoughts,
        "total_tokens": counts.get(_COUNTS[-1], prompt + tools + said + thoughts),
        "cached_input_tokens": cached,
    }
    if thoughts:
        usage["reasoning_tokens"] = thoughts
    return usage


def _finish(reason: str | None, blocked: bool, has_tools: bool) -> Finish:
    if blocked:
        return "filtered"
    finish = normalize_finish(reason)
    return "tool" if has_tools and finish == "stop" else finish


def _word(value: object) -> str | None:
    if isinstance(value, Enum):
        value = value.value
    return value if isinstance(value, str) and value else None


def _list(value: object) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else ()


def _texts(parts: Sequence[Any], *, thought: bool) -> str:
    texts = (look(part, "text") for part in parts if (look(part, "thought") is True) is thought)
    return "".join(text for text in texts if isinstance(text, str))


def _ratings(rated: object) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for rating in _list(look(rated, "safety_ratings")):
        category, probability = (_word(look(rating, name)) for name in ("category", "probability"))
        if category and probability:
            found[category] = probability
    return found or None


def _detail(reason: str | None, ratings: Mapping[str, str] | None) -> str:
    high = [f"{name} {how}" for name, how in (ratings or {}).items() if how in ("HIGH", "MEDIUM")]
    told = ", ".join([*([reason] if reason else []), *high])
    return f" ({told})" if told else ""
