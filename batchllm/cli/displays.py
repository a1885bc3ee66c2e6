"""Displays of a run: a live view on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import math
import os
import sys
from typing import Protocol, TextIO

from attrs import define, field
from rich.cells import cell_len
from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

from batchllm.cli.layout import bar_width, lines_for
from batchllm.cli.snapshot import Snapshot

__all__ = [
    "Display",
    "LiveDisplay",
    "PlainDisplay",
    "QuietDisplay",
    "SteadyStream",
    "display_for",
]

_PLAIN_SECONDS = 5.0
_LIVE_SECONDS = 0.25
"""Four redraws a second: more cost CPU and are not seen."""


class Display(Protocol):
    """A view of a run.

    Attributes:
        interval: Seconds between two updates.
    """

    interval: float

    def note(self, text: str) -> None:
        """Show a line that stays."""
        ...

    def update(self, snapshot: Snapshot) -> None:
        """Show how far the run has got."""
        ...

    def finish(self, text: str) -> None:
        """Show the end."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was; may be called again."""
        ...


@define(eq=False)
class SteadyStream:
    """A stream that a run outlives: once a write fails, what is written is forgotten.

    Standard error may be a pipe whose reader has gone, or a terminal that was closed. The run is
    paid for and goes on.

    Attributes:
        stream: Where it writes.
    """

    stream: TextIO
    _broken: bool = field(default=False, init=False)

    @property
    def encoding(self) -> str:
        """The encoding of the stream."""
        return self.stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Write *text*, as far as the stream has letters for it."""
        if not self._broken:
            try:
                self.stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
            except (OSError, ValueError):
                self._broken = True
        return len(text)

    def flush(self) -> None:
        """Send what was written on its way."""
        if not self._broken:
            try:
                self.stream.flush()
            except (OSError, ValueError):
                self._broken = True

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Return the number of its file."""
        return self.stream.fileno()


class QuietDisplay:
    """Shows problems only."""

    interval = _PLAIN_SECONDS

    def __init__(self, stream: SteadyStream) -> None:
        self._stream = stream

    def note(self, text: str) -> None:
        """Write a line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def update(self, snapshot: Snapshot) -> None:
        """Show nothing."""

    def finish(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Do nothing: each line stands for itself."""


class PlainDisplay(QuietDisplay):
    """Writes a line every few seconds, for logs and pipes."""

    def update(self, snapshot: Snapshot) -> None:
        """Write the line."""
        self.note(snapshot.describe())

    def finish(self, text: str) -> None:
        """Write the summary."""
        self.note(text)


class LiveDisplay:
    """Keeps a few lines up to date at the bottom of a terminal.

    Its caller says when to draw, so it needs no thread of its own. The width is read at each
    drawing, so that it follows the window.
    """

    interval = _LIVE_SECONDS

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._columns = 0
        self._lengths: list[int] = []

    def note(self, text: str) -> None:
        """Write a line above the live ones."""
        self._console.print(Text(text), soft_wrap=True)

    def update(self, snapshot: Snapshot) -> None:
        """Draw the lines."""
        columns = self._console.width
        lines = [Text(line, no_wrap=True) for line in lines_for(snapshot, columns)]
        bar = bar_width(snapshot, columns)
        first = Table.grid(padding=(0, 1))
        if bar:
            first.add_row(ProgressBar(snapshot.total or 1, snapshot.done, width=bar), lines[0])
        else:
            first.add_row(lines[0])
        self._make_room(columns)
        self._lengths = [cell_len(line.plain) for line in lines]
        self._lengths[0] += bar + 1 if bar else 0
        self._live.start()
        self._live.update(Group(first, *lines[1:]), refresh=True)

    def _make_room(self, columns: int) -> None:
        """Take away what a narrower window has made of the last drawing.

        Terminals wrap its lines into more of them; Rich takes away as many as it drew.
        """
        if columns < self._columns:
            rows = sum(max(0, math.ceil(length / columns) - 1) for length in self._lengths)
            up = [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)]
            self._console.control(Control(*up * rows))
        self._columns = columns

    def finish(self, text: str) -> None:
        """Put the summary in the place of the live lines."""
        self.close()
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Take the live lines away."""
        self._live.stop()


def display_for(stream: TextIO, *, quiet: bool, output: str) -> Display:
    """Return the display that suits where *stream* leads.

    Args:
        stream: Standard error.
        quiet: Whether only problems are asked for.
        output: The run's output: rows on the same terminal leave no room for a live view.
    """
    steady = SteadyStream(stream)
    rows_on_terminal = output == "-" and sys.stdout.isatty()
    if quiet:
        return QuietDisplay(steady)
    console = Console(file=steady, highlight=False)  # type: ignore[arg-type]
    is_plain = console.is_dumb_terminal or os.environ.get("TERM") == "dumb"
    if console.is_terminal and not is_plain and not rows_on_terminal:
        return LiveDisplay(console)
    return PlainDisplay(steady)
