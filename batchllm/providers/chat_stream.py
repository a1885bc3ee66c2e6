"""A streamed Chat Completions answer, put together from its chunks. No I/O."""

from __future__ import annotations

from typing import Any

from batchllm.core import MalformedResponseError, TokenUsage
from batchllm.providers.chat_reply import ChatReply, Choice, Message, decode_chunk, read_usage
from batchllm.transport import HttpClient

__all__ = ["ChatStream"]


class ChatStream:
    """Collects chunks, and gives the reply that the server would have sent without a stream.

    An answer is whole when its finish reason has arrived; some servers leave ``[DONE]`` out.

    Args:
        client: Named in messages, which do not show its keys.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._reply = ChatReply()
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._thoughts: list[str] = []
        self._tools: dict[int, dict[str, Any]] = {}
        self._finish: object = None
        self._filters: object = None
        self._chunks = 0
        self.done = False

    @property
    def error(self) -> object:
        """The error that the stream carried, if it did."""
        return self._reply.error

    @property
    def usage(self) -> TokenUsage | None:
        """The token counts, as far as they have arrived."""
        return read_usage(self._reply)

    def add(self, data: str) -> None:
        """Take the data of one event.

        Raises:
            MalformedResponseError: It is no chunk.
        """
        if self.done or not data.strip():
            return
        if data.strip() == "[DONE]":
            self.done = True
            return
        chunk = decode_chunk(data, self._client)
        self._chunks += 1
        self._keep_facts(chunk)
        for choice in chunk.choices or ():
            if choice.index in (0, None):
                self._add_choice(choice)

    def _keep_facts(self, chunk: ChatReply) -> None:
        reply = self._reply
        for name in ("id", "model", "system_fingerprint", "service_tier", "prompt_filter_results"):
            value = getattr(chunk, name)
            if value:
                setattr(reply, name, value)
        if read_usage(chunk) is not None:
            reply.usage, reply.x_groq = chunk.usage, chunk.x_groq
        if chunk.error is not None:
            reply.error = chunk.error

    def _add_choice(self, choice: Choice) -> None:
        self._finish = choice.finish_reason or self._finish
        self._filters = choice.content_filter_results or self._filters
        piece = choice.delta or choice.message
        if piece is None:
            return
        self._texts.append(piece.text)
        if isinstance(piece.refusal, str):
            self._refusals.append(piece.refusal)
        thought = piece.reasoning_content or piece.reasoning
        if isinstance(thought, str):
            self._thoughts.append(thought)
        calls: list[Any] = piece.tool_calls if isinstance(piece.tool_calls, list) else []
        for call in calls:
            if isinstance(call, dict):
                self._add_tool_call(call)

    def _add_tool_call(self, piece: dict[str, Any]) -> None:
        position = piece.get("index")
        index = position if isinstance(position, int) else len(self._tools)
        call = self._tools.setdefault(index, {"function": {"name": "", "arguments": ""}})
        call.update({key: piece[key] for key in ("id", "type") if piece.get(key)})
        function: Any = piece.get("function")
        for key, value in function.items() if isinstance(function, dict) else ():
            if isinstance(value, str):
                call["function"][key] = call["function"].get(key, "") + value

    def reply(self) -> ChatReply:
        """The whole reply.

        Raises:
            MalformedResponseError: The stream ended before the answer did.
        """
        if self._finish is None:
            got = f"after {self._chunks} chunks" if self._chunks else "before it began"
            msg = (
                f"the stream of {self._client.host} ended {got}, with no finish reason; its text "
                "is not whole, and the provider may bill it"
            )
            error = MalformedResponseError(msg, status=200)
            error.usage = self.usage
            raise error
        message = Message(
            content="".join(self._texts),
            refusal="".join(self._refusals) or None,
            tool_calls=[self._tools[index] for index in sorted(self._tools)] or None,
            reasoning_content="".join(self._thoughts) or None,
        )
        self._reply.choices = [
            Choice(
                message=message,
                finish_reason=self._finish,
                content_filter_results=self._filters,
            )
        ]
        return self._reply
