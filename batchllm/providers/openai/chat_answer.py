"""From a Chat Completions reply to an ``LLMResponse``, or to the error that it is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from batchllm.core import EmptyResponseError, LLMResponse, MalformedResponseError, TokenUsage
from batchllm.policy import read_headers
from batchllm.providers.openai.chat_reply import ChatReply, Choice, Message, read_usage
from batchllm.providers.wire import Finish, normalize_finish, request_id_of, without_halves
from batchllm.transport import printable

__all__ = ["read_answer"]

_EMPTY = Message()


def read_answer(reply: ChatReply, headers: Mapping[str, str], provider: str) -> LLMResponse:
    """Read a reply that carries no error.

    Metadata: ``finish_reason`` in our words, ``provider_finish_reason``, ``request_id``,
    ``response_id``, ``model``, and where there are any ``tool_calls``, ``reasoning``,
    ``refusal``, ``service_tier``, ``system_fingerprint`` and content filter results.

    Raises:
        MalformedResponseError: It has no choice, or the provider failed half way.
        EmptyResponseError: A filter or a refusal left no answer, or the text is empty.
    """
    usage = read_usage(reply)
    if not reply.choices:
        if _filtered(reply.prompt_filter_results):
            response = _response("", reply, None, "filtered", usage, headers)
            raise _empty(f"a content filter of {provider} stopped the prompt", response)
        msg = f"{provider} answered without a choice"
        raise _malformed(msg, usage, headers)
    choice = reply.choices[0]
    message = choice.message or choice.delta or _EMPTY
    finish = normalize_finish(choice.finish_reason)
    if finish == "error":
        msg = f"{provider} failed half way: finish reason {choice.finish_reason!r}"
        raise _malformed(msg, usage, headers)
    response = _response(message.text, reply, choice, finish, usage, headers)
    _check_answered(response, message, finish, provider)
    return response


def _check_answered(response: LLMResponse, message: Message, finish: Finish, provider: str) -> None:
    if finish == "filtered":
        raise _empty(f"a content filter of {provider} stopped the answer", response)
    if message.refusal and not response.text:
        raise _empty(f"the model refused: {printable(str(message.refusal)[:200])}", response)
    if response.text or message.tool_calls or message.function_call:
        return
    if finish == "length":
        msg = "the limit on tokens was used up before any text; raise max_tokens"
        raise _empty(msg, response, "truncated")
    raise _empty(f"{provider} gave an empty answer", response, "empty")


def _response(
    text: str,
    reply: ChatReply,
    choice: Choice | None,
    finish: Finish,
    usage: TokenUsage | None,
    headers: Mapping[str, str],
) -> LLMResponse:
    counts: TokenUsage = {} if usage is None else usage
    whole, said = without_halves(text, _metadata(reply, choice, finish, headers))
    return LLMResponse(
        whole,
        input_tokens=counts.get("input_tokens", 0),
        output_tokens=counts.get("output_tokens", 0),
        total_tokens=counts.get("total_tokens", 0),
        cached_input_tokens=counts.get("cached_input_tokens", 0),
        metadata=said,
        raw=reply,
        usage=counts,  # an empty one says "unknown", where zeros would say "none"
        hint=read_headers(headers, now_wall=time.time()),
    )


def _metadata(
    reply: ChatReply, choice: Choice | None, finish: Finish, headers: Mapping[str, str]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "finish_reason": finish,
        "request_id": request_id_of(headers),
        "response_id": reply.id,
        "model": reply.model,
        "service_tier": reply.service_tier,
        "system_fingerprint": reply.system_fingerprint,
        "upstream_provider": reply.provider,
    }
    if choice is not None:
        message = choice.message or choice.delta or _EMPTY
        found |= {
            "provider_finish_reason": choice.finish_reason,
            "tool_calls": message.tool_calls,
            "function_call": message.function_call,
            "refusal": message.refusal,
            "reasoning": message.reasoning_content or message.reasoning or message.thoughts or None,
        }
        if _filtered(choice.content_filter_results):
            found["content_filter_results"] = choice.content_filter_results
    if _filtered(reply.prompt_filter_results):
        found["prompt_filter_results"] = reply.prompt_filter_results
    return {name: value for name, value in found.items() if value is not None}


def _filtered(results: Any) -> bool:
    """Whether Azure's filter results, however nested, say that something was filtered."""
    inner: Iterable[Any] = ()
    if isinstance(results, list):
        inner = results
    elif isinstance(results, dict):
        if results.get("filtered") is True:
            return True
        inner = results.values()
    return any(_filtered(one) for one in inner)


def _empty(
    message: str,
    response: LLMResponse,
    reason: Literal["filtered", "truncated", "empty"] = "filtered",
) -> EmptyResponseError:
    error = EmptyResponseError(message, response=response, reason=reason)
    error.usage = response.usage or None
    return error


def _malformed(
    message: str, usage: TokenUsage | None, headers: Mapping[str, str]
) -> MalformedResponseError:
    request_id = request_id_of(headers)
    error = MalformedResponseError(message, status=200, request_id=request_id)
    error.usage = usage
    return error
