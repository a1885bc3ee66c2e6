"""The progress of a run: a live line on a terminal, a plain one now and then elsewhere."""

from __future__ import annotations

import sys
from typing import Any, Protocol, TextIO

from attrs import frozen
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batchllm.cli.tallies import Tallies

__all__ = ["Display", "LiveDisplay", "PlainDisplay", "QuietDisplay", "Snapshot", "display_for"]

_PLAIN_SECONDS = 5.0
_LIVE_SECONDS = 0.2
_BAR = 12


@frozen(kw_only=True)
class Snapshot:
    """A run at one moment.

    Attributes:
        done: Rows written.
        total: Lines of the input, where that is known.
        failed: Rows without an answer.
        tokens: Tokens so far.
        cost: US dollars so far, where prices are known.
        rate: Rows per second lately.
        in_flight: Calls under way.
        waiting: Items that wait for their turn.
        sleeping: Items that wait to be tried again.
        cooling: Seconds until a scope that pauses goes on; ``None`` where none does.
        ending: What the run is doing in place of going on, such as finishing its calls.
    """

    done: int
    total: int | None
    failed: int
    tokens: int
    cost: float | None
    rate: float
    in_flight: int
    waiting: int
    sleeping: int
    cooling: float | None
    ending: str | None = None

    @classmethod
    def of(
        cls, tallies: Tallies, stats: dict[str, Any], now: float, ending: str | None = None
    ) -> Snapshot:
        """A run as its counts and its own numbers show it at *now*."""
        scopes = stats.get("scopes", {}).values()
        pauses = [max(0.0, (s.until or now) - now) for s in scopes if s.cause is not None]
        return cls(
            done=tallies.done + tallies.before,
            total=tallies.total,
            failed=tallies.failed,
            tokens=tallies.tokens,
            cost=tallies.cost,
            rate=tallies.rate(now),
            in_flight=stats.get("in_flight", 0),
            waiting=stats.get("waiting", 0),
            sleeping=stats.get("sleeping", 0),
            cooling=max(pauses, default=None),
            ending=ending,
        )

    def describe(self) -> str:
        """Everything in one line."""
        of_total = "" if self.total is None else f"/{self.total:,}"
        parts = [f"{self.done:,}{of_total} done", f"{self.rate:,.1f}/s"]
        parts.append(f"{self.in_flight} in flight")
        if self.waiting:
            parts.append(f"{self.waiting} waiting")
        if self.sleeping:
            parts.append(f"{self.sleeping} in backoff")
        if self.cooling is not None:
            parts.append(f"cooling down {self.cooling:.1f} s")
        if self.tokens:
            parts.append(f"{_short(self.tokens)} tokens")
        if self.cost is not None:
            parts.append(f"${self.cost:,.4f}")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.ending is not None:
            parts.append(self.ending)
        elif self.total is not None and self.rate > 0 and self.done < self.total:
            parts.append(f"ETA {_clock((self.total - self.done) / self.rate)}")
        return " · ".join(parts)


def _short(number: int) -> str:
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Display(Protocol):
    """Where a user watches a run.

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


class QuietDisplay:
    """Shows problems only."""

    interval = _PLAIN_SECONDS

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def note(self, text: str) -> None:
        """Write a line."""
        print(text, file=self._stream, flush=True)

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
    """Keeps one line up to date at the bottom of a terminal.

    Its caller says when to draw, so it needs no thread of its own.
    """

    interval = _LIVE_SECONDS

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def note(self, text: str) -> None:
        """Write a line above the live one."""
        self._console.print(Text(text))

    def update(self, snapshot: Snapshot) -> None:
        """Draw the bar and the line."""
        text = Text(snapshot.describe(), no_wrap=True, overflow="ellipsis")
        row = Table.grid(padding=(0, 1))
        if snapshot.total is None:
            row.add_row(text)
        else:
            row.add_row(ProgressBar(snapshot.total, snapshot.done, width=_BAR), text)
        self._live.start()
        self._live.update(row, refresh=True)

    def finish(self, text: str) -> None:
        """Put the summary in the place of the live line."""
        self.close()
        self._console.print(Text(text))

    def close(self) -> None:
        """Take the live line away."""
        self._live.stop()


def display_for(stream: TextIO, *, quiet: bool, output: str) -> Display:
    """The display that suits where *stream* leads.

    Args:
        stream: Standard error.
        quiet: Whether only problems are asked for.
        output: The run's output: rows on the same terminal leave no room for a live line.
    """
    rows_on_terminal = output == "-" and sys.stdout.isatty()
    if quiet:
        return QuietDisplay(stream)
    console = Console(file=stream)
    if console.is_terminal and not rows_on_terminal:
        return LiveDisplay(console)
    return PlainDisplay(stream)
