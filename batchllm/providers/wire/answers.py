"""The last step of every wire: an ``LLMResponse``, or the error that the reply is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Literal

from batchllm.core import (
    EmptyResponseError,
    LLMResponse,
    MalformedResponseError,
    TokenTrackingError,
    TokenUsage,
)
from batchllm.policy import is_replaced, mend, mended_text, read_headers
from batchllm.providers.wire.error_replies import Peer, request_id_of
from batchllm.providers.wire.finish import Finish
from batchllm.transport import printable

__all__ = [
    "as_list",
    "as_parts",
    "attach_usage",
    "check_answered",
    "cut_off",
    "is_first",
    "joined",
    "make_response",
    "malformed",
    "mapping_of",
    "mappings_of",
    "without_halves",
]

_EMPTY: Final[Mapping[str, Any]] = {}


def make_response(
    text: str,
    *,
    finish: Finish,
    usage: TokenUsage | None,
    headers: Mapping[str, str],
    raw: Any,
    metadata: Mapping[str, Any],
) -> LLMResponse:
    """Make the response with its counts, its request id and what the headers report of limits.

    Args:
        text: The answer.
        finish: Why it ended, in our words.
        usage: ``None`` if the provider gave no counts.
        headers: The reply's.
        raw: The provider's own reply.
        metadata: What else it said; values that are ``None`` are left out.
    """
    counts: TokenUsage = {} if usage is None else usage
    found = {"finish_reason": finish, "request_id": request_id_of(headers), **metadata}
    whole, said = without_halves(text, {k: v for k, v in found.items() if v is not None})
    return LLMResponse(
        whole,
        input_tokens=counts.get("input_tokens", 0),
        output_tokens=counts.get("output_tokens", 0),
        total_tokens=counts.get("total_tokens", 0),
        cached_input_tokens=counts.get("cached_input_tokens", 0),
        metadata=said,
        raw=raw,
        usage=counts,  # an empty one says "unknown", where zeros would say "none"
        hint=read_headers(headers, now_wall=time.time()),
    )


def without_halves(text: str, metadata: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Mend an answer and what was said beside it; a note in the metadata says so."""
    whole, (said, _) = mended_text(text), mend(metadata)
    if is_replaced(text, whole):
        said["notes"] = ("half a surrogate pair in the answer became U+FFFD",)
    return whole, said


def check_answered(
    response: LLMResponse,
    provider: str,
    *,
    refusal: str | None = None,
    detail: str = "",
    what: str = "answer",
) -> None:
    """Pass if there is an answer, a text or calls of tools.

    Args:
        response: Its metadata say why it ended.
        provider: Named in messages.
        refusal: The words by which the model refused, if it did.
        detail: Put behind the message if a filter stopped the answer.
        what: That which a filter stopped.

    Raises:
        EmptyResponseError: A filter or a refusal left no answer, or the text is empty.
    """
    metadata: Mapping[str, Any] = response.metadata or _EMPTY
    finish = metadata.get("finish_reason")
    if refusal and not response.text:
        raise _empty(f"the model refused: {printable(refusal[:200])}", response)
    if finish == "filtered":
        raise _empty(f"a content filter of {provider} stopped the {what}{detail}", response)
    if response.text or metadata.get("tool_calls") or metadata.get("function_call"):
        return
    if finish == "length":
        msg = "the limit on tokens was used up before any text; raise max_tokens"
        raise _empty(msg, response, "truncated")
    raise _empty(f"{provider} gave an empty answer{detail}", response, "empty")


def _empty(
    message: str,
    response: LLMResponse,
    reason: Literal["filtered", "truncated", "empty"] = "filtered",
) -> EmptyResponseError:
    error = EmptyResponseError(message, response=response, reason=reason)
    error.usage = response.usage or None
    return error


def malformed(
    message: str, usage: TokenUsage | None, headers: Mapping[str, str] = _EMPTY
) -> MalformedResponseError:
    """Make the error for a reply that is no answer."""
    error = MalformedResponseError(message, status=200, request_id=request_id_of(headers))
    error.usage = usage
    return error


def as_list(value: object) -> list[Any]:
    """Return *value* if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def cut_off(
    client: Peer, pieces: str, count: int, lacks: str, usage: TokenUsage | None
) -> MalformedResponseError:
    """Make the error for a stream that ended before its answer did.

    Args:
        client: Named in the message.
        pieces: What a stream of this wire consists of.
        count: How many of them came.
        lacks: What would have shown that it is whole.
        usage: The token counts, as far as they have arrived.
    """
    got = f"after {count} {pieces}" if count else "before it began"
    msg = (
        f"the stream of {client.host} ended {got}, {lacks}; its text is not whole, and the "
        "provider may bill it"
    )
    error = malformed(msg, usage)
    error.cut_off = count > 0
    return error


def mapping_of(value: object) -> Mapping[str, Any]:
    """Return *value* if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else _EMPTY


def mappings_of(value: object) -> list[Mapping[str, Any]]:
    """Return the JSON objects in *value* if it is a list, else none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def is_first(index: object) -> bool:
    """Return whether *index*, of a choice, is none of a second one.

    It may be a text, or nonsense. Hardly ever is there a second choice, so an answer must not get
    lost for the number beside it.
    """
    if isinstance(index, str) and index.isascii() and index.isdigit():
        return not index.strip("0")
    return not isinstance(index, int) or index <= 0 or index is True


def as_parts(value: object, kind: str) -> list[Mapping[str, Any]]:
    """Return *value* as parts; a text without a type, or in place of a part, is one of *kind*."""
    parts: list[Any] = (
        [value] if isinstance(value, str) else value if isinstance(value, list) else []
    )
    return mappings_of([_as_part(one, kind) for one in parts])


def _as_part(one: Any, kind: str) -> Any:
    if isinstance(one, str):
        return {"type": kind, "text": one}
    if isinstance(one, dict) and "text" in one and not isinstance(one.get("type"), str):
        return {**one, "type": kind}
    return one


def joined(parts: list[Mapping[str, Any]], kind: str, key: str) -> str:
    """Join the texts under *key* of the parts whose type is *kind*."""
    texts = (part.get(key) for part in parts if part.get("type") == kind)
    return "".join(text for text in texts if isinstance(text, str))


def attach_usage(error: Exception, usage: TokenUsage | None) -> None:
    """Have *error*, which is about to be raised again, carry the tokens that it cost.

    Raises:
        TokenTrackingError: *error* cannot carry them; this one does, and names it as its cause.
    """
    if usage is None:
        return
    try:
        error._failed_token_usage = usage  # type: ignore[attr-defined]
    except AttributeError:
        msg = f"{type(error).__name__}: {error}"
        raise TokenTrackingError(msg, token_usage=usage) from error
