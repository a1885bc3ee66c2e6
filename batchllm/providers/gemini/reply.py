"""From a ``generateContent`` reply to an ``LLMResponse``, whichever client fetched it.

The reply is the wire's JSON, an object of Google's SDK, or a stand-in with the same attributes:
every field is looked up by its name in snake case, and in camel case where it is JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, Final, cast

from batchllm.core import LLMResponse, TokenUsage, read_count
from batchllm.providers.gemini.prompt import camel_name
from batchllm.providers.wire import (
    Cited,
    Finish,
    check_answered,
    cited,
    is_first,
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
_wire_name = lru_cache(maxsize=64)(camel_name)


def look(value: object, name: str) -> Any:
    """Return the field *name* of JSON, of an SDK's object or of a stand-in; ``None`` without it."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        found = fields.get(_wire_name(name))
        return fields.get(name) if found is None else found
    return getattr(value, name, None)


def read_reply(reply: object, headers: Mapping[str, str]) -> LLMResponse:
    """Read a reply that carries no error.

    Metadata beside those of every provider: ``safety_ratings`` (category to probability), and
    if there are any ``block_reason``, ``tool_calls``, ``reasoning``, ``logprobs`` and
    ``citations``. Thoughts are no part of the text.

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
    candidate = _first(candidates)
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
            "tool_calls": [_as_call(call) for call in tools] or None,
            "reasoning": _texts(parts, thought=True) or None,
            "logprobs": list(_logprobs(look(candidate, "logprobs_result"))) or None,
            "citations": list(_citations(candidate, parts)) or None,
        },
    )
    check_answered(response, "gemini", detail=_detail(reason, ratings))
    return response


def read_usage(reply: object) -> TokenUsage | None:
    """Return the token counts; ``None`` if there are none."""
    given = look(reply, "usage_metadata")
    counts = {
        name: count for name in _COUNTS if (count := read_count(look(given, name))) is not None
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


def _as_call(call: object) -> object:
    """Name the fields of a function call as the wire does; the arguments are the model's own."""
    dump = getattr(call, "model_dump", None)
    fields = dump(exclude_none=True) if callable(dump) else call
    if not isinstance(fields, dict):
        return fields
    known = cast("dict[str, Any]", fields)
    return {camel_name(name): one for name, one in known.items() if one is not None}


def _first(candidates: Sequence[Any]) -> Any:
    first = (one for one in candidates if is_first(look(one, "index")))
    return next(first, candidates[0] if candidates else None)


def _is_thought(part: object) -> bool:
    mark = look(part, "thought")
    if isinstance(part, dict):
        return bool(mark) and mark != "false"
    return mark is True  # a stand-in has a true value under every name


def _texts(parts: Sequence[Any], *, thought: bool) -> str:
    texts = (look(part, "text") for part in parts if _is_thought(part) is thought)
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
    said = ", ".join([*([reason] if reason else []), *high])
    return f" ({said})" if said else ""


def _logprobs(result: object) -> Iterator[dict[str, Any]]:
    """Give the probabilities of tokens in the form of Chat Completions."""
    places = _list(look(result, "top_candidates"))
    for index, chosen in enumerate(_list(look(result, "chosen_candidates"))):
        top = _list(look(places[index], "candidates")) if index < len(places) else ()
        yield {**_logprob(chosen), "top_logprobs": [_logprob(one) for one in top]}


def _logprob(candidate: object) -> dict[str, Any]:
    return {"token": look(candidate, "token"), "logprob": look(candidate, "log_probability")}


def _citations(candidate: object, parts: Sequence[Any]) -> Iterator[Cited]:
    """Give what was found by a search, with the passages that it supports, and what was recited."""
    grounding = look(candidate, "grounding_metadata")
    chunks = [_source(chunk) for chunk in _list(look(grounding, "grounding_chunks"))]
    supported: set[int] = set()
    for support in _list(look(grounding, "grounding_supports")):
        start, end = _passage(look(support, "segment"), parts)
        for number in _list(look(support, "grounding_chunk_indices")):
            if isinstance(number, int) and 0 <= number < len(chunks):
                supported.add(number)
                yield {**chunks[number], **cited(start=start, end=end)}
    yield from (chunk for number, chunk in enumerate(chunks) if number not in supported)
    recited, text = look(candidate, "citation_metadata"), _texts(parts, thought=False)
    for one in _list(look(recited, "citations")) or _list(look(recited, "citation_sources")):
        start, end = _places(one, text, 0)
        yield cited(url=look(one, "uri"), title=look(one, "title"), start=start, end=end)


def _source(chunk: object) -> Cited:
    found = look(chunk, "web") or look(chunk, "retrieved_context")
    return cited(
        url=look(found, "uri"),
        title=look(found, "title"),
        text=look(found, "text"),
        source=look(found, "document_name"),
    )


def _passage(segment: object, parts: Sequence[Any]) -> tuple[int | None, int | None]:
    """Find the passage that a segment is: where its counts say, else where its words stand.

    Parts are counted before the chunks of a stream are joined, and by some models not at all.
    """
    index = _count(look(segment, "part_index"))
    whole, before = _texts(parts, thought=False), _texts(parts[:index], thought=False)
    counted = _places(segment, _texts(parts[index : index + 1], thought=False), len(before))
    words = look(segment, "text")
    if not isinstance(words, str) or not words or whole[counted[0] : counted[1]] == words:
        return counted
    start, end = _places(segment, whole, 0)
    if whole[start:end] != words:
        start = whole.find(words)
        end = start + len(words)
    return (start, end) if start is None or start >= 0 else (None, None)


def _places(segment: object, text: str, offset: int) -> tuple[int | None, int | None]:
    """Read where a segment begins and ends: Gemini counts bytes of UTF-8, and omits a zero."""
    end = _count(look(segment, "end_index"))
    if not end:
        return None, None
    encoded = text.encode("utf-8", "replace")
    start, end = (
        offset + len(encoded[:place].decode("utf-8", "ignore"))
        for place in (_count(look(segment, "start_index")), end)
    )
    return start, end


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
