"""Models over other people's clients: ``openai.AsyncOpenAI`` and ``anthropic.AsyncAnthropic``.

Neither package is imported: a client is anything that has the methods.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NoReturn, cast

import msgspec
from attrs import frozen

from batchllm.classifiers import AnthropicErrorClassifier, OpenAIErrorClassifier
from batchllm.core import (
    CallCost,
    ErrorClassifier,
    LLMResponse,
    QuotaScope,
    StrategyError,
    TokenUsage,
    check_sendable,
)
from batchllm.policy import prompt_bytes
from batchllm.providers.anthropic import as_system_and_messages, read_message
from batchllm.providers.openai import PROFILES, ChatReply, as_messages, read_answer, read_usage
from batchllm.providers.wire import HeldToSchema, error_reply, error_within, malformed
from batchllm.structured import SchemaRules
from batchllm.transport import Cleaner, Secret

__all__ = ["AnthropicClientModel", "OpenAIClientModel", "client_scope"]

_REPLY_FIELDS: Final = tuple(ChatReply.__struct_fields__)
_MESSAGE_FIELDS: Final = (
    *("id", "model", "content", "usage", "stop_reason", "stop_sequence", "stop_details"),
    *("type", "error", "message", "code", "status"),
)
_BLOCK_FIELDS: Final = ("type", "text", "thinking", "id", "name", "input")


class ClientModel(HeldToSchema, ABC):
    """One model behind a client that its caller has made, and closes.

    The client's own retries are switched off where it can be told so, since every attempt is
    to be seen, paced and counted.

    Args:
        client: An asynchronous client.
        model: The provider's name of the model.
        parameters: For every request, by the client's names for them.

    Raises:
        StrategyError: *client* lacks the method that is called.
    """

    provider: ClassVar[str]
    error_classifier: ErrorClassifier
    _method: ClassVar[str]

    def __init__(
        self, client: Any, model: str, *, parameters: Mapping[str, Any] | None = None
    ) -> None:
        self.client = client
        self.model = model
        self.quota_scope = client_scope(client, model, self.provider)
        self._settings = dict(parameters or {})
        self._create = _method_of(_without_retries(client), self._method)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {type(self.client).__name__})"

    async def generate(
        self,
        prompt: Any,
        *,
        temperature: float | None = None,
        system_instruction: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> LLMResponse:
        """Answer *prompt*; see ``ChatModel.generate``.

        Raises:
            MalformedResponseError: The client gave something that is no answer.
            EmptyResponseError: A filter or a refusal left no answer.
            ValueError: The prompt has a wrong shape, or the answer is no JSON where it must be.
            Exception: What the client raised.
        """
        request: dict[str, Any] = {"model": self.model, **self._settings}
        if temperature is not None:
            request["temperature"] = temperature
        request.update(config or {})
        self._complete(request, prompt, system_instruction)
        check_sendable(request)
        reply, headers = await self._create(**request)
        response = self._read(reply, headers)
        self._check(response)
        return response

    def estimate(self, prompt: Any) -> CallCost | None:
        """The tokens of a call; ``None`` where nothing bounds the answer."""
        limits = (self._settings.get(name) for name in ("max_completion_tokens", "max_tokens"))
        limit = next((limit for limit in limits if isinstance(limit, int)), None)
        return None if limit is None else CallCost(1, prompt_bytes(prompt) // 4 + 16, limit)

    def identity(self) -> Mapping[str, Any]:
        """What tells this model's answers from another's, for records; no secrets."""
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "provider": self.quota_scope.provider,
            "base_url": self.quota_scope.base_url,
            "model": self.model,
            "parameters": dict(self._settings),
            "schema": self.schema,
        }

    def _fail(self, headers: Mapping[str, str], body: object, usage: TokenUsage | None) -> NoReturn:
        """Raise the error that came in a reply with status 200, and that the client let pass."""
        key = getattr(self.client, "api_key", None)
        keys = [Secret(key)] if isinstance(key, str) and key else []
        peer = _Peer(type(self.client).__name__, Cleaner(keys))
        error = error_reply(self.quota_scope.provider, peer, 200, headers, body)
        error.usage = usage
        raise error

    @abstractmethod
    def _complete(self, request: dict[str, Any], prompt: Any, system: str | None) -> None:
        """Put prompt, system instruction and schema into *request*."""

    @abstractmethod
    def _read(self, reply: Any, headers: Mapping[str, str]) -> LLMResponse:
        """Read what the client gave."""


class OpenAIClientModel(ClientModel):
    """A model over ``openai.AsyncOpenAI``, ``AsyncAzureOpenAI``, or anything alike.

    Called is ``client.chat.completions.create``.
    """

    provider: ClassVar[str] = "openai"
    error_classifier: ErrorClassifier = OpenAIErrorClassifier()
    _method: ClassVar[str] = "chat.completions.create"

    def _complete(self, request: dict[str, Any], prompt: Any, system: str | None) -> None:
        request["messages"] = as_messages(prompt, system)
        if self.schema is not None:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": self._schema_name,
                    "strict": self._schema_is_strict,
                    "schema": self.schema,
                },
            }

    def _read(self, reply: Any, headers: Mapping[str, str]) -> LLMResponse:
        try:
            read = msgspec.convert(
                _fields(reply, _REPLY_FIELDS), ChatReply, strict=False, from_attributes=True
            )
        except msgspec.ValidationError as error:
            msg = f"the client gave a {type(reply).__name__} that is no chat completion ({error})"
            raise malformed(msg, None, headers) from error
        if read.error_body:
            self._fail(headers, read.error_body, read_usage(read))
        return read_answer(read, headers, self.quota_scope.provider)


class AnthropicClientModel(ClientModel):
    """A model over ``anthropic.AsyncAnthropic`` or anything alike.

    Called is ``client.messages.create``, which demands a ``max_tokens`` among the parameters.
    """

    provider: ClassVar[str] = "anthropic"
    schema_rules: ClassVar[SchemaRules | None] = "anthropic"
    error_classifier: ErrorClassifier = AnthropicErrorClassifier()
    _method: ClassVar[str] = "messages.create"

    def _complete(self, request: dict[str, Any], prompt: Any, system: str | None) -> None:
        blocks, request["messages"] = as_system_and_messages(prompt, system)
        if blocks:
            request["system"] = blocks
        if self.schema is not None:
            wanted = {"type": "json_schema", "schema": self.schema}
            request["output_config"] = {**(request.get("output_config") or {}), "format": wanted}

    def _read(self, reply: Any, headers: Mapping[str, str]) -> LLMResponse:
        message = _fields(reply, _MESSAGE_FIELDS)
        error = error_within(message, answered=message.get("content") is not None)
        if error:
            self._fail(headers, error, None)
        blocks = message.get("content")
        if isinstance(blocks, list):
            message["content"] = [{"type": "text", **_fields(b, _BLOCK_FIELDS)} for b in blocks]
        return read_message(message, headers)


def client_scope(client: object, model: str, provider: str) -> QuotaScope:
    """The quota that calls by *client* count against, by its address and its key."""
    address = str(getattr(client, "base_url", None) or "").rstrip("/")
    key = getattr(client, "api_key", None)
    account = Secret(key).fingerprint() if isinstance(key, str) and key else ""
    at = (known.provider for known in PROFILES.values() if known.base_url == address != "")
    return QuotaScope(next(at, provider), address, account, model)


@frozen
class _Peer:
    """Stands for the client in messages."""

    host: str
    redact: Cleaner


@frozen
class _Method:
    """A client's method, with the headers of its replies where they can be had."""

    function: Callable[..., Any]
    is_raw: bool

    async def __call__(self, **request: Any) -> tuple[Any, Mapping[str, str]]:
        reply = await self.function(**request)
        if not self.is_raw:
            return reply, {}
        headers = {name.lower(): value for name, value in reply.headers.items()}
        parsed = reply.parse()
        return (await parsed if inspect.isawaitable(parsed) else parsed), headers


def _method_of(client: object, path: str) -> _Method:
    *way, name = path.split(".")
    owner: Any = client
    for step in way:
        owner = getattr(owner, step, None)
    # A mock has every attribute there is; its class has not.
    is_raw = hasattr(type(owner), "with_raw_response")
    function = getattr(owner.with_raw_response if is_raw else owner, name, None)
    if not callable(function):
        msg = f"the client is a {type(client).__name__}, which has no {path}()"
        raise StrategyError(msg)
    return _Method(function, is_raw)


def _without_retries(client: Any) -> Any:
    if hasattr(type(client), "with_options"):
        return client.with_options(max_retries=0)
    return client


def _fields(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a mapping, of a Pydantic model, or of any object with such attributes."""
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    if hasattr(type(value), "model_dump"):
        return cast("dict[str, Any]", value.model_dump(mode="json", warnings=False))
    found = {name: getattr(value, name, None) for name in names}
    return {name: one for name, one in found.items() if one is not None}
