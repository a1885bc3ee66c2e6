"""Small pieces of HTML for notebooks: every text is escaped, and none is long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

__all__ = ["facts_as_html", "list_as_html", "rows_as_html"]

_CELL: Final = 200
"""Letters of a cell in a table of many."""
_FACT: Final = 2_000
"""Letters of a single fact: a screen full."""
_LEFT: Final = ' style="text-align:left"'


def facts_as_html(facts: Iterable[tuple[str, object]]) -> str:
    """Return a table of two columns: the name of each fact, and the fact."""
    rows = "".join(
        f"<tr><th{_LEFT}>{escape(name)}</th><td{_LEFT}>{_cell(fact, _FACT)}</td></tr>"
        for name, fact in facts
    )
    return f"<table>{rows}</table>"


def rows_as_html(title: str, names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table with a header; ``None`` is an empty cell."""
    head = "".join(f"<th{_LEFT}>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td{_LEFT}>{_cell(value, _CELL)}</td>' for value in row)}</tr>"
        for row in rows
    )
    return f"<p><b>{escape(title)}</b></p><table><tr>{head}</tr>{body}</table>"


def list_as_html(title: str, lines: Sequence[str]) -> str:
    """Return a list under its title; nothing if there are no lines."""
    if not lines:
        return ""
    entries = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<p><b>{escape(title)}</b></p><ul>{entries}</ul>"


def _cell(value: object, most: int) -> str:
    try:
        text = "" if value is None else value if isinstance(value, str) else repr(value)
    except Exception:  # a user's own class
        text = f"<{type(value).__name__}>"
    # Cut before it is escaped, so that no entity is cut through.
    return escape(text if len(text) <= most else f"{text[: most - 1]}…")
