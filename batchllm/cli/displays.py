"""Displays of a run: what they have to do, and those that need no terminal."""

from __future__ import annotations

from typing import Protocol, TextIO

from attrs import define, field

from batchllm.cli.snapshot import Snapshot

__all__ = ["Display", "PlainDisplay", "QuietDisplay", "SteadyStream"]

_PLAIN_SECONDS = 5.0


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
        try:
            return self.stream.isatty()
        except ValueError:  # it has been closed
            return False

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
