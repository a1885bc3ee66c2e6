"""Chat Completions, as OpenAI and everyone compatible with it speak them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from batchllm.classifiers import OpenAIErrorClassifier
from batchllm.core import CallCost, LLMResponse, QuotaScope, TokenUsage
from batchllm.policy import prompt_bytes
from batchllm.providers.chat_answer import read_answer
from batchllm.providers.chat_prompt import as_messages
from batchllm.providers.chat_reply import ChatReply, decode_reply, read_usage
from batchllm.providers.chat_stream import ChatStream
from batchllm.providers.endpoints import lasting_address, open_client
from batchllm.providers.failures import error_reply
from batchllm.providers.json_answers import HeldToSchema
from batchllm.providers.parameters import check_names
from batchllm.providers.profiles import PROFILES, ChatProfile
from batchllm.providers.request_body import encode
from batchllm.providers.streamed import is_events, read_events, read_stream
from batchllm.transport import (
    ConnectionStats,
    HeaderValues,
    Http,
    Secret,
    mask_headers,
)

__all__ = ["ChatModel"]

_PATH: Final = "/chat/completions"


class ChatModel(HeldToSchema):
    """One model behind a Chat Completions API; an ``LLMModel`` that can be shared.

    It connects at the first call. ``prepare`` and ``cleanup`` may be called by several runs; the
    last ``cleanup`` closes the connections.

    Args:
        model: The provider's name of it; for Azure, of the deployment.
        profile: The kind of server: a ``ChatProfile`` or the name of one.
        base_url: Its address, where it is not the profile's.
        api_key: Sent as the profile says. It never shows in messages or records.
        headers: Sent with every request.
        http: An ``HttpTransport`` to share, a transport or client of httpx or httpx2, or a proxy's
            address, in place of connections of its own.
        parameters: For every request, such as ``{"temperature": 0.2, "max_tokens": 500}``.
        extra: Put into every request unchecked.
        schema: A JSON schema that answers have to follow. An answer that is no JSON is then a
            ``ValueError``.
        schema_name: What the provider is told that the schema is called.
        stream: Whether to ask for answers chunk by chunk, so that a stall is noticed.
        verify: See ``HttpClient``.
        proxy: See ``HttpClient``.

    Raises:
        ConfigError: A parameter is unknown, or an address or key is missing.
    """

    def __init__(
        self,
        model: str,
        *,
        profile: ChatProfile | str = "openai",
        base_url: str | None = None,
        api_key: str | Secret | None = None,
        headers: HeaderValues | None = None,
        http: Http | None = None,
        parameters: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        schema_name: str = "answer",
        stream: bool = False,
        verify: bool | str | ssl.SSLContext = True,
        proxy: str | None = None,
    ) -> None:
        # Masked before anything can fail: a traceback shows what local variables hold.
        api_key = None if api_key is None else Secret(api_key)
        headers = mask_headers(headers)
        self.model = model
        self.error_classifier = OpenAIErrorClassifier()
        self.profile = PROFILES[profile] if isinstance(profile, str) else profile
        self.stream = stream
        self.schema = schema
        self._client = open_client(
            self.profile,
            base_url=base_url,
            api_key=api_key,
            headers=headers,
            http=http,
            verify=verify,
            proxy=proxy,
        )
        self._settings = self._read_parameters(parameters or {})
        self._extra = dict(extra or {})
        self._schema_name = schema_name
        account = api_key.fingerprint() if api_key is not None else ""
        self.quota_scope = QuotaScope(self.profile.provider, self._client.base_url, account, model)

    def __repr__(self) -> str:
        # Also of one that is half made: tracebacks with locals show that.
        address = self._client.base_url if hasattr(self, "_client") else "…"
        return f"ChatModel({self.model!r}, {self.profile.provider}, {address!r})"

    async def prepare(self) -> None:
        """Keep connections open until the matching ``cleanup``."""
        self._client.hold()

    async def cleanup(self) -> None:
        """Close the connections, unless someone else still holds them open."""
        await self._client.release()

    def connection_stats(self) -> Mapping[int, ConnectionStats]:
        """Return what became of the connections on the running loop, by transport."""
        return self._client.statistics()

    async def generate(
        self,
        prompt: Any,
        *,
        temperature: float | None = None,
        system_instruction: str | None = None,
        config: Mapping[str, Any] | None = None,
        progress: Callable[[], None] | None = None,
    ) -> LLMResponse:
        """Answer *prompt*.

        Args:
            prompt: A text, chat messages or content parts.
            temperature: ``None`` leaves it to the model's parameters.
            system_instruction: Put before the prompt.
            config: Parameters for this call, over the model's own; ``"extra"`` in it is a
                mapping that is sent unchecked.
            progress: Called when a streamed request starts, and for each chunk of its answer.

        Returns:
            The answer. Cut off by ``max_tokens``, it has ``finish_reason`` ``"length"`` in its
            metadata.

        Raises:
            ProviderError: The provider answered with an error.
            MalformedResponseError: Its answer cannot be read, or is not whole.
            EmptyResponseError: A filter or a refusal left no answer.
            TransportError: No complete answer arrived.
            ConfigError: A parameter in *config* is unknown.
            ValueError: The prompt has a wrong shape, or the answer is no JSON where it must be.
        """
        body = encode(self._request(prompt, temperature, system_instruction, config))
        if self.stream:
            reply, headers = await self._call_streamed(body, progress)
        else:
            whole = await self._client.post_json(_PATH, body)
            reply, headers = self._read(whole.status, whole.headers, whole.body), whole.headers
        response = read_answer(reply, headers, self.profile.provider)
        self._check(response)
        return response

    def estimate(self, prompt: Any) -> CallCost | None:
        """The tokens of a call; ``None`` where no ``max_tokens`` bounds the answer."""
        limit = self._settings.get(self.profile.max_tokens_field)
        if not isinstance(limit, int):
            return None
        return CallCost(1, prompt_bytes(prompt) // 4 + 16, limit)

    def identity(self) -> Mapping[str, Any]:
        """What tells this model's answers from another's, for records; no secrets."""
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "provider": self.profile.provider,
            "base_url": lasting_address(self._client.base_url),
            "model": self.model,
            "parameters": {**self._settings, **self._extra},
            "schema": self.schema,
        }

    def _read_parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        profile = self.profile
        check_names(parameters, profile.parameters, profile.provider)
        wire_names = {"max_tokens": profile.max_tokens_field, "seed": profile.seed_field}
        return {
            wire_names.get(name, name): value
            for name, value in parameters.items()
            if value is not None
        }

    def _request(
        self,
        prompt: Any,
        temperature: float | None,
        system: str | None,
        config: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self.model, "messages": None, **self._settings}
        if temperature is not None:
            request["temperature"] = temperature
        if self.schema is not None:
            request["response_format"], system = self._response_format(self.schema, system)
        if self.stream:
            request["stream"] = True
            if self.profile.usage_in_stream:
                request["stream_options"] = {"include_usage": True}
        request.update(self._extra)
        if config:
            settings = dict(config)
            extra = settings.pop("extra", None) or {}
            request.update(self._read_parameters(settings))
            request.update(extra)
        request["messages"] = as_messages(prompt, system)
        return request

    def _response_format(
        self, schema: Mapping[str, Any], system: str | None
    ) -> tuple[dict[str, Any], str | None]:
        if self.profile.schema_mode == "json_schema":
            named = {"name": self._schema_name, "strict": self._schema_is_strict, "schema": schema}
            return {"type": "json_schema", "json_schema": named}, system
        told = f"Answer with one JSON object that follows this JSON schema: {_as_text(schema)}"
        return {"type": "json_object"}, f"{system}\n\n{told}" if system else told

    async def _call_streamed(
        self, body: bytes, progress: Callable[[], None] | None
    ) -> tuple[ChatReply, Mapping[str, str]]:
        if progress is not None:
            progress()
        async with self._client.stream(_PATH, body) as stream:
            if not 200 <= stream.status < 300:
                self._fail(stream.status, stream.headers, await stream.read(), None)
            answer = ChatStream(self._client)
            content = await read_stream(stream, self._client, answer, progress)
            if content is None:
                return self._end(answer, stream.headers), stream.headers
            return self._read(stream.status, stream.headers, content), stream.headers

    def _end(self, answer: ChatStream, headers: Mapping[str, str]) -> ChatReply:
        if answer.error:
            self._fail(200, headers, answer.error, answer.usage)
        return answer.reply()

    def _read(self, status: int, headers: Mapping[str, str], body: bytes) -> ChatReply:
        if not 200 <= status < 300:
            self._fail(status, headers, body, None)
        if is_events(body):
            answer = ChatStream(self._client)
            read_events(body, answer)
            return self._end(answer, headers)
        reply = decode_reply(body, self._client)
        error = reply.error_body
        if error:
            self._fail(200, headers, error, read_usage(reply))
        return reply

    def _fail(
        self, status: int, headers: Mapping[str, str], body: object, usage: TokenUsage | None
    ) -> NoReturn:
        error = error_reply(self.profile.provider, self._client, status, headers, body)
        error.usage = usage
        raise error


def _as_text(value: Mapping[str, Any]) -> str:
    return encode(value).decode()
