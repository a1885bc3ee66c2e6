"""The files round the package agree with each other: Pythons, sessions, pages."""

import ast
import re
import tomllib

from tests.pages import DOCS, PAGES, ROOT, read

WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
NOXFILE = (ROOT / "noxfile.py").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_declared_pythons_are_the_tested_ones() -> None:
    """The classifiers, the sessions of nox and the workflow name the Pythons alike."""
    declared = [
        line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)
    ]
    assert PROJECT["requires-python"] == f">={declared[0]}"
    assert f"SUPPORTED = {declared}".replace("'", '"') in NOXFILE
    assert f"python: {declared}".replace("'", '"') in WORKFLOW


def test_the_workflow_calls_sessions_that_there_are() -> None:
    """Each session by its name."""
    sessions = {
        node.name
        for node in ast.parse(NOXFILE).body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    matrix = re.search(r"session: \[(.*)\]", WORKFLOW)
    assert matrix is not None
    named = {*matrix[1].split(", "), *re.findall(r"nox -s (\w+)$", WORKFLOW, re.MULTILINE)}
    assert {"tests", "lowest", "wheel"} <= named <= sessions


def test_links_between_pages_lead_somewhere() -> None:
    """Each relative link of a page names a file."""
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(page))
        if not (page.parent / target).exists()
    ]
    assert not broken


def test_every_page_is_reached_from_the_index() -> None:
    """The index links each page of the documentation, but for itself."""
    index = read("index.md")
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    missing = [page for page in pages if f"]({page})" not in index]
    assert missing == ["index.md"]


def test_the_site_has_the_pages_of_the_index_in_its_order() -> None:
    """So that a page is found by reading on, as well as by a link."""
    index = read("index.md")
    linked = re.findall(r"\]\(([^)#:]+\.md)\)", index)
    site = tomllib.loads((ROOT / ".zensical.toml").read_text(encoding="utf-8"))
    listed = re.findall(r"[\w/-]+\.md", str(site["project"]["nav"]))
    assert listed == ["index.md", *dict.fromkeys(linked)]
