"""Chat Completions, as OpenAI and everyone compatible with it speak them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from batchllm.classifiers import OpenAIErrorClassifier
from batchllm.core import ErrorClassifier, LLMResponse, TokenUsage
from batchllm.providers.openai.chat_answer import read_answer
from batchllm.providers.openai.chat_prompt import as_messages
from batchllm.providers.openai.chat_reply import ChatReply, decode_reply, read_usage
from batchllm.providers.openai.chat_stream import ChatStream
from batchllm.providers.openai.profiles import ChatProfile, profile_of
from batchllm.providers.wire import (
    Dialect,
    JsonObject,
    WireModel,
    WireOptions,
    encode,
    mask_options,
)

__all__ = ["ChatDialect", "ChatModel"]


class ChatDialect(Dialect[ChatReply]):
    """Chat Completions, whatever carries them."""

    error_classifier: ErrorClassifier = OpenAIErrorClassifier()

    def _decode(self, body: bytes) -> ChatReply:
        return decode_reply(body, self._peer)

    def _reader(self) -> ChatStream:
        return ChatStream(self._peer)

    def _error_in(self, reply: ChatReply) -> object:
        return reply.error_body

    def _usage(self, reply: ChatReply) -> TokenUsage | None:
        return read_usage(reply)

    def _answer(self, reply: ChatReply, headers: Mapping[str, str]) -> LLMResponse:
        return read_answer(reply, headers, self._provider)


class ChatModel(ChatDialect, WireModel[ChatReply]):
    """One model behind a Chat Completions API; an ``LLMModel`` that can be shared.

    Example::

        ChatModel("llama3.2", profile="ollama", parameters={"max_tokens": 500})

    Args:
        model: The provider's name of it; for Azure, of the deployment.
        profile: The kind of server: a ``ChatProfile`` or the name of one.
        options: See ``WireOptions`` and ``ConnectionOptions``.

    Raises:
        ConfigError: A parameter or an option is unknown or of a wrong kind, or an address or key
            is missing.
    """

    _path: ClassVar[str] = "/chat/completions"

    def __init__(
        self,
        model: str,
        *,
        profile: ChatProfile | str = "openai",
        **options: Unpack[WireOptions],
    ) -> None:
        mask_options(options)
        self.profile = self.endpoint = profile_of(profile)
        super().__init__(model, **options)

    def _defaults(self) -> JsonObject:
        defaults: JsonObject = {}
        if self.schema is not None and self._holds_schema:
            named = self._named_schema
            defaults["response_format"] = {"type": "json_schema", "json_schema": named}
        elif self.schema is not None:
            defaults["response_format"] = {"type": "json_object"}
        if self.stream and self.profile.usage_in_stream:
            defaults["stream_options"] = {"include_usage": True}
        return defaults

    def _complete(self, request: JsonObject, prompt: Any, system: str | None) -> None:
        if self.schema is not None and not self._holds_schema:
            schema = encode(self.schema).decode()
            wanted = f"Answer with one JSON object that follows this JSON schema: {schema}"
            system = f"{system}\n\n{wanted}" if system else wanted
        request["messages"] = as_messages(prompt, system)

    @property
    def _holds_schema(self) -> bool:
        return self.profile.schema_mode == "json_schema"
