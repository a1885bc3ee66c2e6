"""Displays: a live view on terminals, plain lines elsewhere, nothing that breaks."""

import io
from typing import Any

import pytest
from rich.console import Console

from batchllm.cli.display_choice import display_for
from batchllm.cli.displays import PlainDisplay, QuietDisplay, SteadyStream
from batchllm.cli.live_display import LiveDisplay
from tests.cli.test_layout import snapshot


def test_off_a_terminal_lines_are_written() -> None:
    """Notes, progress and summary come one after the other."""
    stream = io.StringIO()
    display = display_for(stream, quiet=False, output="file")
    assert type(display) is PlainDisplay
    display.note("a [note]")
    display.update(snapshot())
    display.finish("the end")
    display.close()
    assert stream.getvalue().splitlines() == ["a [note]", snapshot().describe(), "the end"]


def test_quiet_shows_problems_only() -> None:
    """Progress and summary are left out, notes are not."""
    stream = io.StringIO()
    display = display_for(stream, quiet=True, output="file")
    assert type(display) is QuietDisplay
    display.note("problem")
    display.update(snapshot())
    display.finish("the end")
    assert stream.getvalue() == "problem\n"


def test_on_a_terminal_the_view_is_kept_up_to_date() -> None:
    """It is redrawn, a note goes above it, and the summary takes its place."""
    stream = io.StringIO()
    display = LiveDisplay(Console(file=stream, force_terminal=True, width=120))
    display.update(snapshot(total=None))
    display.update(snapshot(total=2000))
    display.note("a [note] " + "that is long " * 20)
    display.finish("the end")
    display.close()
    text = stream.getvalue()
    assert "1,234/2,000 done · 14 failed" in text
    assert "━" in text  # the bar
    assert "that is long " * 20 in text, "a line that wraps softly can be copied whole"
    assert text.index("a [note]") < text.index("the end")
    assert text.rstrip().endswith("the end")
    assert text.count("\x1b[?25h") == 1  # the cursor is shown again


def test_the_view_follows_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each drawing is made for the width that the terminal has then."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)
    display = LiveDisplay(console)
    display.update(snapshot())
    console.width = 40
    display.update(snapshot())
    display.close()
    last = stream.getvalue().rpartition("1,234/10,000 done")[2]
    assert "ETA 3:14" in last
    assert "1.5M tokens" not in last


def test_at_most_four_redraws_a_second() -> None:
    """More would cost CPU, and are not seen."""
    assert LiveDisplay.interval >= 0.25


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_display_suits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows on the same terminal leave no room for a live view, nor can a dumb one show it."""
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(display_for(Terminal(), quiet=False, output="file"), LiveDisplay)
    monkeypatch.setattr("sys.stdout", Terminal())
    assert type(display_for(Terminal(), quiet=False, output="-")) is PlainDisplay
    monkeypatch.setenv("TERM", "dumb")
    assert type(display_for(Terminal(), quiet=False, output="file")) is PlainDisplay


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The view stays, without colours."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    display = display_for(stream, quiet=False, output="file")
    display.update(snapshot())
    display.close()
    assert "1,234/10,000 done" in stream.getvalue()
    assert "\x1b[3" not in stream.getvalue()


class Broken(io.StringIO):
    """A pipe whose reader has gone."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise BrokenPipeError

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("quiet", [True, False])
def test_a_stream_that_breaks_does_not_stop_the_run(
    quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the view is lost, not the run."""
    monkeypatch.setenv("TERM", "xterm")
    stream = Broken()
    display = display_for(stream, quiet=quiet, output="file")
    display.note("a note")
    display.update(snapshot())
    display.finish("the end")
    display.close()
    assert stream.tries == 1


def test_letters_that_a_stream_does_not_have_are_replaced() -> None:
    """A log in ASCII gets question marks, not an error."""
    raw = io.BytesIO()
    stream: Any = io.TextIOWrapper(raw, encoding="ascii")
    SteadyStream(stream).write("9 · 3\n")
    stream.flush()
    assert raw.getvalue() == b"9 ? 3\n"


def test_a_narrower_window_leaves_nothing_of_the_last_drawing() -> None:
    """Its lines are wrapped into more of them by then, which are taken away as well."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)
    display = LiveDisplay(console)
    display.update(snapshot())
    drawn = len(stream.getvalue())
    console.width = 40
    display.update(snapshot())
    display.close()
    # Lines of 61, 95 and 45 columns are 2, 3 and 2 at 40: four more than the three drawn.
    assert stream.getvalue()[drawn:].startswith("\x1b[2K\x1b[1A" * 4 + "\r\x1b[2K")
