"""One model behind one provider's API: what all of them share, whatever the wire."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final, Generic, TypeVar, Unpack

from batchllm.core import CallCost, ErrorClassifier, LLMResponse, Price, TokenUsage, normalize_usage
from batchllm.providers.wire.endpoints import (
    Account,
    Connected,
    ConnectionOptions,
    Endpoint,
    lasting_address,
    mask_options,
)
from batchllm.providers.wire.exchange import (
    Exchange,
    JsonObject,
    Progress,
    ReplyFormat,
    decode_object,
)
from batchllm.providers.wire.held_to_schema import HeldToSchema
from batchllm.providers.wire.request import (
    WireRequest,
    check_names,
    check_options,
    cost_of,
    encode,
)
from batchllm.transport import HttpClient, HttpReply

__all__ = ["Dialect", "JsonDialect", "WireModel", "WireOptions"]

R = TypeVar("R")

_ONLINE_ONLY: Final = ("stream", "stream_options", "service_tier")


class Dialect(HeldToSchema, ReplyFormat[R], Generic[R]):
    """One provider's way to be asked and to answer, by whatever carries requests and replies."""

    error_classifier: ErrorClassifier

    @abstractmethod
    def _complete(self, request: JsonObject, prompt: Any, system: str | None) -> None:
        """Put prompt, system instruction and schema into *request*."""

    @abstractmethod
    def _answer(self, reply: R, headers: Mapping[str, str]) -> LLMResponse:
        """Read a reply that carries no error."""


class JsonDialect(Dialect[JsonObject]):
    """A ``Dialect`` whose replies are read as plain JSON objects."""

    def _decode(self, body: bytes) -> JsonObject:
        return decode_object(body, self._peer)

    def _usage(self, reply: JsonObject) -> TokenUsage | None:
        usage = reply.get("usage")
        return normalize_usage(usage) if isinstance(usage, dict) else None


class WireOptions(ConnectionOptions, total=False):
    """The options of every model over a wire of its own.

    Attributes:
        parameters: For every request, such as ``{"temperature": 0.2, "max_tokens": 500}``.
        extra: Put into every request unchecked.
        schema: A JSON schema that answers have to follow. An answer that is no JSON is then a
            ``ValueError``.
        schema_name: The name under which the provider gets the schema.
        stream: If answers are asked for piece by piece, so that a stall is noticed.
    """

    parameters: Mapping[str, Any] | None
    extra: Mapping[str, Any] | None
    schema: Mapping[str, Any] | None
    schema_name: str
    stream: bool


class WireModel(Connected, Dialect[R], Exchange[R], Generic[R]):
    """One model behind one provider's API, whose replies are *R*; an ``LLMModel`` to be shared.

    It connects at the first call. ``prepare`` and ``cleanup`` may be called by several runs; the
    last ``cleanup`` closes the connections.

    Args:
        model: The provider's name of it.
        options: See ``WireOptions`` and ``ConnectionOptions``.

    Raises:
        ConfigError: A parameter or an option is unknown or of a wrong kind, or an address or key
            is missing.
    """

    endpoint: Endpoint
    price: Price | None = None
    """The price of its calls, if that stands in no list."""
    own_options: ClassVar[Collection[str]] = ()
    """Options that only this class has, and that ``llm`` takes among the parameters."""
    _path: ClassVar[str]

    def __init__(self, model: str, **options: Unpack[WireOptions]) -> None:
        mask_options(options)
        check_options(type(self), options, WireOptions.__annotations__)
        self.model = model
        self.stream = options.get("stream", False)
        self.schema = options.get("schema")
        self._schema_name = options.get("schema_name", "answer")
        account = Account.open(self.endpoint, options)
        self._client: HttpClient = account.http
        self._settings = self._read_parameters(options.get("parameters") or {})
        self._extra = dict(options.get("extra") or {})
        self.quota_scope = account.scope_of(model)

    def __repr__(self) -> str:
        # Also of one that is half made: tracebacks with locals show that.
        kind = type(self).__name__
        if not hasattr(self, "_client"):
            return f"{kind}(…)"
        return f"{kind}({self.model!r}, {self.endpoint.provider}, {self._client.base_url!r})"

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
        request = self._request(prompt, temperature, system_instruction, config)
        if self.stream:
            request["stream"] = True
            reply, headers = await self._stream(self._path, encode(request), progress)
        else:
            reply, headers = await self._post(self._path, encode(request))
        return self._finished(reply, headers)

    def compose(
        self,
        prompt: Any,
        *,
        temperature: float | None = None,
        system_instruction: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> WireRequest:
        """Write the request that :meth:`generate` would send for *prompt*, and send nothing.

        It asks for no stream and for no tier of service, since what carries it gives whole answers
        and has a price of its own. The arguments and errors are those of :meth:`generate`.
        """
        request = self._request(prompt, temperature, system_instruction, config)
        for name in _ONLINE_ONLY:
            request.pop(name, None)
        return WireRequest(self._path, self.model, encode(request))

    def read_reply(self, reply: HttpReply) -> LLMResponse:
        """Read the reply to a request that :meth:`compose` wrote, however it came.

        Raises:
            Exception: As :meth:`generate` does for that reply.
        """
        return self._finished(self._read(reply.status, reply.headers, reply.body), reply.headers)

    def _request(
        self,
        prompt: Any,
        temperature: float | None,
        system: str | None,
        config: Mapping[str, Any] | None,
    ) -> JsonObject:
        request: JsonObject = {"model": self.model, **self._settings, **self._defaults()}
        if temperature is not None:
            request["temperature"] = temperature
        request.update(self._extra)
        if config:
            settings = dict(config)
            extra = settings.pop("extra", None) or {}
            request.update(self._read_parameters(settings))
            request.update(extra)
        self._complete(request, prompt, system)
        return request

    def _finished(self, reply: R, headers: Mapping[str, str]) -> LLMResponse:
        response = self._answer(reply, headers)
        self._check(response)
        return response

    def estimate(self, prompt: Any) -> CallCost | None:
        """Estimate the tokens of a call; ``None`` if no ``max_tokens`` bounds the answer."""
        name = self.endpoint.wire_name("max_tokens")
        return cost_of(prompt, self._extra.get(name, self._settings.get(name)))

    def identity(self) -> Mapping[str, Any]:
        """Name what distinguishes this model's answers, for records; no secrets."""
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "provider": self.endpoint.provider,
            "base_url": lasting_address(self._client.base_url),
            "model": self.model,
            "parameters": {**self._settings, **self._extra},
            "schema": self.schema,
        }

    def _defaults(self) -> JsonObject:
        """Return what a request has unless ``extra`` or ``config`` say otherwise."""
        return {}

    def _read_parameters(self, parameters: Mapping[str, Any]) -> JsonObject:
        check_names(parameters, self.endpoint.parameters, self.endpoint.provider)
        rename = self.endpoint.wire_name
        return {rename(name): value for name, value in parameters.items() if value is not None}
