"""Options become the settings of a batch, and what is wrong with them a sentence about them."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from attrs import evolve

from batchllm.cli.exits import UsageError
from batchllm.cli.settings import AUTO_CEILING, Backend, RunSettings
from batchllm.core import (
    Budget,
    Category,
    ConfigError,
    FailFast,
    Price,
    ProcessorConfig,
    config_from_dict,
    load_config,
)

__all__ = ["backend_options", "processor_config", "seconds_of"]

_OPTIONS = {
    "ProcessorConfig.max_requests_per_minute": "--rpm",
    "ProcessorConfig.max_tokens_per_minute": "--tpm",
    "ProcessorConfig.max_workers": "--concurrency",
    "ProcessorConfig.timeout_per_item": "--timeout",
    "Budget.max_cost": "--max-cost",
    "Budget.max_tokens_total": "--max-tokens-total",
    "FailFast.after": "--fail-fast",
    "RetryConfig.max_attempts": "--max-attempts",
}

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
"""Seconds of each unit."""


def processor_config(settings: RunSettings) -> ProcessorConfig:
    """Return the settings of the batch.

    Raises:
        UsageError: One of them is wrong.
    """
    try:
        return _changed(settings, _base(settings.config))
    except ConfigError as error:
        text = str(error)
        for name, option in _OPTIONS.items():
            text = text.replace(name, option)
        text = re.sub(r", or None .*", ", or leave it out", text)
        raise UsageError(text) from None
    except OSError as error:
        msg = f"--config: {settings.config} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from None


def _base(path: Path | None) -> ProcessorConfig:
    if path is None:
        return ProcessorConfig(max_workers=AUTO_CEILING)
    config = load_config(path)
    return config if "max_workers" in _names_in(path) else evolve(config, max_workers=AUTO_CEILING)


def _changed(settings: RunSettings, config: ProcessorConfig) -> ProcessorConfig:
    concurrency = settings.concurrency
    changes: dict[str, Any] = {
        "max_workers": AUTO_CEILING if concurrency == "auto" else concurrency,
        "max_requests_per_minute": settings.rpm,
        "max_tokens_per_minute": settings.tpm,
        "timeout_per_item": settings.timeout,
        # With the provider's batches a deadline is more than a time limit: see batch_mode.py.
        "batch_timeout": None
        if settings.deadline is None or settings.mode == "batch"
        else seconds_of(settings.deadline),
    }
    if settings.max_attempts is not None:
        changes["retry"] = evolve(config.retry, max_attempts=settings.max_attempts)
    if settings.fail_fast is not None:
        config = evolve(config, fail_fast=_fail_fast(settings.fail_fast))
    given = {name: value for name, value in changes.items() if value is not None}
    given |= _money(settings, config)
    return evolve(config, **given, keep_results=False)


def _money(settings: RunSettings, config: ProcessorConfig) -> dict[str, Any]:
    """Return the settings of budget and prices, those of options over those of ``--config``."""
    given = {"max_cost": settings.max_cost, "max_tokens_total": settings.max_tokens_total}
    caps: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    changes: dict[str, Any] = {}
    if caps:
        old = config.budget
        changes["budget"] = Budget(**caps) if old is None else evolve(old, **caps)
    if settings.prices is not None:
        changes["prices"] = {**config.prices, **_prices_in(settings.prices)}
    return changes


def _prices_in(path: Path) -> Mapping[str, Price]:
    """Read a table of prices, which may stand under ``prices`` as in a file of settings."""
    try:
        found: Any = _reader_of(path)(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        msg = f"--prices: {path} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from None
    except (ValueError, RecursionError) as error:
        kind = "TOML" if path.suffix.lower() == ".toml" else "JSON"
        msg = f"--prices: {path} is not {kind}: {error}"
        raise UsageError(msg) from None
    table = found.get("prices", found) if isinstance(found, dict) else found
    return config_from_dict({"prices": table}, source=f"--prices: {path}").prices


def _fail_fast(text: str) -> FailFast | None:
    """Read ``--fail-fast``: ``never``, or categories and how many in a row."""
    if text.strip() == "never":
        return None
    names, colon, count = text.partition(":")
    categories = [name.strip() for name in names.split(",") if name.strip()]
    if not categories or (colon and not count.strip().isdecimal()):
        msg = f"--fail-fast is {text}; give categories and a number, such as authentication:3"
        raise UsageError(msg)
    known = [*Category, "*"]
    for name in categories:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
            msg = f"--fail-fast: {name} is no error category{meant}"
            raise UsageError(msg)
    after = int(count) if colon else FailFast().after
    return FailFast(categories=frozenset(categories), after=after)


def seconds_of(text: str) -> float:
    """Read ``--deadline``: a number of seconds, or one with s, m or h behind it.

    Raises:
        UsageError: It is not a time above 0.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    seconds = 0.0 if found is None else float(found[1]) * _UNITS[found[2]]
    if seconds <= 0:
        msg = f"--deadline is {text}; give a time such as 90s, 30m or 2h"
        raise UsageError(msg)
    return seconds


def _names_in(path: Path) -> set[str]:
    """Return the settings that a file gives; ``load_config`` has found it to be in order."""
    return set(_reader_of(path)(path.read_text(encoding="utf-8-sig")))


def _reader_of(path: Path) -> Callable[[str], Any]:
    """Return what reads a file of its kind: TOML or JSON."""
    if path.suffix.lower() != ".toml":
        return json.loads
    import tomllib

    return tomllib.loads


def backend_options(backend: Backend) -> dict[str, Any]:
    """Return the arguments of ``anyio.run`` for an event loop.

    Raises:
        UsageError: It is not installed.
    """
    if backend != "uvloop":
        return {"backend": backend}
    if importlib.util.find_spec("uvloop") is None:
        msg = '--backend uvloop needs uvloop; install it by: pip install "batchllm[uvloop]"'
        raise UsageError(msg)
    return {"backend": "asyncio", "backend_options": {"use_uvloop": True}}
