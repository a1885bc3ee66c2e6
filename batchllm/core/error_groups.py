"""Failures that are the same one: counted together, with the first as an example."""

from __future__ import annotations

import re
import sysconfig
from collections import Counter
from pathlib import Path, PurePath
from types import TracebackType
from typing import Final

from attrs import define, field

__all__ = ["ErrorGroups", "where_raised"]

_OURS: Final = str(Path(__file__).resolve().parents[1])
_LIBRARY: Final = sysconfig.get_path("stdlib")
_INSTALLED: Final = ("site-packages", "dist-packages")

_CHANGING: Final = re.compile(
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b\w*\d[\w.]*|'[^']*'|\"[^\"]*\""
)
"""The parts that differ between two errors of one kind: ids, numbers, quoted values."""

_MOST_GROUPS: Final = 1_000
"""Of errors that all differ; what comes after them is counted by its category alone."""


@define(eq=False)
class ErrorGroups:
    """Counts failures by what they say, whatever the numbers and names in it."""

    _counts: Counter[tuple[str, str, str]] = field(factory=Counter, init=False)
    _examples: dict[tuple[str, str, str], str] = field(factory=dict, init=False)

    def add(self, category: str, example: str, text: str, where: str = "") -> None:
        """Count one failure.

        Args:
            category: Its kind.
            example: What to show of it, if it is the first of its group.
            text: What it says.
            where: The line of the user's code that it comes from, if it is a bug there.
        """
        key = (category, where, _CHANGING.sub("…", text[:500]))
        if key not in self._counts and len(self._counts) >= _MOST_GROUPS:
            key = (category, "", "")
        self._counts[key] += 1
        self._examples.setdefault(key, example)

    def ranked(self, most: int) -> list[tuple[int, str, str, str]]:
        """Return the *most* frequent groups: count, category, line of code, and an example."""
        return [
            (count, category, where, self._examples[category, where, text])
            for (category, where, text), count in self._counts.most_common(most)
        ]

    def lines(self, most: int) -> list[str]:
        """Return a line for each of the *most* frequent groups, and one for the rest."""
        shown = [
            f"{count:,} × {key[0]}{f' at {key[1]}' if key[1] else ''}, e.g. {self._examples[key]}"
            for key, count in self._counts.most_common(most)
        ]
        others = len(self._counts) - most
        if others > 0:
            shown.append(f"and {others:,} other {'error' if others == 1 else 'errors'}")
        return shown


def where_raised(error: BaseException) -> str:
    """Return the line of the user's code that *error* comes from, as in ``"mine.py:12 in ask"``.

    That is the innermost frame outside of this package, of Python's library and of what is
    installed; else the innermost outside of this package and Python's library.
    """
    found = ""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        file = code.co_filename
        foreign = file.startswith((_OURS, _LIBRARY)) and not _is_installed(file)
        if not file.startswith(_OURS) and not foreign and (not found or not _is_installed(file)):
            name = getattr(code, "co_qualname", code.co_name)
            found = f"{PurePath(file).name}:{trace.tb_lineno} in {name}"
        trace = trace.tb_next
    return found


def _is_installed(file: str) -> bool:
    return any(part in file for part in _INSTALLED)
