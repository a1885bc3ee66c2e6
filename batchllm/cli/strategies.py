"""The strategy that the options stand for: one model, or several that stand in for each other."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from batchllm.cli.exits import UsageError
from batchllm.cli.loading import uncollected
from batchllm.cli.settings import RunSettings
from batchllm.core import ConfigError, LLMCallStrategy
from batchllm.llm_strategies import Fallback, llm, provider_variables, providers

__all__ = ["check_strategy", "key_variables", "open_strategy", "parameters_of"]

# What a parameter is called here, if it has an option of its own.
_OWN_OPTIONS = {
    "temperature": "--temperature",
    "max_tokens": "--max-tokens",
    "system": "--system",
    "api_key": "--api-key-env",
    "output": "--schema",
    "name": "--model",
    "base_url": "--base-url",
}
# Other arguments of `llm` that are no parameters of a model.
_NOT_PARAMETERS = frozenset({"headers", "http", "stream"})
_LOOPBACK = "http://127.0.0.1/v1"


@asynccontextmanager
async def open_strategy(settings: RunSettings) -> AsyncGenerator[LLMCallStrategy[Any]]:
    """Open the strategy for ``--model``; given several times, one takes over from the other.

    For ``sim:…`` without ``--base-url`` a simulator listens on loopback meanwhile, so that the
    run goes over real HTTP.

    Raises:
        UsageError: The model, its key or a parameter is wrong.
    """
    _check_providers(settings)
    given: dict[str, Any] = {
        "system": settings.system,
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "output": _output(settings.schema),
        "api_key": _key_from(settings.api_key_env),
        **parameters_of(settings.parameter),
    }
    async with AsyncExitStack() as servers:
        parts = [await _open(name, settings.base_url, given, servers) for name in settings.model]
        yield parts[0] if len(parts) == 1 else Fallback(parts)


async def _open(
    name: str, base_url: str | None, given: Mapping[str, Any], servers: AsyncExitStack
) -> LLMCallStrategy[Any]:
    if base_url is None and (scenario := _scenario_in(name)):
        base_url = await _open_simulator(name, scenario, servers)
    try:
        strategy: LLMCallStrategy[Any] = llm(name, base_url=base_url, **given)
    except ConfigError as error:
        raise UsageError(_in_options(str(error))) from None
    return strategy


def _scenario_in(name: str) -> str:
    """Return what stands behind ``sim:``; nothing if the model is another one."""
    provider, _, model = name.partition(":")
    return model if provider.lower() == "sim" else ""


async def _open_simulator(name: str, model: str, servers: AsyncExitStack) -> str:
    """Serve the scenario that *model* is, and return its address."""
    # Imported here, since it is a tenth of what a run loads, and few have one.
    with uncollected():
        from batchllm.simulator import Simulator, SimulatorLog, parse_scenario, serve

    try:
        scenario = parse_scenario(model)
    except ValueError as error:
        msg = f"--model {name}: {error}"
        raise UsageError(msg) from None
    simulator = Simulator(scenario, log=SimulatorLog(keep=0))
    return f"{(await servers.enter_async_context(serve(simulator))).url}/v1"


def _check_providers(settings: RunSettings) -> None:
    """Refuse one key or one address for several providers: a key would go to a foreign server."""
    given = {"--api-key-env": settings.api_key_env, "--base-url": settings.base_url}
    options = [option for option, value in given.items() if value is not None]
    names = [name.partition(":")[0].strip().lower() for name in settings.model]
    names = [name.removesuffix("-responses") for name in names]  # another wire, the same account
    if options and len(set(names)) > 1:
        which = {"--api-key-env": 0, "--base-url": 1}  # the places of provider_variables
        variables = [
            provider_variables(name)[which[option]]
            for option in options
            for name in dict.fromkeys(names)
            if name in providers() and name != "sim"
        ]
        msg = (
            f"{' and '.join(options)} cannot hold for {' and '.join(dict.fromkeys(names))} alike; "
            f"set {', '.join(variables) or 'their variables'} in the environment instead"
        )
        raise UsageError(msg)


def _in_options(text: str) -> str:
    """Say what is wrong with an argument of ``llm`` in terms of the options."""
    text = text.replace("api_key", "--api-key-env").replace("base_url", "--base-url")
    return re.sub(r"extra=\{'(\w+)': …\}", r"""-p 'extra={"\1": …}'""", text)


def parameters_of(words: Sequence[str]) -> dict[str, Any]:
    """Read ``-p name=value``.

    Raises:
        UsageError: One has no name or no value, or there is an option for it.
    """
    parameters: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        shown = f"-p {name}={'…' if text else ''}"  # the value may be a key
        if not equals:
            msg = "-p: give name=value, such as -p top_p=0.9"
            raise UsageError(msg)
        if not name.isidentifier():
            msg = f"{shown}: give name=value, such as -p top_p=0.9"
            raise UsageError(msg)
        if name in _OWN_OPTIONS:
            msg = (
                f"{shown}: {name} is not given by -p but by {_OWN_OPTIONS[name]}; see batchllm run "
                "--help"
            )
            raise UsageError(msg)
        if name in _NOT_PARAMETERS:
            msg = f"{shown}: {name} is no parameter of a model; see batchllm run --help"
            raise UsageError(msg)
        if name in parameters:
            msg = f"{shown}: {name} is given twice"
            raise UsageError(msg)
        parameters[name] = _value_of(text)
    return parameters


def _output(schema: str | None) -> Any:
    """Return the type for ``--schema``."""
    if schema is None:
        return None
    from batchllm.cli.schemas import output_type  # with all that knows of types and schemas

    return output_type(schema)


def _value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def key_variables(settings: RunSettings) -> list[str]:
    """Return the environment variables from which the keys of the models were read."""
    if settings.api_key_env is not None:
        return [settings.api_key_env]
    providers = [name.partition(":")[0].lower() for name in settings.model]
    return [provider_variables(name)[0] for name in dict.fromkeys(providers) if name != "sim"]


def _key_from(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        if not (variable.isidentifier() and variable.isupper()):
            # Likely the key itself, which must not be shown.
            msg = "--api-key-env takes the name of an environment variable that is set, not a key"
            raise UsageError(msg)
        msg = f"--api-key-env: the environment variable {variable} is not set"
        raise UsageError(msg)
    return key


def check_strategy(settings: RunSettings) -> list[LLMCallStrategy[Any]]:
    """Look whether the models and their parameters can be used; no key is needed for that.

    Returns:
        A strategy for each model, to be looked at and not called.

    Raises:
        UsageError: One of them is wrong.
    """
    _check_providers(settings)
    given: dict[str, Any] = {
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "output": _output(settings.schema),
        **parameters_of(settings.parameter),
    }
    made: list[LLMCallStrategy[Any]] = []
    for name in settings.model:
        # A simulator is not made, either: for a run it would listen at an address like this.
        base_url = settings.base_url or (_LOOPBACK if _scenario_in(name) else None)
        try:
            made.append(llm(name, base_url=base_url, api_key="not needed here", **given))
        except ConfigError as error:
            raise UsageError(_in_options(str(error))) from None
    return made
