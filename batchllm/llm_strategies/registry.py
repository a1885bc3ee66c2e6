"""``llm("provider:model")``: names to strategies. The only reader of environment variables."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeVar, overload

from attrs import evolve, field, frozen

from batchllm.core import ConfigError, LLMModel, kind_of
from batchllm.llm_strategies.model import ModelStrategy
from batchllm.llm_strategies.output import OutputStrategy, with_output
from batchllm.llm_strategies.proxies import proxy_for
from batchllm.providers import (
    GEMINI,
    PROFILES,
    AnthropicModel,
    ChatModel,
    ChatProfile,
    Endpoint,
    GeminiClient,
    GeminiModel,
    ResponsesModel,
)
from batchllm.simulator import Simulator, SimulatorTransport, parse_scenario
from batchllm.transport import HeaderValues, Http, Secret, is_our_own, mask_headers

__all__ = ["ModelRequest", "llm", "provider_variables", "providers"]

T = TypeVar("T")

# Where a provider's variables do not begin with its own name.
_PREFIXES: Final = MappingProxyType({"azure": "AZURE_OPENAI", "openai-responses": "OPENAI"})


@frozen(kw_only=True)
class ModelRequest:
    """What ``llm`` was asked for."""

    provider: str
    model: str
    system: str | None
    parameters: Mapping[str, Any]
    extra: Mapping[str, Any]
    base_url: str | None
    api_key: Secret | None = field(repr=False)
    headers: HeaderValues = field(repr=False)
    http: Http | None
    stream: bool


@overload
def llm(
    name: str,
    *,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    output: None = None,
    base_url: str | None = None,
    api_key: str | Secret | None = None,
    headers: HeaderValues | None = None,
    extra: Mapping[str, Any] | None = None,
    http: Http | None = None,
    stream: bool = False,
    **parameters: Any,
) -> ModelStrategy[str]: ...


@overload
def llm(
    name: str,
    *,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    output: type[T],
    base_url: str | None = None,
    api_key: str | Secret | None = None,
    headers: HeaderValues | None = None,
    extra: Mapping[str, Any] | None = None,
    http: Http | None = None,
    stream: bool = False,
    **parameters: Any,
) -> OutputStrategy[T]: ...


def llm(
    name: str,
    *,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    output: Any = None,
    base_url: str | None = None,
    api_key: str | Secret | None = None,
    headers: HeaderValues | None = None,
    extra: Mapping[str, Any] | None = None,
    http: Http | None = None,
    stream: bool = False,
    **parameters: Any,
) -> ModelStrategy[Any]:
    """The strategy for a model, by name.

    Args:
        name: ``"provider:model"``, such as ``"openai:gpt-5-mini"`` (Chat Completions),
            ``"openai-responses:gpt-5-mini"`` (the same models by OpenAI's Responses),
            ``"anthropic:claude-sonnet-5"``, ``"gemini:gemini-2.5-flash"``,
            ``"ollama:llama3.2"`` or ``"sim:default"``, the embedded simulator, which needs no
            key and no network.
        system: The system instruction.
        temperature: ``None`` leaves it to the provider.
        max_tokens: The most tokens of an answer.
        output: The type of the outputs: an attrs class, dataclass, ``TypedDict`` or Pydantic
            model, or anything that is built of those, such as ``list[Person]``. See
            ``OutputStrategy``. By default they are text.
        base_url: The server's address. By default ``<PROVIDER>_BASE_URL`` from the environment,
            else the provider's own.
        api_key: By default ``<PROVIDER>_API_KEY`` from the environment.
        headers: Sent with every request.
        extra: Put into every request unchecked.
        http: An ``HttpTransport`` to share, a transport or client of httpx or httpx2, or a proxy's
            address, in place of connections of its own.
        stream: Whether to ask for answers chunk by chunk, so that ``stall_timeout`` notices a
            stall.
        parameters: More of the provider's parameters, such as ``seed=7`` or ``stop=["END"]``;
            for Anthropic also ``cache_system`` (see ``AnthropicModel``).

    Raises:
        ConfigError: The provider or a parameter is unknown, or a key or address is missing.
        TypeError: *output* holds a type that JSON cannot express.

    Example:
        >>> llm("sim:default")
        ModelStrategy(ChatModel('default', sim, 'http://simulator/v1'))
    """
    # Masked before anything can fail: a traceback shows what local variables hold.
    api_key = None if api_key is None else Secret(api_key)
    headers = mask_headers(headers)
    provider, colon, model = name.partition(":")
    provider = provider.strip().lower()  # as people write their names: OpenAI, DeepSeek
    builder = _BUILDERS.get(provider)
    if builder is None or not model:
        raise ConfigError(_wrong_name(name, provider, bool(colon)))
    given = {"temperature": temperature, "max_tokens": max_tokens, **parameters}
    request = ModelRequest(
        provider=provider,
        model=model,
        system=system,
        parameters={key: value for key, value in given.items() if value is not None},
        extra=extra or {},
        base_url=base_url,
        api_key=api_key,
        headers=headers,
        http=http,
        stream=stream,
    )
    if isinstance(output, (list, tuple, dict, set)):
        msg = f"output is {output!r:.80}, {kind_of(output)}; give a type, such as list[str]"
        raise ConfigError(msg)
    strategy = builder(request)
    return strategy if output is None else with_output(strategy, output)


def providers() -> tuple[str, ...]:
    """The providers that ``llm`` knows."""
    return tuple(sorted(_BUILDERS))


def provider_variables(provider: str) -> tuple[str, str]:
    """The environment variables from which ``llm`` takes a provider's key and its address."""
    return _variable(provider, "API_KEY"), _variable(provider, "BASE_URL")


def _wrong_name(name: str, provider: str, has_colon: bool) -> str:
    known = ", ".join(sorted(_BUILDERS))
    if provider in _BUILDERS:
        return f"{name!r} names no model; write {provider + ':model'!r}"
    if not has_colon:
        return f"{name!r} names no provider; write 'provider:model' with one of {known}"
    near = difflib.get_close_matches(provider, sorted(_BUILDERS), n=1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown provider {provider!r}{meant} Known are {known}"


def _variable(provider: str, what: str) -> str:
    prefix = _PREFIXES.get(provider) or provider.upper().replace("-", "_")
    return f"{prefix}_{what}"


def _from_environment(provider: str, what: str) -> str | None:
    return os.environ.get(_variable(provider, what)) or None


def _build_chat(request: ModelRequest) -> ModelStrategy[str]:
    profile = PROFILES[request.provider]
    address, key, proxy = _connection(request, profile)
    return _as_strategy(request, profile, address, key, request.http, proxy)


def _build_responses(request: ModelRequest) -> ModelStrategy[str]:
    return _build_native(request, ResponsesModel)


def _build_anthropic(request: ModelRequest) -> ModelStrategy[str]:
    parameters = dict(request.parameters)
    cache_system = parameters.pop("cache_system", False)
    kind = partial(AnthropicModel, cache_system=cache_system)
    return _build_native(evolve(request, parameters=parameters), kind, AnthropicModel.endpoint)


def _build_native(
    request: ModelRequest,
    kind: Callable[..., LLMModel],
    endpoint: Endpoint = ResponsesModel.endpoint,
) -> ModelStrategy[str]:
    address, key, proxy = _connection(request, endpoint)
    model = kind(
        request.model,
        base_url=address,
        api_key=key,
        headers=request.headers,
        http=request.http,
        parameters=request.parameters,
        extra=request.extra,
        stream=request.stream,
        proxy=proxy,
    )
    return ModelStrategy(model, temperature=None, system=request.system)


def _build_gemini(request: ModelRequest) -> ModelStrategy[str]:
    address, key, proxy = _connection(request, GEMINI)
    client = GeminiClient(
        key, base_url=address, http=request.http, headers=request.headers, proxy=proxy
    )
    model = GeminiModel(
        request.model,
        client,
        parameters=request.parameters,
        extra=request.extra,
        stream=request.stream,
    )
    return ModelStrategy(model, temperature=None, system=request.system)


def _connection(request: ModelRequest, endpoint: Endpoint) -> tuple[str, Secret | None, str | None]:
    """Address, key and proxy for a request, from it or from the environment."""
    provider = request.provider
    address = request.base_url or _address_from_environment(provider) or endpoint.base_url
    if not address:
        msg = (
            f"{provider} has no address of its own; give base_url, or set "
            f"{_variable(provider, 'BASE_URL')}"
        )
        raise ConfigError(msg)
    key = request.api_key or _key_from_environment(provider)
    if key is not None:  # one that was given is read from its usual variable in another process
        key = Secret(key, partial(_read_key, provider))
    if key is None and endpoint.needs_key and is_our_own(request.http):
        msg = f"{provider} needs a key: set {_variable(provider, 'API_KEY')}, or give api_key"
        raise ConfigError(msg)
    proxy = proxy_for(address, os.environ) if request.http is None else None
    return address, key, proxy


def _address_from_environment(provider: str) -> str | None:
    address = _from_environment(provider, "BASE_URL")
    endpoint = _from_environment(provider, "ENDPOINT")
    if address is None and endpoint is not None and provider == "azure":
        return f"{endpoint.rstrip('/')}/openai/v1"
    return address


def _key_from_environment(provider: str) -> Secret | None:
    value = _from_environment(provider, "API_KEY")
    if value is None and provider == "gemini":
        value = os.environ.get("GOOGLE_API_KEY")  # as Google's own tools call it
    return Secret(value) if value else None


def _read_key(provider: str) -> Secret:
    """Read the key of a strategy that comes from another process.

    Raises:
        ConfigError: This process's environment does not have it.
    """
    key = _key_from_environment(provider)
    if key is None:
        msg = (
            f"the strategy that was unpickled left its key behind; set "
            f"{_variable(provider, 'API_KEY')} in this process, too"
        )
        raise ConfigError(msg)
    return Secret(key, partial(_read_key, provider))


def _build_simulated(request: ModelRequest) -> ModelStrategy[str]:
    try:
        scenario = parse_scenario(request.model)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    http = request.http or SimulatorTransport(Simulator(scenario))
    profile = evolve(PROFILES["openai-compatible"], provider="sim")
    address = request.base_url or "http://simulator/v1"
    return _as_strategy(request, profile, address, request.api_key, http, None)


def _as_strategy(
    request: ModelRequest,
    profile: ChatProfile,
    address: str,
    key: Secret | None,
    http: Http | None,
    proxy: str | None,
) -> ModelStrategy[str]:
    model = ChatModel(
        request.model,
        profile=profile,
        base_url=address,
        api_key=key,
        headers=request.headers,
        http=http,
        parameters=request.parameters,
        extra=request.extra,
        stream=request.stream,
        proxy=proxy,
    )
    return ModelStrategy(model, temperature=None, system=request.system)


Builder = Callable[[ModelRequest], ModelStrategy[str]]

_BUILDERS: Final[Mapping[str, Builder]] = MappingProxyType(
    {
        **dict.fromkeys(PROFILES, _build_chat),
        "anthropic": _build_anthropic,
        "gemini": _build_gemini,
        "openai-responses": _build_responses,
        "sim": _build_simulated,
    }
)
