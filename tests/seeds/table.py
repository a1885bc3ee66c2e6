"""The page that says of each sample how it ran: ``python -m tests.seeds.table`` writes it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from tests.seeds.harness import CUSTOM, PATTERNS, README, REFERENCE, WEB_PATTERNS, Sample

__all__ = ["PAGE", "page", "promises", "samples"]

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reference" / "samples.md"

INTRODUCTION = """\
# Samples

The samples of the documents that batchllm was designed from, each with its calls as they stand
there: constructor arguments, keywords, attributes, keys. Only the package's name in the imports
is another one. Each is a test in `tests/seeds`, in virtual time on asyncio and on Trio, and the
test checks what came of it; those with an SDK's real client are in `tests/e2e/test_samples.py`.

- **ran**: as it stands.
- **sketch**: the sample leaves code out (`...`, or a comment in its place), which the test fills
  in.
- **not Python**: a parser refuses it; the test runs what remains.

*Stand-ins* are what takes the place of names that a sample uses and does not define. "`genai`" is
Google's module with clients that reach the simulator in virtual time; "client" is an object with
the methods that the sample calls.

A processor that is used without `async with`, as some samples do, has to be ended by `cleanup()`,
if its strategies have something to clean up. Otherwise there is a `ResourceWarning`.
"""


def samples() -> Iterator[tuple[Sample, str]]:
    """Every sample with the test that runs it."""
    for path in [*sorted(ROOT.glob("tests/seeds/test_*.py")), ROOT / "tests/e2e/test_samples.py"]:
        module = importlib.import_module(f"tests.{path.parent.name}.{path.stem}")
        for name, value in vars(module).items():
            if name.startswith("test_"):
                for one in getattr(value, "samples", ()):
                    yield one, f"{path.stem}::{name}"


def page() -> str:
    """The page as it has to be."""
    found = list(samples())
    parts = [INTRODUCTION]
    for document in (CUSTOM, PATTERNS, WEB_PATTERNS, README, REFERENCE):
        rows: dict[int, list[tuple[Sample, str]]] = {}
        for one, test in found:
            if document in one.documents:
                rows.setdefault(one.number, []).append((one, test))
        parts.append(f"\n## {document}\n\n{_total(rows)}\n")
        parts.append("| | sample | result | event loops | stand-ins | test |")
        parts.append("|---|---|---|---|---|---|")
        parts.extend(_row(number, rows[number]) for number in sorted(rows))
    parts.append("\n## Promises\n\nWhat the text round the samples says, beside the above.\n")
    parts.append("| promise | test |\n|---|---|")
    parts.extend(promises())
    return "\n".join(parts) + "\n"


def promises() -> Iterator[str]:
    """A row for each promise of the text round the samples."""
    module = importlib.import_module("tests.seeds.test_promises")
    for name, value in vars(module).items():
        if name.startswith("test_"):
            yield f"| {value.__doc__} | `test_promises::{name}` |"


def _total(rows: dict[int, list[tuple[Sample, str]]]) -> str:
    hows = [tests[0][0].how for tests in rows.values()]
    counts = {how: hows.count(how) for how in ("ran", "sketch", "not Python") if how in hows}
    told = ", ".join(f"{count} {how}" for how, count in counts.items())
    return f"{len(rows)} samples: {told}."


def _row(number: int, tests: list[tuple[Sample, str]]) -> str:
    one = tests[0][0]
    stand_ins = "; ".join(dict.fromkeys(each.stand_ins for each, _ in tests if each.stand_ins))
    loops = "; ".join(dict.fromkeys(each.loops for each, _ in tests))
    names = "<br>".join(f"`{test}`" for _, test in tests)
    heading = one.heading.replace("|", "\\|")
    return f"| {number} | {heading} | {one.how} | {loops} | {stand_ins or 'none'} | {names} |"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
