"""Rich's progress bar, in the form of a bar like tqdm's."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["RichBar", "bar_on_terminal"]


def bar_on_terminal(total: int | None) -> RichBar | None:
    """Return a bar that is drawn on standard error; ``None`` if that is no terminal."""
    console = Console(file=sys.stderr)
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    bar = RichBar(console)
    bar.start(total)
    return bar


class RichBar:
    """Rich's progress bar, on terminals; drawn when it is updated.

    Args:
        console: By default standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr) if console is None else console,
            auto_refresh=False,  # which would be a thread
        )
        self._task: TaskID | None = None
        self._failed = 0

    def start(self, total: int | None) -> None:
        """Show the bar."""
        self._task = self._progress.add_task("", total=total, failed=0)
        self._progress.start()

    def update(self, n: int, /) -> None:
        """Count *n* more items, and draw."""
        if self._task is not None:
            self._progress.update(self._task, advance=n, failed=self._failed, refresh=True)

    def set_postfix(self, *, failed: int, refresh: bool = True) -> None:
        """Take over how many have failed; drawn by the next ``update``."""
        self._failed = failed

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()
