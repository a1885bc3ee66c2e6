"""Progress where there is no terminal: in a notebook, and as lines of a log."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from typing import Any, Final, TextIO

from batchllm.core import as_clock

__all__ = ["LineBar", "NotebookBar", "notebook_display"]

_LINE_SECONDS: Final = 5.0
"""Between two lines, as on the command line."""


class _Counted:
    """Counts, and says how far it has got.

    Args:
        total: Items in all, if that is known.
        clock: In seconds.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.n = 0
        self._failed = 0
        self._clock = clock
        self._begun = clock()

    def set_postfix(self, *, failed: int, refresh: bool = True) -> None:
        """Take over how many have failed."""
        self._failed = failed

    def describe(self) -> str:
        """Return the counts, and the time that is left if there is a way to know."""
        of = "" if self.total is None else f"/{self.total:,}"
        text = f"{self.n:,}{of} done, {self._failed:,} failed"
        spent = self._clock() - self._begun
        left = None if self.total is None else self.total - self.n
        if not left or not self.n:
            return f"{text}, {as_clock(spent)}"
        return f"{text}, {as_clock(spent)}, about {as_clock(spent * left / self.n)} to go"


class LineBar(_Counted):
    """Writes a line every five seconds, and one at the end.

    Args:
        total: Items in all, if that is known.
        stream: By default standard error.
        clock: In seconds.
    """

    def __init__(
        self,
        total: int | None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(total, clock)
        self._stream = sys.stderr if stream is None else stream
        self._due = self._begun + _LINE_SECONDS

    def update(self, n: int, /) -> None:
        """Count *n* more items."""
        self.n += n
        if self._clock() >= self._due:
            self._due = self._clock() + _LINE_SECONDS
            self._write()

    def close(self) -> None:
        """Write the last line."""
        self._write()

    def _write(self) -> None:
        print(self.describe(), file=self._stream, flush=True)


class NotebookBar(_Counted):
    """Keeps one output of a cell up to date, without widgets, so that it stays when it is saved.

    Args:
        total: Items in all, if that is known.
        show: Shows an object and returns what updates it, as ``IPython.display.display`` does.
        clock: In seconds.
    """

    def __init__(
        self,
        total: int | None,
        show: Callable[..., Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(total, clock)
        self._handle = show(self, display_id=True)

    def update(self, n: int, /) -> None:
        """Count *n* more items, and draw."""
        self.n += n
        self._handle.update(self)

    def close(self) -> None:
        """Draw it as it is at the end."""
        self._handle.update(self)

    def __repr__(self) -> str:
        return self.describe()

    def _repr_html_(self) -> str:
        share = "" if self.total is None else f' value="{self.n}" max="{max(1, self.total)}"'
        return f"<progress{share}></progress> {html.escape(self.describe())}"


def notebook_display() -> Callable[..., Any] | None:
    """Return the function that shows an object in this notebook; ``None`` outside of notebooks."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if getattr(shell, "kernel", None) is None:
        return None
    from IPython.display import display  # there already, since the notebook runs on it

    show: Callable[..., Any] = display
    return show
