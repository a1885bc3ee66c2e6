"""A report of a run by its own command: while it goes on, and after a kill."""

import json
import signal
from pathlib import Path
from typing import Any

from tests.e2e.cli_kit import program, run_program, wait_for_rows, write_prompts


def test_a_run_is_reported_while_it_goes_on_and_after_a_kill(tmp_path: Path) -> None:
    """The figures are those of the rows that are there, and the journal is as it was."""
    prompts, rows = write_prompts(tmp_path / "in.jsonl", 20), tmp_path / "out.jsonl"
    quick = prompts.read_text()
    slow = json.dumps({"id": "slow", "prompt": "[[latency:3600]] Take your time."})
    prompts.write_text(f"{quick}{slow}\n")
    words = ["run", prompts, "-o", rows, "-m", "sim:default"]
    with program(words) as process:
        wait_for_rows(process, rows, 20)
        figures = figures_of(rows)
        assert (figures["state"], figures["succeeded"]) == ("it goes on", 20)
        assert figures["calls_without_end"] == 1
        code, _, err = run_program("report", rows)
        assert (code, err.startswith(str(tmp_path / "out.html"))) == (0, True)
        process.send_signal(signal.SIGKILL)
    assert figures_of(rows)["state"] == "it ended without a word, as if it was killed"
    prompts.write_text(quick + slow.replace("[[latency:3600]] ", ""))
    code, _, err = run_program(*words)
    assert code == 0, err
    figures = figures_of(rows)
    assert (figures["succeeded"], len(figures["runs"])) == (21, 2)


def figures_of(rows: Path) -> dict[str, Any]:
    """The figures that a report of a run prints."""
    code, figures, err = run_program("report", rows, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(figures)
    return found
