"""The tests and files that the pages name."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALL_PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FILE = re.compile(r"[\w./-]+\.py\b")
# A page names a file by the end of its path where it says in which folder that is.
FILES = [
    f"/{path.relative_to(ROOT).as_posix()}"
    for folder in ("batchllm", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
]
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


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    """A file that moved, or was split, is found under its new name."""
    named = FILE.findall(page.read_text(encoding="utf-8"))
    missing = [name for name in named if not any(file.endswith(f"/{name}") for file in FILES)]
    assert missing == []


@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_a_table_names_a_test(name: str) -> None:
    """A promise without a test is none."""
    lines = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|") and not line.startswith("| ---")]
    promises = [row for row in rows if not row.startswith(f"| {TABLES[name]} ")]
    assert promises
    assert [row for row in promises if not NAMED.search(row)] == []
