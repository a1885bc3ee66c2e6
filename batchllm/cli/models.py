"""``batchllm models``: what can stand behind ``-m``."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from batchllm.cli.exits import ExitCode
from batchllm.llm_strategies import provider_variables, providers
from batchllm.providers import PROFILES
from batchllm.simulator import SCENARIOS, Scenario

__all__ = ["models"]


def models() -> ExitCode:
    """List the providers and what they need, and the simulator's scenarios."""
    console = Console(highlight=False)
    console.print(_providers())
    console.print(_scenarios())
    return ExitCode.OK


def _providers() -> Table:
    table = _table("Providers: -m provider:model", "provider", "key from", "address")
    for provider in providers():
        if provider == "sim":
            table.add_row("sim", "none", "a simulator on this machine; see below")
            continue
        key, address = provider_variables(provider)
        profile = PROFILES.get(provider)
        needs_key = profile is None or profile.needs_key
        known = "its own" if profile is None else profile.base_url or f"--base-url or {address}"
        table.add_row(provider, key if needs_key else f"{key}, if it has one", known)
    return table


def _scenarios() -> Table:
    table = _table(
        "Scenarios: -m sim:scenario, or batchllm serve-sim", "scenario", "what it is like"
    )
    for name, scenario in sorted(SCENARIOS.items()):
        table.add_row(name, ", ".join(_traits(scenario)))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


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
