"""The body of a Chat Completions reply, read with tolerance for what servers make of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, cast

import msgspec

from batchllm.core import TokenUsage, read_count
from batchllm.policy import JsonError, read_as, read_json
from batchllm.providers.wire import MayBeError, Peer, is_error, mappings_of, not_readable

__all__ = [
    "ChatReply",
    "Choice",
    "Message",
    "decode_chunk",
    "decode_reply",
    "read_usage",
]


class Message(msgspec.Struct, gc=False):
    """A message, or what a chunk adds to one."""

    content: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    annotations: Any = None

    @property
    def text(self) -> str:
        """The text; of content in parts, what is no reasoning."""
        if isinstance(self.content, str):
            return self.content
        return "".join(_texts(self.content, thought=False))

    @property
    def thoughts(self) -> str:
        """The reasoning among the parts of the content."""
        return "" if isinstance(self.content, str) else "".join(_texts(self.content, thought=True))


def _texts(parts: Any, *, thought: bool) -> Iterator[str]:
    """Give the texts of *parts*; a list of bare strings is the text of some servers."""
    if not isinstance(parts, list):
        return
    if all(isinstance(part, str) for part in parts):
        yield from () if thought else parts
        return
    for part in parts:
        if isinstance(part, dict) and _is_thought(part) is thought:
            text = part.get("text")
            if isinstance(text, str):
                yield text
            elif thought:  # Mistral nests them
                inner = part.get("thinking") or part.get("reasoning") or part.get("summary")
                yield from [inner] if isinstance(inner, str) else _texts(inner, thought=False)


def _is_thought(part: Mapping[str, Any]) -> bool:
    kind = str(part.get("type")).lower()
    return any(word in kind for word in ("reason", "think", "thought"))


class Choice(msgspec.Struct, gc=False):
    """One answer (``message``), or a piece of one (``delta``)."""

    message: Message | None = None
    delta: Message | None = None
    finish_reason: Any = None
    index: Any = 0
    error: Any = None
    content_filter_results: Any = None
    logprobs: Any = None


class ChatReply(MayBeError, gc=False):
    """A reply, or one chunk of a streamed one."""

    choices: list[Choice] | None = None
    usage: Any = None
    id: Any = None
    model: Any = None
    system_fingerprint: Any = None
    service_tier: Any = None
    prompt_filter_results: Any = None
    provider: Any = None
    citations: Any = None
    search_results: Any = None
    x_groq: Any = None

    @property
    def error_body(self) -> Any:
        """Return the error in the reply, as the body of an error reply; ``None`` without one."""
        if is_error(self.error):
            return self.find_error(answered=True)
        for choice in self.choices or ():
            if is_error(choice.error):
                return {"error": choice.error}
        if self.choices or self.prompt_filter_results:
            return None
        return self.find_error(answered=False)


_MOST: Final = 10**12
_DECODER: Final = msgspec.json.Decoder(ChatReply, strict=False)


def decode_reply(body: bytes, client: Peer) -> ChatReply:
    """Read a whole body; blank lines before it are what a waiting server sends.

    Args:
        body: JSON.
        client: Named in messages, which do not show its keys.

    Raises:
        MalformedResponseError: It is cut off, or is no JSON object.
    """
    try:
        return read_as(body, _DECODER, keep_halves=True)
    except JsonError as error:
        reply = _read_by_hand(body)
        if reply is not None:
            return reply
        raise not_readable(body, client, "chat completion", str(error)) from error


def decode_chunk(data: str, client: Peer) -> ChatReply | None:
    """Read the data of one event; ``None`` if it is JSON that says nothing, such as ``null``.

    Raises:
        MalformedResponseError: It is no JSON, so that a piece of the answer may be lost.
    """
    body = data.encode("utf-8", "replace")
    try:
        return read_as(body, _DECODER, keep_halves=True)
    except JsonError:
        reply = _read_by_hand(body)
        if reply is not None:
            return reply
        with suppress(JsonError):
            read_json(body, keep_halves=True)
            return None
        return decode_reply(body, client)


def _read_by_hand(body: bytes) -> ChatReply | None:
    """Read JSON whose shape is odd, but of which an answer or an error may be made."""
    try:
        value = read_json(body, keep_halves=True)
    except JsonError:
        return None
    if isinstance(value, list):  # as Gemini's servers send an error, under this wire too
        value = next((one for one in mappings_of(value) if is_error(one.get("error"))), None)
    return _forgive(value) if isinstance(value, dict) else None


def _forgive(fields: Mapping[str, Any]) -> ChatReply:
    """Return what can be read of a reply in which fields are of another type than they should."""
    known = {name: fields[name] for name in ChatReply.__struct_fields__ if name in fields}
    known["choices"] = [_as_choice(one) for one in mappings_of(fields.get("choices"))] or None
    return ChatReply(**known)


def _as_choice(fields: Mapping[str, Any]) -> Choice:
    known = {name: fields[name] for name in Choice.__struct_fields__ if name in fields}
    return Choice(
        **{
            **known,
            "message": _as_message(known.get("message")),
            "delta": _as_message(known.get("delta")),
        }
    )


def _as_message(value: Any) -> Message | None:
    if not isinstance(value, dict):
        return None
    return Message(**{name: value[name] for name in Message.__struct_fields__ if name in value})


def read_usage(reply: ChatReply) -> TokenUsage | None:
    """Return the token counts; ``None`` if the server gave none.

    Not by ``normalize_usage``, which takes four times as long (4 µs), and to which counts that
    gateways repeat under Anthropic's names would mean tokens beside the prompt's.
    """
    usage = reply.usage
    if usage is None and isinstance(reply.x_groq, dict):
        usage = cast("dict[str, Any]", reply.x_groq).get("usage")
    if not isinstance(usage, dict):
        return None
    counts = cast("Mapping[str, Any]", usage)
    found: dict[str, int] = {}
    _take(found, "input_tokens", counts, "prompt_tokens")
    _take(found, "output_tokens", counts, "completion_tokens")
    if not _take(found, "total_tokens", counts, "total_tokens"):
        if not found:
            return None
        found["total_tokens"] = found.get("input_tokens", 0) + found.get("output_tokens", 0)
    prompt = counts.get("prompt_tokens_details")
    in_prompt = isinstance(prompt, dict) and _take(
        found, "cached_input_tokens", prompt, "cached_tokens"
    )
    if not in_prompt and not _take(found, "cached_input_tokens", counts, "prompt_cache_hit_tokens"):
        _take(found, "cached_input_tokens", counts, "num_cached_tokens")
    if isinstance(prompt, dict):
        _take(found, "cache_write_tokens", prompt, "cache_write_tokens")
    completion = counts.get("completion_tokens_details")
    if isinstance(completion, dict):
        _take(found, "reasoning_tokens", completion, "reasoning_tokens")
    return cast("TokenUsage", found)


def _take(found: dict[str, int], key: str, counts: Mapping[str, Any], name: str) -> bool:
    """Put the count of *name* under *key* if it is one; this runs six times an answer."""
    value = counts.get(name)
    if value is None:
        return False
    count = value if type(value) is int and 0 <= value < _MOST else read_count(value)
    if count is None:
        return False
    found[key] = count
    return True
