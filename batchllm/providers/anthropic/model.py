"""Anthropic's Messages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Unpack

from batchllm.classifiers import AnthropicErrorClassifier
from batchllm.core import ConfigError, ErrorClassifier, LLMResponse
from batchllm.providers.anthropic.answer import read_message
from batchllm.providers.anthropic.prompt import as_system_and_messages
from batchllm.providers.anthropic.stream import AnthropicStream
from batchllm.providers.wire import (
    Endpoint,
    JsonDialect,
    JsonObject,
    WireModel,
    WireOptions,
    error_within,
    mask_options,
)

if TYPE_CHECKING:
    from batchllm.structured import SchemaRules

__all__ = ["DEFAULT_MAX_TOKENS", "AnthropicDialect", "AnthropicModel", "CacheLifetime"]

DEFAULT_MAX_TOKENS: Final = 4_096
"""Tokens of an answer if nothing is said: the wire demands a limit."""

CacheLifetime = Literal["5m", "1h"]

_PARAMETERS: Final = frozenset(
    {
        "cache_control",
        "container",
        "context_management",
        "inference_geo",
        "max_tokens",
        "mcp_servers",
        "metadata",
        "output_config",
        "service_tier",
        "stop",
        "stop_sequences",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)


class AnthropicDialect(JsonDialect):
    """Anthropic's Messages, whatever carries them."""

    schema_rules: ClassVar[SchemaRules | None] = "anthropic"
    error_classifier: ErrorClassifier = AnthropicErrorClassifier()
    _mark: Mapping[str, str] | None = None

    def _complete(self, request: JsonObject, prompt: Any, system: str | None) -> None:
        if self.schema is not None:
            wanted = {"type": "json_schema", "schema": self.schema}
            request["output_config"] = {**(request.get("output_config") or {}), "format": wanted}
        blocks, request["messages"] = as_system_and_messages(prompt, system)
        if blocks and self._mark is not None:
            # A mark covers all that stands before it, so one on the last block is enough.
            blocks[-1] = {**blocks[-1], "cache_control": self._mark}
        if blocks:
            request["system"] = blocks

    def _reader(self) -> AnthropicStream:
        return AnthropicStream(self._peer)

    def _error_in(self, reply: JsonObject) -> object:
        return error_within(reply, answered=reply.get("content") is not None)

    def _answer(self, reply: JsonObject, headers: Mapping[str, str]) -> LLMResponse:
        return read_message(reply, headers)


class AnthropicModel(AnthropicDialect, WireModel[JsonObject]):
    """One model behind Anthropic's Messages API.

    Args:
        model: The provider's name of it.
        cache_system: Marks the system prompt for Anthropic's prompt cache: ``True`` or ``"5m"``
            keeps it for five minutes after each use, ``"1h"`` for an hour. Writing costs more
            than plain input, reading a tenth of it; a prompt that is too short for the model is
            not cached, without an error.
        options: See ``WireOptions`` and ``ConnectionOptions``. An answer has at most 4,096
            tokens unless ``parameters`` have ``max_tokens``.

    Raises:
        ConfigError: A parameter or an option is unknown or of a wrong kind, or an address or key
            is missing.
    """

    endpoint: Endpoint = Endpoint(
        provider="anthropic",
        base_url="https://api.anthropic.com",
        auth_header="x-api-key",
        auth_prefix="",
        headers=(("anthropic-version", "2023-06-01"),),
        parameters=_PARAMETERS,
        wire_names=(("stop", "stop_sequences"),),
    )
    own_options: ClassVar[Collection[str]] = ("cache_system",)
    _path: ClassVar[str] = "/v1/messages"

    def __init__(
        self,
        model: str,
        *,
        cache_system: bool | CacheLifetime = False,
        **options: Unpack[WireOptions],
    ) -> None:
        mask_options(options)
        if cache_system not in (False, True, "5m", "1h"):
            msg = f"cache_system is {cache_system!r}; give True, '5m', '1h' or False"
            raise ConfigError(msg)
        super().__init__(model, **options)
        self._settings.setdefault("max_tokens", DEFAULT_MAX_TOKENS)
        if cache_system:
            lifetime = "5m" if cache_system is True else cache_system
            self._mark = {"type": "ephemeral", "ttl": lifetime}

    def _read_parameters(self, parameters: Mapping[str, Any]) -> JsonObject:
        found = super()._read_parameters(parameters)
        if isinstance(found.get("stop_sequences"), str):
            found["stop_sequences"] = [found["stop_sequences"]]
        return found
