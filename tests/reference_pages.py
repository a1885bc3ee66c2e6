"""Pages of the reference that are made from the program: ``python -m tests.reference_pages``."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from unittest.mock import patch

from attrs import fields_dict

from batchllm.cli import main
from batchllm.cli.app import make_app
from batchllm.simulator import FAULT_NAMES, SCENARIOS, FaultPlan, Fixed, LogNormal, Scenario
from tests.pages import DOCS, programs, read, shells
from tests.pages import PAGES as ALL_PAGES

REFERENCE = DOCS / "reference"
COLUMNS = 88
"""The width of help texts: what fits a page without being scrolled."""


def cli_page() -> str:
    """Return the help of the program and of each command, as they print it."""
    parts = [
        "# Commands and options\n",
        "What `batchllm --help` and `batchllm COMMAND --help` print.\n"
        "[The command line](../how-to/command-line.md) shows them at work.\n",
        "```text\n" + _help() + "```\n",
    ]
    commands = [name for name in make_app() if not name.startswith("-")]
    parts += [f"## batchllm {name}\n\n```text\n{_help(name)}```\n" for name in commands]
    return "\n".join(parts)


def scenarios_page() -> str:
    """Return a table of the simulator's scenarios, its parameters and its faults."""
    lines = [
        "# Scenarios of the simulator",
        "",
        'A name after `sim:`, as in `llm("sim:quota")` or `-m sim:flaky`, or of '
        "`batchllm serve-sim quota`. What differs from `default`:",
        "",
        "| scenario | settings |",
        "|---|---|",
        *(f"| `{name}` | {_differences(scenario)} |" for name, scenario in SCENARIOS.items()),
        "",
        "Any setting can be changed behind a question mark: "
        '`llm("sim:quota?requests_per_minute=60&latency=0.5")`. The settings are those of '
        "[`Scenario`](api/simulator.md).",
        "",
        "## Faults",
        "",
        "Names for `FaultPlan(mix={…})` and `FaultPlan(script={…})`; a number is a status:",
        "",
        ", ".join(f"`{name}`" for name in FAULT_NAMES) + ".",
    ]
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {"cli.md": cli_page, "scenarios.md": scenarios_page}


def _help(*words: str) -> str:
    told = io.StringIO()
    with patch.dict(os.environ, COLUMNS=str(COLUMNS), NO_COLOR="1"), redirect_stdout(told):
        main([*words, "--help"])
    return "\n".join(line.rstrip() for line in told.getvalue().strip().splitlines()) + "\n"


def _differences(scenario: Scenario) -> str:
    usual = SCENARIOS["default"]
    different = [
        f"{name} {_in_words(getattr(scenario, name))}"
        for name in fields_dict(Scenario)
        if name != "name" and getattr(scenario, name) != getattr(usual, name)
    ]
    return "; ".join(different) or "answers in 0.02 s, no quota, no faults"


def _in_words(value: object) -> str:
    match value:
        case bool():
            return "on" if value else "off"
        case str():
            return value
        case float() | int():
            return f"{value:,}"
        case Fixed():
            return f"{value.value:g}"
        case tuple():
            return ", ".join(f"× {factor} at {at:g} s" for at, factor in value)
        case LogNormal():
            return f"{value.median:g} in the median"
        case FaultPlan():
            return f"{value.rate:.0%}"
        case _:
            raise NotImplementedError(value)


def count() -> str:
    """Return how much of the pages is held by tests, for the session that builds them."""
    names = [len(re.findall(r"^::: ", read(page), re.MULTILINE)) for page in ALL_PAGES]
    links = [len(re.findall(r"\]\([^)#:]+[^)]*\)", read(page))) for page in ALL_PAGES]
    run = [len(programs(page)) + len(shells(page)) for page in ALL_PAGES]
    scripts = len(list((DOCS / "examples").glob("*.py")))
    return (
        f"{len(ALL_PAGES)} pages: {sum(run)} programs and commands run as pasted, "
        f"{scripts} example scripts run, {sum(names)} names documented, {sum(links)} links checked"
    )


if __name__ == "__main__":
    if "--count" in sys.argv:
        print(count())
    else:
        for name, page in PAGES.items():
            (REFERENCE / name).write_text(page(), encoding="utf-8")
            print(f"wrote docs/reference/{name}")
