"""The options of ``batchllm run``, and the settings and strategy that they stand for."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import tomllib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from attrs import evolve, frozen
from cyclopts import Group, Parameter

from batchllm.cli.exits import UsageError
from batchllm.cli.lines import InputFormat
from batchllm.core import ConfigError, LLMCallStrategy, ProcessorConfig, load_config
from batchllm.llm_strategies import llm
from batchllm.simulator import Simulator, SimulatorLog, parse_scenario, serve

__all__ = ["AUTO_CEILING", "Backend", "RunSettings", "backend_options", "open_strategy"]

AUTO_CEILING = 256
"""Calls in flight that ``--concurrency auto`` never passes."""

Backend = Literal["asyncio", "uvloop", "trio"]

_MODEL = Group("The model", sort_key=1)
_ROWS = Group("Lines in and out", sort_key=2)
_RESUME = Group("Going on, and starting anew", sort_key=3)
_PACE = Group("Pace and patience", sort_key=4)
_HOW = Group("How it runs", sort_key=5)

_OPTIONS = {
    "ProcessorConfig.max_requests_per_minute": "--rpm",
    "ProcessorConfig.max_tokens_per_minute": "--tpm",
    "ProcessorConfig.max_workers": "--concurrency",
    "ProcessorConfig.timeout_per_item": "--timeout",
    "RetryConfig.max_attempts": "--max-attempts",
}


def _option(text: str, group: Group, *names: str, **more: Any) -> Parameter:
    return Parameter(name=names or None, help=text, group=group, **more)


def _flag(text: str, group: Group) -> Parameter:
    return Parameter(help=text, group=group, negative="", show_default=False)


@frozen(kw_only=True)
class RunSettings:
    """The options of ``batchllm run``."""

    model: Annotated[
        str,
        _option(
            "provider:model, such as openai:gpt-5-mini, or sim:default, which answers from a "
            "simulator and needs no key. `batchllm models` lists the providers.",
            _MODEL,
            "--model",
            "-m",
        ),
    ]
    base_url: Annotated[
        str | None, _option("The provider's address, in place of its usual one.", _MODEL)
    ] = None
    api_key_env: Annotated[
        str | None,
        _option("The environment variable that holds the key, in place of the usual one.", _MODEL),
    ] = None
    system: Annotated[str | None, _option("A system instruction for every prompt.", _MODEL)] = None
    temperature: Annotated[float | None, _option("Left to the provider by default.", _MODEL)] = None
    max_tokens: Annotated[int | None, _option("The most tokens of one answer.", _MODEL)] = None
    output: Annotated[
        str,
        _option(
            "Where rows go as they come, as JSON lines; - is standard output. If the file is there "
            "with its journal, the run goes on; a file without one is refused.",
            _ROWS,
            "--output",
            "-o",
            allow_leading_hyphen=True,
        ),
    ] = "-"
    journal: Annotated[
        Path | None,
        _option(
            "Where each answer is written down before its row; by default beside the output, with "
            ".journal behind its name. A row is only ever of an answer that is there.",
            _RESUME,
        ),
    ] = None
    no_journal: Annotated[
        bool, _flag("Keep none: a run that stops cannot be gone on with.", _RESUME)
    ] = False
    retry_failed: Annotated[bool, _flag("Try lines again that failed.", _RESUME)] = False
    rerun_changed: Annotated[
        bool, _flag("Ask again if the model or its settings have changed.", _RESUME)
    ] = False
    keep_finished: Annotated[
        bool, _flag("Keep answers of another model or of other settings.", _RESUME)
    ] = False
    fresh: Annotated[
        bool, _flag("Start anew; the old output and journal get another name.", _RESUME)
    ] = False
    overwrite: Annotated[
        bool, _flag("Start anew; the old output and journal are lost.", _RESUME)
    ] = False
    input_format: Annotated[
        InputFormat | None,
        _option("By default as the input's name says; standard input is jsonl.", _ROWS),
    ] = None
    template: Annotated[
        str | None,
        _option(
            'Makes each prompt from its row\'s fields: "Translate into {language}: {text}". '
            "Braces that are meant as such are doubled.",
            _ROWS,
        ),
    ] = None
    limit: Annotated[int | None, _option("Take only the first so many lines.", _ROWS)] = None
    ordered: Annotated[bool, _flag("Write rows in the order of the input.", _ROWS)] = False
    concurrency: Annotated[
        int | Literal["auto"] | None,
        _option(
            "Calls in flight: a number is the exact cap. auto, the default, starts with few, "
            f"doubles with every clean round trip up to {AUTO_CEILING}, and keeps to the quota "
            "once it has met it.",
            _PACE,
        ),
    ] = None
    rpm: Annotated[float | None, _option("A known quota of requests per minute.", _PACE)] = None
    tpm: Annotated[float | None, _option("A known quota of tokens per minute.", _PACE)] = None
    max_attempts: Annotated[
        int | None, _option("Attempts per line, the first included; 3 by default.", _PACE)
    ] = None
    timeout: Annotated[
        float | None,
        _option("Seconds for a line's own work, waiting for a quota apart; 120 by default.", _PACE),
    ] = None
    config: Annotated[
        Path | None,
        _option(
            "A .toml or .json file of settings (fields of ProcessorConfig); options given here "
            "win over it.",
            _PACE,
        ),
    ] = None
    backend: Annotated[Backend, _option("The event loop.", _HOW)] = "asyncio"
    quiet: Annotated[bool, _flag("No progress and no summary.", _HOW)] = False

    def processor_config(self) -> ProcessorConfig:
        """The settings of the run.

        Raises:
            UsageError: One of them is wrong.
        """
        try:
            return self._changed(self._base())
        except ConfigError as error:
            text = str(error)
            for name, option in _OPTIONS.items():
                text = text.replace(name, option)
            text = re.sub(r", or None .*", ", or leave it out", text)
            raise UsageError(text) from None
        except OSError as error:
            msg = f"--config: {self.config} cannot be read: {error.strerror or error}"
            raise UsageError(msg) from None

    def _base(self) -> ProcessorConfig:
        if self.config is None:
            return ProcessorConfig(max_workers=AUTO_CEILING)
        config = load_config(self.config)
        if "max_workers" in _names_in(self.config):
            return config
        return evolve(config, max_workers=AUTO_CEILING)

    def _changed(self, config: ProcessorConfig) -> ProcessorConfig:
        changes: dict[str, Any] = {
            "max_workers": AUTO_CEILING if self.concurrency == "auto" else self.concurrency,
            "max_requests_per_minute": self.rpm,
            "max_tokens_per_minute": self.tpm,
            "timeout_per_item": self.timeout,
        }
        if self.max_attempts is not None:
            changes["retry"] = evolve(config.retry, max_attempts=self.max_attempts)
        given = {name: value for name, value in changes.items() if value is not None}
        return evolve(config, **given, keep_results=False)


def _names_in(path: Path) -> set[str]:
    """The settings that a file gives; ``load_config`` has found it to be in order."""
    read = tomllib.loads if path.suffix.lower() == ".toml" else json.loads
    return set(read(path.read_text(encoding="utf-8-sig")))


def backend_options(backend: Backend) -> dict[str, Any]:
    """The arguments of ``anyio.run`` for an event loop.

    Raises:
        UsageError: It is not installed.
    """
    if backend != "uvloop":
        return {"backend": backend}
    if importlib.util.find_spec("uvloop") is None:
        msg = '--backend uvloop needs uvloop; install it by: pip install "batchllm[uvloop]"'
        raise UsageError(msg)
    return {"backend": "asyncio", "backend_options": {"use_uvloop": True}}


@asynccontextmanager
async def open_strategy(settings: RunSettings) -> AsyncGenerator[LLMCallStrategy[str]]:
    """The strategy for ``--model``.

    For ``sim:…`` without ``--base-url`` a simulator listens on loopback meanwhile, so that the
    run goes over real HTTP.

    Raises:
        UsageError: The model, its key or a parameter is wrong.
    """
    provider, _, name = settings.model.partition(":")
    if provider != "sim" or not name:
        yield _named(settings, settings.model, settings.base_url)
        return
    model = f"openai-compatible:{name}"
    if settings.base_url is not None:
        yield _named(settings, model, settings.base_url)
        return
    try:
        scenario = parse_scenario(name)
    except ValueError as error:
        msg = f"--model {settings.model}: {error}"
        raise UsageError(msg) from None
    async with serve(Simulator(scenario, log=SimulatorLog(keep=0))) as server:
        yield _named(settings, model, f"{server.url}/v1")


def _named(settings: RunSettings, model: str, base_url: str | None) -> LLMCallStrategy[str]:
    try:
        return llm(
            model,
            system=settings.system,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            base_url=base_url,
            api_key=_key_from(settings.api_key_env),
        )
    except ConfigError as error:
        text = str(error).replace("api_key", "--api-key-env").replace("base_url", "--base-url")
        raise UsageError(text) from None


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
