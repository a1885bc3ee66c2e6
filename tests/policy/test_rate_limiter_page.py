"""The table of constants in the limiter's page is that of the code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "design" / "rate-limiter.md"


def rows() -> list[tuple[str, str, list[float]]]:
    """Give the module, the name and the value of each constant in the table."""
    found: list[tuple[str, str, list[float]]] = []
    module = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if file := re.fullmatch(r"\*\*(\w+)\.py\*\*", cells[0]):
            module = file[1]
        names = re.findall(r"`(_?[A-Z][A-Z_]+)`", cells[0])
        if not module or not names:
            continue
        text = cells[1].replace("1/20", "0.05").replace(",000", "000").replace("86,400", "86400")
        numbers = [float(number) for number in re.findall(r"[0-9.]+", text)]
        if names == ["_STEPS"]:
            found.append((module, names[0], numbers))
        else:
            found += [(module, name, [number]) for name, number in zip(names, numbers, strict=True)]
    return found


@pytest.mark.parametrize(("module", "name", "value"), rows())
def test_the_page_has_the_value_of_the_code(module: str, name: str, value: list[float]) -> None:
    """A change of a number is a change of its reason, too."""
    number = getattr(importlib.import_module(f"batchllm.policy.{module}"), name)
    assert value == (list(number) if isinstance(number, tuple) else [number])


def test_the_page_has_every_constant() -> None:
    """Of the modules that it lists."""
    listed = {(module, name) for module, name, _ in rows()}
    missing = {
        (module, name)
        for module in {module for module, _ in listed}
        for name, number in vars(importlib.import_module(f"batchllm.policy.{module}")).items()
        if re.fullmatch(r"_?[A-Z][A-Z_]+", name)
        and isinstance(number, int | float | tuple)
        and (module, name) not in listed
        and not name.startswith("__")
    }
    # Imported from the module that defines it, where the page has it.
    assert missing <= {
        ("adaptive", "FIRST_CALLS"),
        ("adaptive", "SLACK"),
        ("findings", "SLACK"),
        ("quota_search", "ENOUGH"),
        ("quota_search", "LOOK_BACK"),
        ("quota_search", "MINUTE"),
        ("rate_meter", "SHORTEST"),
    }
