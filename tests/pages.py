"""The pages, and the programs, commands and printed text in them, as a reader would copy them."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
# What stands before a block and says how it is run; a reader of the page does not see it.
MARK = re.compile(r"<!-- (?P<mark>[\w-]+)(?:: (?P<value>[^\n]*?))? -->\s*\Z")


@frozen
class Block:
    """A fenced block of a page.

    Marks stand in a comment on the line above it:

    - ``continues``: goes on from the program above it, and may await at its top level
    - ``printed``: what the block above it printed
    - ``not-run: why``: for people only, with the reason
    - ``logs-errors``: meets errors of code on purpose
    - ``exit: 1``: the exit code of a command that is meant to fail
    """

    page: Path
    line: int
    language: str
    code: str
    mark: str = ""
    value: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def read(page: Path | str) -> str:
    """Return the text of *page*, a path or one below the folder of pages."""
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: Path) -> list[Block]:
    """Return all fenced blocks of *page*, in its order."""
    text = read(page)
    return [_block(page, text, match) for match in FENCE.finditer(text)]


def programs(page: Path) -> list[list[Block]]:
    """Return each Python program of *page* with the blocks that continue it."""
    return _in_groups(page, "python")


def shells(page: Path) -> list[list[Block]]:
    """Return the commands of *page*, each block with those that continue it in its folder."""
    return _in_groups(page, "sh")


def _in_groups(page: Path, language: str) -> list[list[Block]]:
    found: list[list[Block]] = []
    for block in blocks(page):
        if block.language != language or block.mark == "not-run":
            continue
        if block.mark == "continues":
            found[-1].append(block)
        else:
            found.append([block])
    return found


def printed_after(block: Block) -> str | None:
    """Return what the page says that *block* printed, or None where it says nothing."""
    for first, second in pairwise(blocks(block.page)):
        if first == block and second.mark == "printed":
            return second.code
    return None


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    mark = MARK.search(text[: match.start()])
    indent = len(match["indent"])
    code = "".join(line[indent:] or "\n" for line in match["code"].splitlines(keepends=True))
    return Block(
        page,
        text.count("\n", 0, match.start()) + 1,
        match["language"],
        code,
        mark["mark"] if mark else "",
        (mark["value"] or "") if mark else "",
    )
