"""``llm("provider:model")``: names to strategies. The only reader of environment variables."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from attrs import frozen

from batchllm.core import ConfigError, LLMModel, Price, kind_of
from batchllm.llm_strategies.model import ModelStrategy
from batchllm.llm_strategies.proxies import proxy_for
from batchllm.providers import (
    PROFILES,
    ChatModel,
    ChatProfile,
    ConnectionOptions,
    Endpoint,
    WireModel,
)
from batchllm.transport import HeaderValues, Http, Secret, is_our_own, mask_headers

if TYPE_CHECKING:
    from batchllm.llm_strategies.output import OutputStrategy
    from batchllm.providers import GeminiModel

__all__ = ["llm", "provider_variables", "providers"]

T = TypeVar("T")


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
    """Make the strategy for a model, by name.

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
        stream: If answers are asked for chunk by chunk, so that ``stall_timeout`` notices a
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
    if not isinstance(name, str):
        msg = f"the name of a model is {kind_of(name)}; give a text such as 'openai:gpt-5-mini'"
        raise ConfigError(msg)
    provider, colon, model = name.partition(":")
    provider = provider.strip().lower()  # people write OpenAI and DeepSeek
    if provider not in _PROVIDERS or not model:
        raise ConfigError(_wrong_name(name, provider, bool(colon)))
    if isinstance(output, (str, list, tuple, dict, set)):
        msg = f"output is {output!r:.80}, {kind_of(output)}; give a type, such as list[str]"
        raise ConfigError(msg)
    known = _provider(provider)
    given = {"temperature": temperature, "max_tokens": max_tokens, **parameters}
    given = {key: value for key, value in given.items() if value is not None}
    connection: ConnectionOptions = {
        "base_url": base_url,
        "api_key": api_key,
        "headers": headers,
        "http": http,
    }
    asked = known.build(
        model,
        parameters={key: given[key] for key in given if key not in known.own_options},
        extra=extra or {},
        stream=stream,
        **{key: given[key] for key in given if key in known.own_options},
        **_connection(provider, connection),
    )
    strategy = ModelStrategy(asked, temperature=None, system=system)
    if output is None:
        return strategy
    from batchllm.llm_strategies.output import with_output  # with all that reads typed answers

    return with_output(strategy, output)


def providers() -> tuple[str, ...]:
    """Name the providers that ``llm`` knows."""
    return tuple(sorted(_PROVIDERS))


def provider_variables(provider: str) -> tuple[str, str]:
    """Name the environment variables of a provider's key and address that ``llm`` reads first."""
    endpoint = _provider(provider).endpoint
    return endpoint.key_variables[0], endpoint.address_variables[0]


def _wrong_name(name: str, provider: str, has_colon: bool) -> str:
    known = ", ".join(sorted(_PROVIDERS))
    if provider in _PROVIDERS:
        return f"{name!r} names no model; write {provider + ':model'!r}"
    if not has_colon:
        return f"{name!r} names no provider; write 'provider:model' with one of {known}"
    near = difflib.get_close_matches(provider, sorted(_PROVIDERS), n=1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown provider {provider!r}{meant} Known are {known}"


@frozen
class _Provider:
    """One of the names before the colon.

    Attributes:
        endpoint: Where its models are, and its variables.
        build: Makes a model over a connection to it.
        own_options: Parameters of ``llm`` that are options of the model's class.
    """

    endpoint: Endpoint
    build: Callable[..., LLMModel]
    own_options: Collection[str] = ()


def _of_class(kind: type[WireModel[Any]], **given: Any) -> _Provider:
    endpoint: Endpoint = given.get("profile") or kind.endpoint
    return _Provider(endpoint, partial(kind, **given), kind.own_options)


def _gemini_model(
    model: str,
    *,
    parameters: Mapping[str, Any],
    extra: Mapping[str, Any],
    stream: bool,
    **connection: Any,
) -> GeminiModel:
    from batchllm.providers import GeminiClient, GeminiModel

    client = GeminiClient(**connection)
    return GeminiModel(model, client, parameters=parameters, extra=extra, stream=stream)


def _simulated(model: str, *, http: Http | None, base_url: str | None, **options: Any) -> ChatModel:
    # Imported here, since it is a tenth of what llm() loads, and few ask for it.
    from batchllm.simulator import parse_scenario

    try:
        scenario = parse_scenario(model)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if http is None and base_url == _SIMULATOR.base_url:  # else one that listens there
        from batchllm.simulator import Simulator, SimulatorTransport

        http = SimulatorTransport(Simulator(scenario))
    # There is nothing that a proxy could lead to.
    options["proxy"] = None
    asked = ChatModel(model, profile=_SIMULATOR, http=http, base_url=base_url, **options)
    asked.price = Price(input=scenario.input_price, output=scenario.output_price)
    return asked


_SIMULATOR: Final = ChatProfile(
    provider="sim",
    base_url="http://simulator/v1",
    needs_key=False,
    own_parameters=PROFILES["openai-compatible"].own_parameters,
)


def _anthropic() -> _Provider:
    from batchllm.providers import AnthropicModel

    return _of_class(AnthropicModel)


def _gemini() -> _Provider:
    from batchllm.providers import GEMINI

    return _Provider(GEMINI, _gemini_model)


def _responses() -> _Provider:
    from batchllm.providers import ResponsesModel

    return _of_class(ResponsesModel)


# What makes each is called when it is first asked for, since every wire format is a folder to load.
_PROVIDERS: Final[Mapping[str, Callable[[], _Provider]]] = MappingProxyType(
    {
        **{name: partial(_of_class, ChatModel, profile=one) for name, one in PROFILES.items()},
        "anthropic": _anthropic,
        "gemini": _gemini,
        "openai-responses": _responses,
        "sim": partial(_Provider, _SIMULATOR, _simulated),
    }
)


@cache
def _provider(name: str) -> _Provider:
    return _PROVIDERS[name]()


def _connection(provider: str, given: ConnectionOptions) -> ConnectionOptions:
    """Complete address, key and proxy from the environment."""
    endpoint, http = _provider(provider).endpoint, given.get("http")
    if given.get("base_url") == "":  # an unset variable must not send a key to another server
        msg = "base_url is ''; give an address, or leave it out for the provider's usual one"
        raise ConfigError(msg)
    address = given.get("base_url") or endpoint.find_address(os.environ) or endpoint.base_url
    if not address:
        variable = endpoint.address_variables[0]
        msg = f"{provider} has no address of its own; give base_url, or set {variable}"
        raise ConfigError(msg)
    key = given.get("api_key") or endpoint.find_key(os.environ)
    if key is not None:  # one that was given is read from its usual variable in another process
        key = Secret(key, partial(_read_key, provider))
    if key is None and endpoint.needs_key and is_our_own(http):
        msg = f"{provider} needs a key: set {endpoint.key_variables[0]}, or give api_key"
        raise ConfigError(msg)
    proxy = proxy_for(address, os.environ) if http is None else None
    return {**given, "base_url": address, "api_key": key, "proxy": proxy}


def _read_key(provider: str) -> Secret:
    """Read the key of a strategy that comes from another process.

    Raises:
        ConfigError: This process's environment does not have it.
    """
    endpoint = _provider(provider).endpoint
    key = endpoint.find_key(os.environ)
    if key is None:
        msg = (
            f"the strategy that was unpickled left its key behind; set "
            f"{endpoint.key_variables[0]} in this process, too"
        )
        raise ConfigError(msg)
    return Secret(key, partial(_read_key, provider))
