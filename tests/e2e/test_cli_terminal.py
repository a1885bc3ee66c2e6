"""On a terminal, progress is a live view, with what matters above it."""

import os
import pty
import re
from pathlib import Path

from tests.e2e.cli_kit import read_rows, start_program, write_prompts

_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def read_terminal(descriptor: int) -> bytes:
    """Everything that is written to a terminal until its last writer is gone."""
    shown = b""
    while True:
        try:
            data = os.read(descriptor, 65_536)
        except OSError:  # that is how Linux tells the end
            return shown
        if not data:
            return shown
        shown += data


def on_a_terminal(words: list[str], **environment: str) -> tuple[int, str]:
    """Run the program on a terminal of its own: the exit code, and what was to be seen."""
    terminal, theirs = pty.openpty()
    with start_program(
        words,
        before=[("tests.e2e.terminals:take_terminal", [])],
        env={**os.environ, "PYTHONWARNINGS": "error", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = _CONTROL.sub(b"", read_terminal(terminal)).decode()
    os.close(terminal)
    return process.returncode, shown


def test_progress_is_live(tmp_path: Path) -> None:
    """It has the counts, a rate limit is told above it, and the summary replaces it."""
    prompts, rows = write_prompts(tmp_path / "in.jsonl", 40), tmp_path / "out.jsonl"
    with prompts.open("a") as file:
        file.write('{"prompt": "[[fault:429=2*1]] slow down"}\n')
    command = ["run", str(prompts), "-o", str(rows), "-m", "sim:default?latency=0.2"]
    code, shown = on_a_terminal(command, TERM="xterm", COLUMNS="100")
    assert code == 0, shown
    assert re.search(r"\d+/41 done · 0 failed · ETA \S+", shown)
    assert re.search(r"[\d.]+/s.* · \d+ calling", shown)
    assert "Rate limit detected" in shown
    assert re.search(r"cooldown \d+ s", shown)
    assert "41 succeeded, 0 failed" in shown
    assert f"41 written to {rows}" in shown
    assert "unknown" not in shown
    assert len(read_rows(rows)) == 41


def test_on_a_narrow_terminal_the_failures_are_seen(tmp_path: Path) -> None:
    """At 40 columns there are more lines, and none is cut."""
    prompts, rows = write_prompts(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    with prompts.open("a") as file:
        file.write('{"prompt": "[[fault:400]] bad"}\n' * 2)
    command = ["run", str(prompts), "-o", str(rows), "-m", "sim:default?latency=0.3"]
    code, shown = on_a_terminal([*command, "--concurrency", "8"], TERM="xterm", COLUMNS="40")
    assert code == 1, shown
    assert re.search(r"\d+/32 done · \d failed · ETA \S+\s*\r\n", shown)
    assert "failed: 2 invalid_request" in shown


def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path) -> None:
    """It cannot move its cursor."""
    prompts, rows = write_prompts(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    command = ["run", str(prompts), "-o", str(rows), "-m", "sim:default"]
    code, shown = on_a_terminal(command, TERM="dumb")
    assert code == 0
    assert "\x1b" not in shown
    assert "3 succeeded" in shown


def test_a_prompt_is_answered(tmp_path: Path) -> None:
    """The answer is all that is to be seen."""
    command = ["run", "[[answer:four]] What is 2+2?", "-m", "sim:default"]
    code, shown = on_a_terminal(command, TERM="xterm")
    assert (code, shown) == (0, "four\r\n")
