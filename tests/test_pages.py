"""The tests and files that the pages name."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import batchllm
from batchllm import Category, EndCause, ProcessingEvent
from batchllm.classifiers.tables import RETRYABLE
from tests.pages import PAGES as ALL_PAGES
from tests.pages import ROOT, read
from tests.reference_pages import PAGES as GENERATED
from tests.reference_pages import REFERENCE

PAGES = sorted(REFERENCE.glob("*.md"))
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FILE = re.compile(r"[\w./-]+\.py\b")
# A page names a file by the end of its path where it says in which folder that is.
FILES = [
    f"/{path.relative_to(ROOT).as_posix()}"
    for folder in ("batchllm", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
]
DESIGN = ROOT / "docs" / "design"
FOLDERS = sorted(path.parent.name for path in (ROOT / "batchllm").glob("*/__init__.py"))
# Pages, and the folder whose files they are a map of.
MAPS = [
    ("gate", "gate"),
    ("transport", "transport"),
    ("simulator", "simulator"),
    ("journal", "journal"),
    ("structured-output", "structured"),
    ("providers", "providers/wire"),
    ("reports", "reports"),
    ("shared-gate", "shared"),
    ("shared-gate", "ray"),
    ("engine", "engine"),
    ("rate-limiter shared-gate", "policy"),
    ("reported-limits", "policy/reported"),
    ("reported-limits", "policy/hints"),
]
API = sorted((REFERENCE / "api").glob("*.md"))
DOCUMENTED = [
    name for page in API for name in re.findall(r"^::: ([\w.]+)$", read(page), re.MULTILINE)
]
# Pages that are tables of promises, each held by a test.
TABLES = {"faults.md": "row", "reply-shapes.md": "what comes"}


def names_in(page: Path) -> list[tuple[str, str]]:
    return NAMED.findall(read(page))


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
    named = FILE.findall(read(page))
    missing = [name for name in named if not any(file.endswith(f"/{name}") for file in FILES)]
    assert missing == []


@pytest.mark.parametrize(("page", "folder"), MAPS)
def test_the_map_of_a_folder_has_each_of_its_files(page: str, folder: str) -> None:
    """A folder that is opened for the first time is understood by it."""
    text = "\n".join(read(DESIGN / f"{one}.md") for one in page.split())
    files = {path.stem for path in (ROOT / "batchllm" / folder).glob("*.py")} - {"__init__"}
    assert {stem for stem in files if not re.search(rf"\b{stem}\b", text)} == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_page_for_contributors_has_each_folder(folder: str) -> None:
    assert re.search(rf"\b{folder}\b", read(ROOT / "docs" / "contributing.md"))


@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_a_table_names_a_test(name: str) -> None:
    """A promise without a test is none."""
    lines = read(REFERENCE / name).splitlines()
    rows = [line for line in lines if line.startswith("|") and not line.startswith("| ---")]
    promises = [row for row in rows if not row.startswith(f"| {TABLES[name]} ")]
    assert promises
    assert [row for row in promises if not NAMED.search(row)] == []


@pytest.mark.parametrize("name", GENERATED)
def test_a_page_made_from_the_program_is_up_to_date(name: str) -> None:
    """Otherwise: ``python -m tests.reference_pages``."""
    assert read(REFERENCE / name) == GENERATED[name]()


def test_every_name_of_the_package_is_on_a_page_of_the_api() -> None:
    """By a line that the site replaces by its docstring."""
    documented = set(DOCUMENTED)
    assert [name for name in batchllm.__all__ if f"batchllm.{name}" not in documented] == []


def test_a_page_of_the_api_names_what_there_is() -> None:
    """A public name of the package or of one of its folders, once."""
    assert DOCUMENTED
    split = [name.rpartition(".") for name in DOCUMENTED]
    public = {folder: importlib.import_module(folder).__all__ for folder, _, _ in split}
    assert [
        name
        for name, (folder, _, last) in zip(DOCUMENTED, split, strict=True)
        if last not in public[folder]
    ] == []
    assert [name for name in DOCUMENTED if DOCUMENTED.count(name) > 1] == []


def test_every_event_and_category_has_its_row() -> None:
    """The tables are what a program is written by."""
    events = read(REFERENCE / "events.md")
    assert [event for event in ProcessingEvent if f"| `{event.name}` |" not in events] == []
    errors = read(REFERENCE / "errors.md")
    words = [*Category, *EndCause]
    assert [word for word in words if f"| `{word.value}` |" not in errors] == []


def test_the_page_of_errors_says_what_is_tried_again() -> None:
    """As the classifiers decide it."""
    text = read(REFERENCE / "errors.md")
    said = dict(re.findall(r"^\| `(\w+)` \|[^|]+\| (\w+|–)", text, re.MULTILINE))
    again = {category for category in Category if said[category.value] == "yes"}
    assert again == RETRYABLE
