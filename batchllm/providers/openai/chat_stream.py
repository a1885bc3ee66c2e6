"""A streamed Chat Completions answer, put together from its chunks. No I/O."""

from __future__ import annotations

from typing import Any, Final

from batchllm.core import MalformedResponseError, TokenUsage
from batchllm.providers.openai.chat_reply import (
    ChatReply,
    Choice,
    Message,
    decode_chunk,
    read_usage,
)
from batchllm.providers.openai.tool_calls import ToolCalls
from batchllm.providers.wire import DONE, Peer, token_logprobs

__all__ = ["ChatStream"]

_FACTS: Final = (
    *("id", "model", "system_fingerprint", "service_tier", "prompt_filter_results"),
    *("provider", "citations", "search_results"),
)


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
        self._chunks += 1
        self._keep_facts(chunk)
        self.error = chunk.error_body
        for choice in chunk.choices or ():
            if choice.index in (0, None):
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
