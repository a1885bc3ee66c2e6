"""A streamed Chat Completions answer, put together from its chunks. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from batchllm.core import TokenUsage
from batchllm.providers.openai.chat_reply import (
    ChatReply,
    Choice,
    Message,
    decode_chunk,
    read_usage,
)
from batchllm.providers.wire import DONE, Peer, cut_off, is_first, token_logprobs

__all__ = ["ChatStream"]

_FACTS: Final = (
    *("id", "model", "system_fingerprint", "service_tier", "prompt_filter_results"),
    *("provider", "citations", "search_results"),
)


class ToolCalls:
    """Collects fragments, in the order in which their calls began.

    The wire numbers the calls, and the fragments of one have its number. Some servers give every
    call the number 0, or none at all; then a new id begins a call, or a name where there are no
    ids.
    """

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self._by_index: dict[int, dict[str, Any]] = {}

    def add(self, fragment: Mapping[str, Any]) -> None:
        """Take one fragment."""
        position = fragment.get("index")
        given: Any = fragment.get("function")
        function = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        index = position if isinstance(position, int) else None
        call = self._find(index, fragment.get("id"), function.get("name"))
        if index is not None:
            self._by_index[index] = call
        call.update({key: fragment[key] for key in ("id", "type") if fragment.get(key)})
        for key, value in function.items():
            _grow(call["function"], key, value)

    def whole(self) -> list[dict[str, Any]] | None:
        """Return the calls; ``None`` if there are none."""
        numbers = {id(call): index for index, call in self._by_index.items()}
        if len(numbers) == len(self._calls):  # numbered as the wire has it
            return sorted(self._calls, key=lambda call: numbers[id(call)]) or None
        return self._calls or None

    def _find(self, index: int | None, call_id: object, name: object) -> dict[str, Any]:
        if index is not None:
            call = self._by_index.get(index)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None or self._is_another(call, index, call_id, name):
            call = {"function": {"name": "", "arguments": ""}}
            self._calls.append(call)
        return call

    @staticmethod
    def _is_another(call: dict[str, Any], index: int | None, call_id: object, name: object) -> bool:
        known = call.get("id")
        if known and call_id and known != call_id:
            return bool(name)
        if index is not None or known or not name:
            return False
        # Neither numbers nor ids: a name begins a call, unless the server repeats it meanwhile.
        return call["function"]["name"] != name or _is_json(call["function"]["arguments"])


def _grow(function: dict[str, Any], key: str, value: Any) -> None:
    """Add a fragment's *value*; a name comes whole, and is repeated by some servers."""
    held = function.get(key, "")
    if isinstance(value, (dict, list)):
        function[key] = msgspec.json.encode(value).decode()
    elif isinstance(value, str) and not (key == "name" and held == value):
        function[key] = held + value


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


class ChatStream:
    """Collects chunks, and gives the reply that the server would have sent without a stream.

    An answer is whole when its finish reason or ``[DONE]`` has arrived: servers leave out either.

    Args:
        client: Named in messages, which do not show its keys.
    """

    def __init__(self, client: Peer) -> None:
        self._client = client
        self._reply = ChatReply()
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._thoughts: list[str] = []
        self._tools = ToolCalls()
        self._logprobs: list[Any] = []
        self._annotations: list[Any] = []
        self._finish: object = None
        self._filters: object = None
        self._chunks = 0
        self.done = False
        self.error: object = None

    @property
    def usage(self) -> TokenUsage | None:
        """The token counts, as far as they have arrived."""
        return read_usage(self._reply)

    @property
    def has_begun(self) -> bool:
        """Return whether part of the answer has come."""
        return bool(self._texts)

    def add(self, data: str) -> None:
        """Take the data of one event.

        Raises:
            MalformedResponseError: It is no chunk.
        """
        if self.done or not data.strip():
            return
        if data.strip() == DONE:
            self.done = True
            return
        chunk = decode_chunk(data, self._client)
        if chunk is None:
            return
        self._chunks += 1
        self._keep_facts(chunk)
        self.error = chunk.error_body
        for choice in chunk.choices or ():
            if is_first(choice.index):
                self._add_choice(choice)

    def _keep_facts(self, chunk: ChatReply) -> None:
        reply = self._reply
        for name in _FACTS:
            value = getattr(chunk, name)
            if value:
                setattr(reply, name, value)
        usage = read_usage(chunk)
        # Some servers send zeros behind the real counts.
        if usage is not None and (any(usage.values()) or read_usage(reply) is None):
            reply.usage, reply.x_groq = chunk.usage, chunk.x_groq

    def _add_choice(self, choice: Choice) -> None:
        self._finish = choice.finish_reason or self._finish
        self._filters = choice.content_filter_results or self._filters
        self._logprobs += token_logprobs(choice.logprobs)
        piece = choice.delta or choice.message
        if piece is None:
            return
        self._texts.append(piece.text)
        if isinstance(piece.refusal, str):
            self._refusals.append(piece.refusal)
        thought = piece.reasoning_content or piece.reasoning or piece.thoughts
        if isinstance(thought, str):
            self._thoughts.append(thought)
        if isinstance(piece.annotations, list):
            self._annotations += piece.annotations
        calls: list[Any] = piece.tool_calls if isinstance(piece.tool_calls, list) else []
        for call in calls:
            if isinstance(call, dict):
                self._tools.add(call)

    def reply(self) -> ChatReply:
        """The whole reply.

        Raises:
            MalformedResponseError: The stream ended before the answer did.
        """
        if self._finish is None and not (self.done and self._chunks):
            lacks = "with no finish reason"
            raise cut_off(self._client, "chunks", self._chunks, lacks, self.usage)
        message = Message(
            content="".join(self._texts),
            refusal="".join(self._refusals) or None,
            tool_calls=self._tools.whole(),
            reasoning_content="".join(self._thoughts) or None,
            annotations=self._annotations or None,
        )
        self._reply.choices = [
            Choice(
                message=message,
                finish_reason=self._finish,
                content_filter_results=self._filters,
                logprobs={"content": self._logprobs} if self._logprobs else None,
            )
        ]
        return self._reply
