"""The choice of a display: a live view on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from batchllm.cli.displays import Display, PlainDisplay, QuietDisplay, SteadyStream

__all__ = ["display_for"]

_TAKES_FOR_A_TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE")
"""Variables by which Rich is made to take a pipe for a terminal, or the other way round."""


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
    is_asked_for = any(os.environ.get(name) for name in _TAKES_FOR_A_TERMINAL)
    if rows_on_terminal or not (steady.isatty() or is_asked_for):
        return PlainDisplay(steady)
    from batchllm.cli.live_display import live_display  # with Rich, which takes a while to load

    return live_display(steady) or PlainDisplay(steady)
