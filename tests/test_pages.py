"""The tests that the pages of the reference name."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
# Pages that are tables of promises, each held by a test.
TABLES = {"faults.md": "row", "reply-shapes.md": "what comes"}


def names_in(page: Path) -> list[tuple[str, str]]:
    return NAMED.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    """As a function of the file, or of a class in it."""
    for file, name in names_in(page):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        found = {node.name for node in ast.walk(tree) if hasattr(node, "name")}
        assert name in found, f"{page.name} names {file}::{name}"


@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_a_table_names_a_test(name: str) -> None:
    """A promise without a test is none."""
    lines = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|") and not line.startswith("| ---")]
    promises = [row for row in rows if not row.startswith(f"| {TABLES[name]} ")]
    assert promises
    assert [row for row in promises if not NAMED.search(row)] == []
