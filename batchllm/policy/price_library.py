"""Prices of genai-prices, an optional package, in our form.

Its own calculation takes 200 µs a call, so a model's prices are read once and reckoned with here.
To load it takes 0.15 s of CPU, and seconds on a busy machine: too long for an event loop.
They are those of a date: of a price that changes in the course of a run the first counts.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve

from batchllm.core import Price

__all__ = ["has_library", "is_loaded", "library_price", "load_library"]

_CALLED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "gemini": "google",
        "openai-responses": "openai",
        # As LangChain calls its chat models.
        "anthropic-chat": "anthropic",
        "azure-openai-chat": "azure",
        "chat-google-generative-ai": "google",
        "groq-chat": "groq",
        "mistralai-chat": "mistral",
        "openai-chat": "openai",
    }
)
"""Names of providers here, and there if they differ."""

_DATA: Final = "genai_prices.data_snapshot"
_BY_ADDRESS: Final = "openai-compatible"
_THOUSAND: Final = 1_000


def has_library() -> bool:
    """Return whether the package is installed."""
    return importlib.util.find_spec("genai_prices") is not None


def is_loaded() -> bool:
    """Return whether the package has been loaded in this process."""
    return sys.modules.get(_DATA) is not None


def load_library() -> None:
    """Load the package with its prices, if it is installed."""
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return
    get_snapshot()


def library_price(provider: str, model: str, base_url: str, at: datetime) -> Price | None:
    """Return the price of a model; ``None`` if it is not known there.

    Args:
        provider: As in ``llm("provider:model")``.
        model: The provider's name of it.
        base_url: Its address, which names the provider of an ``openai-compatible`` server.
        at: The prices of this time.
    """
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return None
    where: tuple[str | None, str | None] = (_CALLED.get(provider, provider), None)
    if provider == _BY_ADDRESS:
        where = (None, base_url)
    try:
        _, found = get_snapshot().find_provider_model(model, None, *where)
    except LookupError:
        return None
    return _as_price(found.get_prices(at))


def _as_price(given: Any) -> Price | None:
    """Read a set of prices; ``None`` if it has none for tokens."""
    if given.input_mtok is None and given.output_mtok is None:
        return None
    rates = {
        "input": given.input_mtok,
        "output": given.output_mtok,
        "cached_input": given.cache_read_mtok,
        "cache_write": given.cache_write_mtok,
        "reasoning": given.output_reasoning_mtok,
    }
    starts = {tier.start for rate in rates.values() for tier in getattr(rate, "tiers", ())}
    request = float(given.requests_kcount or 0) / _THOUSAND
    above = tuple((start, _at(rates, start + 1, request)) for start in sorted(starts) if start > 0)
    return evolve(_at(rates, 0, request), above=above)


def _at(rates: Mapping[str, Any], input_tokens: int, request: float) -> Price:
    """Return the price of calls with so many input tokens, all of which have it."""
    found = {name: _rate(rate, input_tokens) for name, rate in rates.items()}
    return Price(
        input=found.pop("input") or 0.0,
        output=found.pop("output") or 0.0,
        request=request,
        **found,
    )


def _rate(rate: Any, input_tokens: int) -> float | None:
    if rate is None:
        return None
    price = getattr(rate, "base", rate)
    for tier in getattr(rate, "tiers", ()):
        if input_tokens > tier.start:
            price = tier.price
    return float(price)
