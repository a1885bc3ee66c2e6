"""The lines of the live view, for as many columns as there are. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from batchllm.cli.snapshot import Snapshot

__all__ = ["bar_width", "lines_for"]

_SEPARATOR = " · "
_MOST_LINES = 5
_BAR_FROM = 100
"""Columns from which there is room for a bar beside the counts."""

_BAR = 20


def bar_width(snapshot: Snapshot, columns: int) -> int:
    """Return the columns of the bar; 0 if the terminal is narrow or the total unknown."""
    return 0 if snapshot.total is None or columns < _BAR_FROM else _BAR


def lines_for(snapshot: Snapshot, columns: int) -> list[str]:
    """Return the lines that show *snapshot* on a terminal.

    The counts, the failures and the time that is left come first and are never left out. The
    rest begins a new line and goes on over the next ones; what finds no room in five is dropped,
    the least important first.

    Args:
        snapshot: The run.
        columns: The width of the terminal.
    """
    bar = bar_width(snapshot, columns)
    # One column stays free: a full line makes some terminals begin a new one.
    first = _flow(snapshot.first(), columns - 1 - (bar + 1 if bar else 0))
    errors = snapshot.errors()
    failed = _flow([f"failed: {errors[0]}", *errors[1:]], columns - 1)[:1] if errors else []
    room = max(0, _MOST_LINES - len(first) - len(failed))
    return [*first, *_flow(snapshot.rest(), columns - 1)[:room], *failed]


def _flow(parts: Sequence[str], columns: int) -> list[str]:
    """Return *parts* in lines of at most so many columns; one that is longer is cut."""
    columns = max(1, columns)
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}{_SEPARATOR}{part}" if lines else part
        if lines and cell_len(longer) <= columns:
            lines[-1] = longer
        else:
            lines.append(part if cell_len(part) <= columns else _cut(part, columns))
    return lines


def _cut(text: str, columns: int) -> str:
    return f"{set_cell_size(text, columns - 1).rstrip()}…"
