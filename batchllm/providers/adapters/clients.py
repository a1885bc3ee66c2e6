"""Models over other people's clients: ``openai.AsyncOpenAI`` and ``anthropic.AsyncAnthropic``.

Neither package is imported: a client is anything that has the methods. What a client gives is
turned back into JSON and read as from the provider's own wire, so that errors in a 200, finish
reasons and token counts mean the same here as there.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from difflib import get_close_matches
from typing import Any, ClassVar, Generic, TypeVar, cast

from attrs import frozen

from batchllm.core import (
    CallCost,
    LLMResponse,
    QuotaScope,
    StrategyError,
    UnknownArgumentError,
    check_sendable,
)
from batchllm.providers.anthropic import AnthropicDialect
from batchllm.providers.openai import (
    PROFILES,
    ChatDialect,
    ChatReply,
    ResponsesDialect,
    as_messages,
)
from batchllm.providers.wire import Dialect, JsonObject, Progress, cost_of, malformed
from batchllm.transport import Cleaner, OneLoopOfSdk, Secret, WithoutKeys

__all__ = [
    "AnthropicClientModel",
    "OpenAIClientModel",
    "OpenAIResponsesClientModel",
    "check_arguments",
    "client_scope",
]

R = TypeVar("R")
Headers = Mapping[str, str]


class ClientModel(Dialect[R], Generic[R]):
    """One model behind a client that its caller has made, and closes.

    The client's own retries are switched off if it has an option for that, since every attempt
    is to be seen, paced and counted.

    Args:
        client: An asynchronous client.
        model: The provider's name of the model.
        parameters: For every request, by the client's names for them. ``stream=True`` has
            answers fetched piece by piece, so that a stall is noticed.
        owner: The class that the user wrote, for messages.

    Raises:
        StrategyError: *client* lacks the method that is called.
        UnknownArgumentError: The method takes no such parameter, as far as its signature says.

    A client over httpx serves one event loop at a time: ``generate`` refuses it on a second one.
    """

    provider: ClassVar[str]
    _method: ClassVar[str]
    _limits: ClassVar[tuple[str, ...]] = ("max_tokens",)
    _in_streams: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        client: Any,
        model: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        owner: str = "",
    ) -> None:
        self.client = client
        self.model = model
        self.quota_scope = client_scope(client, model, self.provider)
        self._settings = dict(parameters or {})
        self.stream = bool(self._settings.pop("stream", False))
        self._create = _method_of(_without_retries(client), self._method)
        self._one_loop = OneLoopOfSdk(client)
        check_arguments(owner or type(self).__name__, self._create.function, self._settings)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {type(self.client).__name__})"

    @property
    def _provider(self) -> str:
        return self.quota_scope.provider

    @property
    def _peer(self) -> _Peer:
        key = getattr(self.client, "api_key", None)
        keys = [Secret(key)] if isinstance(key, str) and key else []
        return _Peer(type(self.client).__name__, Cleaner(keys))

    async def generate(
        self,
        prompt: Any,
        *,
        temperature: float | None = None,
        system_instruction: str | None = None,
        config: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> LLMResponse:
        """Answer *prompt*; see ``ChatModel.generate``.

        Raises:
            ProviderError: There is an error in what the client took for an answer.
            MalformedResponseError: The client gave something that is no answer.
            EmptyResponseError: A filter or a refusal left no answer.
            ValueError: The prompt has a wrong shape, or the answer is no JSON where it must be.
            Exception: What the client raised.
        """
        self._one_loop.check()
        request: dict[str, Any] = {"model": self.model, **self._settings}
        if temperature is not None:
            request["temperature"] = temperature
        if self.stream:
            request.update(self._in_streams, stream=True)
        request.update(config or {})
        self._complete(request, prompt, system_instruction)
        check_sendable(request)
        if self.stream and progress is not None:
            progress()
        with WithoutKeys(self.client):
            given, headers = await self._create(**request)
            if self.stream and isinstance(given, AsyncIterable):
                reply = await self._collect(given, headers, progress)
            else:
                reply = self._read(200, headers, _as_json(given).encode())
        response = self._answer(reply, headers)
        self._check(response)
        return response

    async def _collect(
        self, pieces: AsyncIterable[Any], headers: Headers, progress: Progress | None
    ) -> R:
        answer = self._reader()
        assert answer is not None
        async with AsyncExitStack() as stack:
            if hasattr(type(pieces), "__aexit__"):  # it holds a connection
                await stack.enter_async_context(cast("Any", pieces))
            iterator = aiter(pieces)
            if hasattr(iterator, "aclose"):  # it may be left before its end
                await stack.enter_async_context(aclosing(cast("Any", iterator)))
            async for piece in iterator:
                if progress is not None:
                    progress()
                answer.add(_as_json(piece))
                if answer.error:
                    break
        return self._end(answer, headers)

    def estimate(self, prompt: Any) -> CallCost | None:
        """Estimate the tokens of a call; ``None`` if nothing bounds the answer."""
        limits = (self._settings.get(name) for name in self._limits)
        return cost_of(prompt, next((limit for limit in limits if isinstance(limit, int)), None))

    def identity(self) -> Mapping[str, Any]:
        """Name what distinguishes this model's answers, for records; no secrets."""
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "provider": self.quota_scope.provider,
            "base_url": self.quota_scope.base_url,
            "model": self.model,
            "parameters": dict(self._settings),
            "schema": self.schema,
        }


class OpenAIClientModel(ChatDialect, ClientModel[ChatReply]):
    """A model over ``openai.AsyncOpenAI``, ``AsyncAzureOpenAI``, or anything alike.

    Called is ``client.chat.completions.create``.
    """

    provider: ClassVar[str] = "openai"
    _method: ClassVar[str] = "chat.completions.create"
    _limits: ClassVar[tuple[str, ...]] = ("max_completion_tokens", "max_tokens")
    _in_streams: ClassVar[Mapping[str, Any]] = {"stream_options": {"include_usage": True}}

    def _complete(self, request: dict[str, Any], prompt: Any, system: str | None) -> None:
        request["messages"] = as_messages(prompt, system)
        if self.schema is not None:
            named = self._named_schema
            request["response_format"] = {"type": "json_schema", "json_schema": named}


class OpenAIResponsesClientModel(ResponsesDialect, ClientModel[JsonObject]):
    """A model over ``openai.AsyncOpenAI`` or anything alike, by OpenAI's Responses.

    Called is ``client.responses.create``.
    """

    provider: ClassVar[str] = "openai"
    _method: ClassVar[str] = "responses.create"
    _limits: ClassVar[tuple[str, ...]] = ("max_output_tokens",)


class AnthropicClientModel(AnthropicDialect, ClientModel[JsonObject]):
    """A model over ``anthropic.AsyncAnthropic`` or anything alike.

    Called is ``client.messages.create``, which demands a ``max_tokens`` among the parameters.
    """

    provider: ClassVar[str] = "anthropic"
    _method: ClassVar[str] = "messages.create"


def client_scope(client: object, model: str, provider: str) -> QuotaScope:
    """Return the quota that calls by *client* count against, by its address and its key."""
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
    """A client's method, with the headers of its replies if they can be had."""

    function: Callable[..., Any]
    is_raw: bool

    async def __call__(self, **request: Any) -> tuple[Any, Headers]:
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


def check_arguments(
    owner: str, function: Callable[..., Any], given: Mapping[str, Any], own: Iterable[str] = ()
) -> None:
    """Pass if *function* takes the arguments that are given, as far as its signature says.

    Args:
        owner: The class that the user wrote, for messages.
        function: A method of a client or an agent.
        given: Keywords for it.
        own: Arguments of *owner* that may have been meant.

    Raises:
        UnknownArgumentError: It does not take one; the message has the nearest that there is.
    """
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a kind that shows none
        return
    if any(one.kind is one.VAR_KEYWORD for one in known.values()):
        return
    for name in given:
        if name not in known:
            near = get_close_matches(name, [*known, *own], n=1)
            meant = f"did you mean {near[0]}=…?" if near else "there is none such to pass it on to."
            msg = f"{owner}() has no argument {name}; {meant}"
            if "extra_body" in known:
                msg += f" To send it all the same, give extra_body={{{name!r}: …}}"
            raise UnknownArgumentError(msg)


def _without_retries(client: Any) -> Any:
    if hasattr(type(client), "with_options"):
        return client.with_options(max_retries=0)
    return client


def _as_json(reply: Any) -> str:
    """Write a reply, or a piece of one, as the server may have written it.

    Not by msgspec, which refuses half a surrogate pair: chunks of a stream may be cut there.

    Raises:
        MalformedResponseError: It is nothing that JSON could say.
    """
    try:
        return json.dumps(reply, default=_fields)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"the client gave a {type(reply).__name__} that is no answer ({error})"
        raise malformed(msg, None) from error


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a mapping, of a Pydantic model, or of any object that has some."""
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    if hasattr(type(value), "model_dump"):
        return cast("dict[str, Any]", value.model_dump(mode="json", warnings=False))
    return {name: one for name, one in vars(value).items() if not name.startswith("_")}
