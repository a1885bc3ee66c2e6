"""The live view of a run on a terminal, by Rich."""

from __future__ import annotations

import math
import os

from rich.cells import cell_len
from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

from batchllm.cli.displays import SteadyStream
from batchllm.cli.layout import bar_width, lines_for
from batchllm.cli.snapshot import Snapshot

__all__ = ["LiveDisplay", "live_display"]

_LIVE_SECONDS = 0.25
"""Four redraws a second: more cost CPU and are not seen."""


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


def live_display(stream: SteadyStream) -> LiveDisplay | None:
    """Return a live view on *stream*, unless it leads elsewhere than to a terminal that can do it.

    Rich is asked, since variables of the environment have a say in it.
    """
    console = Console(file=stream, highlight=False)  # type: ignore[arg-type]
    is_plain = console.is_dumb_terminal or os.environ.get("TERM") == "dumb"
    return LiveDisplay(console) if console.is_terminal and not is_plain else None
