"""What is alike for the models of every provider that has a wire of its own."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, NoReturn, Protocol, cast

from batchllm.core import (
    CallCost,
    ErrorClassifier,
    LLMResponse,
    MalformedResponseError,
    QuotaScope,
    TokenUsage,
)
from batchllm.policy import JsonError, prompt_bytes, read_json
from batchllm.providers.endpoints import Endpoint, lasting_address, open_client
from batchllm.providers.failures import error_reply
from batchllm.providers.json_answers import HeldToSchema
from batchllm.providers.parameters import check_names
from batchllm.providers.request_body import encode
from batchllm.providers.streamed import EventReader, is_events, read_events, read_stream
from batchllm.transport import (
    ConnectionStats,
    HeaderValues,
    Http,
    HttpClient,
    Secret,
    mask_headers,
)

__all__ = ["JsonObject", "Progress", "StreamReader", "WireModel", "decode_object", "encode"]

JsonObject = dict[str, Any]
Progress = Callable[[], None]


class StreamReader(EventReader, Protocol):
    """Puts a streamed answer together."""

    @property
    def usage(self) -> TokenUsage | None:
        """The token counts, as far as they have arrived."""
        ...

    def reply(self) -> JsonObject:
        """The reply that the server would have sent without a stream.

        Raises:
            MalformedResponseError: The stream ended before the answer did.
        """
        ...


class WireModel(HeldToSchema, ABC):
    """One model behind one provider's API; an ``LLMModel`` that can be shared.

    It connects at the first call. ``prepare`` and ``cleanup`` may be called by several runs; the
    last ``cleanup`` closes the connections.

    Args:
        model: The provider's name of it.
        base_url: The server's address, where it is not the provider's.
        api_key: The key; it never shows in messages or records.
        headers: Sent with every request.
        http: An ``HttpTransport`` to share, a transport or client of httpx or httpx2, or a proxy's
            address, in place of connections of its own.
        parameters: For every request, such as ``{"temperature": 0.2, "max_tokens": 500}``.
        extra: Put into every request unchecked.
        schema: A JSON schema that answers have to follow. An answer that is no JSON is then a
            ``ValueError``.
        schema_name: What the provider is told that the schema is called.
        stream: Whether to ask for answers piece by piece, so that a stall is noticed.
        verify: See ``HttpClient``.
        proxy: See ``HttpClient``.

    Raises:
        ConfigError: A parameter is unknown, or an address or key is missing.
    """

    endpoint: ClassVar[Endpoint]
    error_classifier: ErrorClassifier
    _path: ClassVar[str]
    _known: ClassVar[Collection[str]]
    _wire_names: ClassVar[Mapping[str, str]] = {}
    _own_headers: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        model: str,
        *,
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
        self.stream = stream
        self.schema = schema
        self._schema_name = schema_name
        self._client = open_client(
            self.endpoint,
            base_url=base_url,
            api_key=api_key,
            headers={**self._own_headers, **headers},
            http=http,
            verify=verify,
            proxy=proxy,
        )
        self._settings = self._read_parameters(parameters or {})
        self._extra = dict(extra or {})
        account = api_key.fingerprint() if api_key is not None else ""
        provider = self.endpoint.provider
        self.quota_scope = QuotaScope(provider, self._client.base_url, account, model)

    def __repr__(self) -> str:
        # Also of one that is half made: tracebacks with locals show that.
        address = self._client.base_url if hasattr(self, "_client") else "…"
        return f"{type(self).__name__}({self.model!r}, {address!r})"

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
        progress: Progress | None = None,
    ) -> LLMResponse:
        """Answer *prompt*.

        Args:
            prompt: A text, chat messages or content parts.
            temperature: ``None`` leaves it to the model's parameters.
            system_instruction: Put before the prompt.
            config: Parameters for this call, over the model's own; ``"extra"`` in it is a
                mapping that is sent unchecked.
            progress: Called when a streamed request starts, and for each piece of its answer.

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
        request: JsonObject = {"model": self.model, **self._settings}
        if temperature is not None:
            request["temperature"] = temperature
        request.update(self._extra)
        if config:
            settings = dict(config)
            extra = settings.pop("extra", None) or {}
            request.update(self._read_parameters(settings))
            request.update(extra)
        self._complete(request, prompt, system_instruction)
        if self.stream:
            request["stream"] = True
            reply, headers = await self._call_streamed(encode(request), progress)
        else:
            whole = await self._client.post_json(self._path, encode(request))
            reply, headers = self._read(whole.status, whole.headers, whole.body), whole.headers
        response = self._answer(reply, headers)
        self._check(response)
        return response

    def estimate(self, prompt: Any) -> CallCost | None:
        """The tokens of a call; ``None`` where no ``max_tokens`` bounds the answer."""
        limit = self._settings.get(self._wire_names.get("max_tokens", "max_tokens"))
        if not isinstance(limit, int):
            return None
        return CallCost(1, prompt_bytes(prompt) // 4 + 16, limit)

    def identity(self) -> Mapping[str, Any]:
        """What tells this model's answers from another's, for records; no secrets."""
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "provider": self.endpoint.provider,
            "base_url": lasting_address(self._client.base_url),
            "model": self.model,
            "parameters": {**self._settings, **self._extra},
            "schema": self.schema,
        }

    @abstractmethod
    def _complete(self, request: JsonObject, prompt: Any, system: str | None) -> None:
        """Put prompt, system instruction and schema into *request*."""

    @abstractmethod
    def _reader(self) -> StreamReader:
        """What puts a streamed answer together."""

    @abstractmethod
    def _error_in(self, reply: JsonObject) -> object:
        """The error in a reply with status 200, as the body of an error reply."""

    @abstractmethod
    def _usage(self, reply: JsonObject) -> TokenUsage | None:
        """The token counts of a reply."""

    @abstractmethod
    def _answer(self, reply: JsonObject, headers: Mapping[str, str]) -> LLMResponse:
        """Read a reply that carries no error."""

    def _read_parameters(self, parameters: Mapping[str, Any]) -> JsonObject:
        check_names(parameters, self._known, self.endpoint.provider)
        names = self._wire_names
        return {
            names.get(name, name): value for name, value in parameters.items() if value is not None
        }

    async def _call_streamed(
        self, body: bytes, progress: Progress | None
    ) -> tuple[JsonObject, Mapping[str, str]]:
        if progress is not None:
            progress()
        async with self._client.stream(self._path, body) as stream:
            if not 200 <= stream.status < 300:
                self._fail(stream.status, stream.headers, await stream.read(), None)
            answer = self._reader()
            content = await read_stream(stream, self._client, answer, progress)
            if content is None:
                return self._end(answer, stream.headers), stream.headers
            return self._read(stream.status, stream.headers, content), stream.headers

    def _end(self, answer: StreamReader, headers: Mapping[str, str]) -> JsonObject:
        if answer.error:
            self._fail(200, headers, answer.error, answer.usage)
        return answer.reply()

    def _read(self, status: int, headers: Mapping[str, str], body: bytes) -> JsonObject:
        if not 200 <= status < 300:
            self._fail(status, headers, body, None)
        if is_events(body):
            answer = self._reader()
            read_events(body, answer)
            return self._end(answer, headers)
        reply = decode_object(body, self._client)
        error = self._error_in(reply)
        if error is not None:
            self._fail(200, headers, error, self._usage(reply))
        return reply

    def _fail(
        self, status: int, headers: Mapping[str, str], body: object, usage: TokenUsage | None
    ) -> NoReturn:
        error = error_reply(self.endpoint.provider, self._client, status, headers, body)
        error.usage = usage
        raise error


def decode_object(body: bytes, client: HttpClient) -> JsonObject:
    """Read a body that has to be one JSON object.

    Args:
        body: JSON; blank lines before it are what a waiting server sends.
        client: Named in messages, which do not show its keys.

    Raises:
        MalformedResponseError: It is cut off, or is no JSON object.
    """
    try:
        reply = read_json(body, keep_halves=True)
    except JsonError as error:
        raise _no_object(body, client, str(error)) from error
    if isinstance(reply, list) and reply and isinstance(reply[0], dict) and reply[0].get("error"):
        return cast("JsonObject", reply[0])  # as Gemini sends an error without events
    if not isinstance(reply, dict):
        raise _no_object(body, client, f"it is a {type(reply).__name__}")
    return cast("JsonObject", reply)


def _no_object(body: bytes, client: HttpClient, why: str) -> MalformedResponseError:
    shown = client.redact(body[:80].decode("utf-8", "replace").strip())
    msg = (
        f"{client.host} answered with {len(body):,} bytes that are no JSON object ({why}); they "
        f"begin {shown!r}"
    )
    return MalformedResponseError(msg, status=200)
