"""A process that is stopped for a while, as by Ctrl-Z, by sockets and by real time."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.cli_kit import BACKENDS, finish, program, read_rows, simulator, wait_for_rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing stops a process there")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stopped_process_loses_no_call(tmp_path: Path, backend: str) -> None:
    """It stands still for longer than a timeout, and takes the answers that have come meanwhile."""
    prompts, rows = tmp_path / "in.txt", tmp_path / "out.jsonl"
    prompts.write_text("quick\n" + "[[latency:2.5]] slow\n" * 5)
    with simulator("instant") as url:
        command: list[str | Path] = [
            *("run", prompts, "-o", rows, "-m", "openai:gpt-5-mini", "--base-url", f"{url}/v1"),
            *("--timeout", "4", "--concurrency", "6", "--backend", backend),
        ]
        keys = {**os.environ, "PYTHONWARNINGS": "error", "OPENAI_API_KEY": "key"}
        with program(command, env=keys) as process:
            wait_for_rows(process, rows, 1)
            process.send_signal(signal.SIGSTOP)
            time.sleep(6)
            process.send_signal(signal.SIGCONT)
            code, _, err = finish(process)
    assert code == 0, err
    assert [(row["success"], row["calls"]) for row in read_rows(rows)] == [(True, 1)] * 6
    assert "not answering" not in err
