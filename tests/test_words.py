"""The words of the code: docstrings that say what a thing does, in English that everyone reads."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# "Whether the cap is reached." leaves out what is done: "Return whether the cap is reached."
CLAUSE = re.compile(
    r"(?:Whether|What|Whatever|Who|Whoever|Whose|Whom|How|That|Which|Why|The same)\b"
)

# Words that have another meaning for every reader, or none, with those to use.
DIALECT = {
    "told": "declared, reported, learned, passed, logged",
    "tell": "report, say, show, distinguish",
    "tells": "reports, says, shows, distinguishes",
    "mind": "limiter, policy",
    "minds": "limiters, policies",
    "face": "entry point, public API",
    "faces": "entry points",
    "door": "entry point, endpoint, adapter",
    "doors": "entry points, endpoints, adapters",
    "sheltered": "shielded",
    "outbox": "result queue",
    "somebody": "a caller, a call",
    "someone": "a caller, a call",
    "nobody": "no caller, no call",
    "anybody": "any caller, any call",
    "everybody": "all callers",
    "whoever": "the caller that",
    "hopeless": "oversized",
    "news": "events",
}
WORD = re.compile(r"[A-Za-z][a-z]*")

# A message that tests and users know by these words.
KNOWN_MESSAGES = {"batchllm/engine/intake.py": {"nobody"}}

PACKAGE = sorted((ROOT / "batchllm").rglob("*.py"))
EVERYTHING = [
    *PACKAGE,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
]


def by_folder(paths: list[Path]) -> dict[str, list[Path]]:
    """Return the files of each folder: a test for each of 966 files took longer than its work."""
    folders: dict[str, list[Path]] = {}
    for path in paths:
        folders.setdefault(named(path.parent), []).append(path)
    return folders


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


FILES = by_folder(EVERYTHING)
FILES_OF_THE_PACKAGE = by_folder(PACKAGE)


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module, its classes, functions and constants, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text
        body = getattr(node, "body", None)
        if isinstance(body, list):
            for before, after in pairwise(body):
                if (
                    isinstance(before, ast.Assign | ast.AnnAssign)
                    and isinstance(after, ast.Expr)
                    and isinstance(after.value, ast.Constant)
                    and isinstance(after.value.value, str)
                ):
                    yield after.lineno, after.value.value


@pytest.mark.parametrize("folder", FILES)
def test_a_docstring_begins_with_a_verb_or_a_noun(folder: str) -> None:
    """A clause, such as "Whether …" or "What …", says neither what is done nor what a thing is."""
    clauses = [
        f"{named(path)}, line {line}: {text.splitlines()[0]}"
        for path in FILES[folder]
        for line, text in docstrings(path.read_text(encoding="utf-8"))
        if CLAUSE.match(text)
    ]
    assert not clauses


def words(source: str) -> Iterator[tuple[int, str]]:
    """Yield every word of names, comments and texts, in lower case, with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NAME, tokenize.COMMENT, tokenize.STRING):
            for word in WORD.findall(token.string.replace("'s", "")):
                yield token.start[0], word.lower()


@pytest.mark.parametrize("folder", FILES_OF_THE_PACKAGE)
def test_the_package_speaks_plain_english(folder: str) -> None:
    """Names, comments and texts use words as every reader of English does."""
    dialect = [
        f"{named(path)}, line {line}: {word}; write {DIALECT[word]}"
        for path in FILES_OF_THE_PACKAGE[folder]
        for line, word in words(path.read_text(encoding="utf-8"))
        if word in DIALECT and word not in KNOWN_MESSAGES.get(named(path), set())
    ]
    assert not dialect
