"""``batchllm models``: what can stand behind ``-m``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any

from batchllm.cli.exits import ExitCode, UsageError
from batchllm.llm_strategies import provider_variables, providers
from batchllm.providers import PROFILES
from batchllm.simulator import SCENARIOS, Scenario

__all__ = ["print_models"]


def print_models(provider: str | None, *, as_json: bool) -> ExitCode:
    """List the providers and what they need, and the simulator's scenarios.

    Args:
        provider: Only this one.
        as_json: For a script.

    Raises:
        UsageError: There is no such provider.
    """
    names = providers() if provider is None else (_known(provider),)
    rows = [_provider(name) for name in names]
    with_scenarios = "sim" in names
    if as_json:
        found: dict[str, Any] = {"providers": rows}
        if with_scenarios:
            found["scenarios"] = {name: _traits(one) for name, one in sorted(SCENARIOS.items())}
        print(json.dumps(found, indent=2))
        return ExitCode.OK
    table = [[row["name"], _key_in_words(row), _address_in_words(row)] for row in rows]
    print(_table("Providers: -m provider:model", ["provider", "key from", "address"], table))
    if with_scenarios:
        scenarios = [[name, ", ".join(_traits(one))] for name, one in sorted(SCENARIOS.items())]
        title = "Scenarios: -m sim:scenario, or batchllm serve-sim"
        print("\n" + _table(title, ["scenario", "what it is like"], scenarios))
    return ExitCode.OK


def _known(name: str) -> str:
    name = name.lower().partition(":")[0]
    if name in providers():
        return name
    near = difflib.get_close_matches(name, providers(), n=1)
    meant = f"; did you mean {near[0]}?" if near else "."
    msg = f"unknown provider {name!r}{meant} Known are {', '.join(providers())}"
    raise UsageError(msg)


def _provider(name: str) -> dict[str, Any]:
    if name == "sim":
        return {
            "name": name,
            "key": None,
            "needs_key": False,
            "address": None,
            "address_from": None,
        }
    key, address = provider_variables(name)
    profile = PROFILES.get(name)
    return {
        "name": name,
        "key": key,
        "needs_key": profile is None or profile.needs_key,
        "address": None if profile is None else profile.base_url or None,
        "address_from": address,
    }


def _key_in_words(row: dict[str, Any]) -> str:
    if row["key"] is None:
        return "none"
    return str(row["key"]) if row["needs_key"] else f"{row['key']}, if it has one"


def _address_in_words(row: dict[str, Any]) -> str:
    if row["name"] == "sim":
        return "a simulator on this machine; see below"
    if row["address"] is not None:
        return str(row["address"])
    variable = row["address_from"]
    return f"its own, or {variable}" if row["name"] not in PROFILES else f"--base-url or {variable}"


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns. Long lines stay whole, so that addresses in them can be copied."""
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    ]
    return "\n".join([title, *lines])


def _traits(scenario: Scenario) -> list[str]:
    traits = [f"like {scenario.profile}"]
    quotas = (
        (scenario.requests_per_minute, "requests a minute"),
        (scenario.tokens_per_minute, "tokens a minute"),
        (scenario.input_tokens_per_minute, "input tokens a minute"),
        (scenario.output_tokens_per_minute, "output tokens a minute"),
        (scenario.requests_per_day, "requests a day"),
        (scenario.max_concurrent, "calls at once"),
        (scenario.slots, "worked on at once, the others queue"),
    )
    traits += [f"{quota:,.0f} {what}" for quota, what in quotas if quota is not None]
    if scenario.requests_per_minute is not None and not scenario.hints:
        traits.append("refuses without a hint")
    if scenario.faults.rate:
        traits.append(f"{scenario.faults.rate:.0%} of requests fail")
    if scenario.api_key is not None:
        traits.append(f"takes only the key {scenario.api_key}")
    return traits
