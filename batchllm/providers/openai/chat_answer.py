"""From a Chat Completions reply to an ``LLMResponse``, or to the error that it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from batchllm.core import LLMResponse, TokenUsage
from batchllm.providers.openai.chat_reply import ChatReply, Choice, Message, read_usage
from batchllm.providers.wire import (
    Cited,
    Finish,
    check_answered,
    cited,
    is_first,
    make_response,
    malformed,
    mapping_of,
    mappings_of,
    normalize_finish,
    token_logprobs,
)

__all__ = ["citations_of", "read_answer"]

_EMPTY = Message()


def read_answer(reply: ChatReply, headers: Mapping[str, str], provider: str) -> LLMResponse:
    """Read a reply that carries no error.

    Metadata: ``finish_reason`` in our words, ``provider_finish_reason``, ``request_id``,
    ``response_id``, ``model``, and if there are any ``tool_calls``, ``reasoning``, ``logprobs``,
    ``citations``, ``refusal``, ``service_tier``, ``system_fingerprint`` and content filter results.

    Raises:
        MalformedResponseError: It has no choice, or the provider failed half way.
        EmptyResponseError: A filter or a refusal left no answer, or the text is empty.
    """
    usage = read_usage(reply)
    if not reply.choices and not _filtered(reply.prompt_filter_results):
        raise malformed(f"{provider} answered without a choice", usage, headers)
    choice = _first(reply.choices or [Choice(finish_reason="content_filter")])
    finish = normalize_finish(choice.finish_reason)
    if finish == "error":
        msg = f"{provider} failed half way: finish reason {choice.finish_reason!r}"
        raise malformed(msg, usage, headers)
    if choice.message is None and choice.delta is not None and not choice.finish_reason:
        msg = f"{provider} answered with a piece of a stream, and no reason why it ended there"
        raise malformed(msg, usage, headers)
    response = _response(reply, choice, finish, usage, headers)
    refusal = (choice.message or choice.delta or _EMPTY).refusal
    what = "answer" if reply.choices else "prompt"
    check_answered(response, provider, refusal=str(refusal or ""), what=what)
    return response


def _first(choices: list[Choice]) -> Choice:
    if len(choices) == 1:
        return choices[0]
    return next((one for one in choices if is_first(one.index)), choices[0])


def _response(
    reply: ChatReply,
    choice: Choice,
    finish: Finish,
    usage: TokenUsage | None,
    headers: Mapping[str, str],
) -> LLMResponse:
    message = choice.message or choice.delta or _EMPTY
    of_choice, of_prompt = choice.content_filter_results, reply.prompt_filter_results
    return make_response(
        message.text,
        finish=finish,
        usage=usage,
        headers=headers,
        raw=reply,
        metadata={
            "response_id": reply.id,
            "model": reply.model,
            "service_tier": reply.service_tier,
            "system_fingerprint": reply.system_fingerprint,
            "upstream_provider": reply.provider,
            "provider_finish_reason": choice.finish_reason,
            "tool_calls": message.tool_calls,
            "function_call": message.function_call,
            "refusal": message.refusal,
            "reasoning": message.reasoning_content or message.reasoning or message.thoughts or None,
            "logprobs": (choice.logprobs and token_logprobs(choice.logprobs)) or None,
            "citations": _citations(reply, message) or None,
            "content_filter_results": of_choice if _filtered(of_choice) else None,
            "prompt_filter_results": of_prompt if _filtered(of_prompt) else None,
        },
    )


def _citations(reply: ChatReply, message: Message) -> list[Cited]:
    if message.annotations:
        return list(citations_of(message.annotations))
    # Perplexity and xAI name their sources beside the choices.
    if reply.search_results:
        found = mappings_of(reply.search_results)
        return [cited(url=one.get("url"), title=one.get("title")) for one in found]
    if isinstance(reply.citations, list):
        return [cited(url=one) for one in reply.citations if isinstance(one, str)]
    return []


def citations_of(annotations: Any, offset: int = 0) -> Iterator[Cited]:
    """Read the annotations of a message, or of one part of it.

    Args:
        annotations: As Chat Completions and Responses have them.
        offset: Characters of the answer before that part.
    """
    for one in mappings_of(annotations):
        fields = mapping_of(one.get("url_citation")) or one
        start, end = fields.get("start_index"), fields.get("end_index")
        yield cited(
            url=fields.get("url"),
            title=fields.get("title") or fields.get("filename"),
            text=fields.get("content"),
            start=start + offset if type(start) is int else None,
            end=end + offset if type(end) is int else None,
            source=fields.get("file_id"),
        )


def _filtered(results: Any, depth: int = 6) -> bool:
    """Return whether Azure's filter results, which are 4 deep, say that something was filtered."""
    inner: Iterable[Any] = ()
    if results is None or not depth:
        return False
    if isinstance(results, list):
        inner = results
    elif isinstance(results, dict):
        if results.get("filtered") is True:
            return True
        inner = results.values()
    return any(_filtered(one, depth - 1) for one in inner)
