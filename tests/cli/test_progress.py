"""Progress is one line that has everything, on terminals and off them."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from batchllm.cli.progress import (
    LiveDisplay,
    PlainDisplay,
    QuietDisplay,
    Snapshot,
    display_for,
)
from batchllm.cli.tallies import Tallies


def snapshot(**given: Any) -> Snapshot:
    plain: dict[str, Any] = {
        "done": 1234,
        "total": None,
        "failed": 0,
        "tokens": 0,
        "cost": None,
        "rate": 48.25,
        "in_flight": 7,
        "waiting": 0,
        "sleeping": 0,
        "cooling": None,
    }
    return Snapshot(**{**plain, **given})


def test_a_line_says_only_what_there_is_to_say() -> None:
    """Nothing that is 0 or unknown takes room."""
    assert snapshot().describe() == "1,234 done · 48.2/s · 7 in flight"


def test_a_line_says_everything_that_there_is_to_say() -> None:
    """Waits, tokens, cost, failures and the time that is left."""
    line = snapshot(
        total=10_000, waiting=3, sleeping=2, cooling=1.25, tokens=1_500_000, cost=0.5, failed=4
    ).describe()
    assert line == (
        "1,234/10,000 done · 48.2/s · 7 in flight · 3 waiting · 2 in backoff · "
        "cooling down 1.2 s · 1.5M tokens · $0.5000 · 4 failed · ETA 3:02"
    )


@pytest.mark.parametrize(
    ("tokens", "shown"), [(999, "999"), (1_000, "1.0k"), (2_000_000_000, "2.0G")]
)
def test_tokens_are_shortened(tokens: int, shown: str) -> None:
    """Large numbers have a unit."""
    assert f"{shown} tokens" in snapshot(tokens=tokens).describe()


def test_hours_are_shown_and_an_ending_replaces_the_time_left() -> None:
    """A run that stops has no time left to tell, nor has one that stands still or is done."""
    assert "ETA 1:00:00" in snapshot(done=0, total=3600, rate=1.0).describe()
    assert snapshot(total=9000, ending="stopping").describe().endswith("stopping")
    assert "ETA" not in snapshot(total=9000, rate=0.0).describe()
    assert "ETA" not in snapshot(total=1234).describe()


def test_a_snapshot_is_taken_from_counts_and_stats() -> None:
    """The longest pause of the scopes that pause is shown; the others do not matter."""
    tallies = Tallies(total=9, done=4, failed=1, tokens=50)
    scopes = {
        "open": SimpleNamespace(cause=None, until=99.0),
        "cooling": SimpleNamespace(cause="throttled", until=14.0),
        "trying": SimpleNamespace(cause="throttled", until=None),
    }
    stats = {"in_flight": 2, "waiting": 3, "sleeping": 1, "scopes": scopes}
    seen = Snapshot.of(tallies, stats, 10.0)
    assert (seen.done, seen.total, seen.failed, seen.tokens) == (4, 9, 1, 50)
    assert (seen.in_flight, seen.waiting, seen.sleeping, seen.cooling) == (2, 3, 1, 4.0)
    assert Snapshot.of(tallies, {}, 10.0).cooling is None


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


def test_on_a_terminal_one_line_is_kept_up_to_date() -> None:
    """The line is redrawn, a note goes above it, and the summary takes its place."""
    stream = io.StringIO()
    display = LiveDisplay(Console(file=stream, force_terminal=True, width=60))
    display.update(snapshot())
    display.update(snapshot(total=2000))
    display.note("a [note]")
    display.finish("the end")
    display.close()
    text = stream.getvalue()
    assert "1,234/2,000 done" in text
    assert text.index("a [note]") < text.index("the end")
    assert text.rstrip().endswith("the end")
    assert text.count("\x1b[?25h") == 1  # the cursor is shown again


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_display_suits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows on the same terminal leave no room for a live line."""
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(display_for(Terminal(), quiet=False, output="file"), LiveDisplay)
    monkeypatch.setattr("sys.stdout", Terminal())
    assert type(display_for(Terminal(), quiet=False, output="-")) is PlainDisplay
