"""Facts that the pages quote and list: messages of the program, extras and settings."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache

import pytest
from attrs import fields

from batchllm import ProcessorConfig
from tests.pages import FENCE, ROOT, read

# Words in quotes in the text and the tables of a page, but neither in its programs nor its code.
CODE = re.compile(r"`[^`\n]*`")
QUOTED = re.compile(r'"([^"\n]+)"')
PLACEHOLDER = re.compile(r"%[\d.]*[sdfg]")


def literals(source: str) -> Iterator[str]:
    """Yield each text of a module as it is printed, with ``…`` for what is filled in."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield PLACEHOLDER.sub("…", node.value)


@cache
def messages() -> str:
    """Return all texts of the package; every process that collects the tests need not read it."""
    return "\n".join(
        " ".join(text.split())
        for path in sorted((ROOT / "batchllm").rglob("*.py"))
        for text in literals(path.read_text(encoding="utf-8"))
    )


def quotes(page: str) -> list[str]:
    """Return what *page* quotes."""
    return QUOTED.findall(CODE.sub("", FENCE.sub("", read(page))))


QUOTES = quotes("how-to/troubleshooting.md")


def pieces(quote: str) -> list[str]:
    """Return the parts of a quoted message between what is left out."""
    return [piece for piece in (part.strip(" ,;") for part in quote.split("…")) if piece]


@pytest.mark.parametrize("quote", QUOTES)
def test_a_message_that_the_page_quotes_is_one_of_the_program(quote: str) -> None:
    """Each of its parts is in a message; a reader searches the page for what was printed."""
    assert pieces(quote)
    assert [piece for piece in pieces(quote) if piece not in messages()] == []


def test_the_page_of_symptoms_quotes_messages() -> None:
    """Otherwise the test above would hold for a page that no reader finds by its words."""
    assert len(QUOTES) >= 12


def test_every_extra_is_on_the_page_that_installs() -> None:
    """In its table, and no other is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = read("installation.md")
    first_cells = re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE)
    listed = [name for cell in first_cells for name in re.findall(r"`([\w-]+)`", cell)]
    assert sorted(listed) == sorted(project["optional-dependencies"])


def test_what_an_extra_brings_is_on_the_page_that_installs() -> None:
    """`all` has every other one but `ray`, which takes more than all of them together."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    named = set(re.findall(r"[\w-]+", extras["all"][0].partition("[")[2]))
    assert named == extras.keys() - {"all", "ray"}


def test_every_setting_is_on_the_page_of_settings() -> None:
    """Each field of a run's settings by its name."""
    page = read("reference/settings.md")
    assert [one.name for one in fields(ProcessorConfig) if f"`{one.name}`" not in page] == []
