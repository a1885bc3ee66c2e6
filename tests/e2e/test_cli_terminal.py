"""On a terminal, progress is one live line, with what matters above it."""

import os
import pty
import re
from pathlib import Path

from tests.e2e.cli_kit import PROGRAM, read_rows, write_prompts

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


def test_progress_is_live(tmp_path: Path) -> None:
    """The line has the count, a rate limit is told above it, and the summary replaces it."""
    prompts, rows = write_prompts(tmp_path / "in.jsonl", 40), tmp_path / "out.jsonl"
    with prompts.open("a") as file:
        file.write('{"prompt": "[[fault:429=2*1]] slow down"}\n')
    command = [*PROGRAM, "run", str(prompts), "-o", str(rows), "-m", "sim:default?latency=0.2"]
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm", COLUMNS="100")
        os.execv(command[0], command)
    shown = _CONTROL.sub(b"", read_terminal(terminal)).decode()
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, shown
    assert re.search(r"\d+/41 done · [\d.]+/s · \d+ in flight", shown)
    assert "Rate limit detected" in shown
    assert "cooling down" in shown
    assert "41 succeeded, 0 failed" in shown
    assert len(read_rows(rows)) == 41
