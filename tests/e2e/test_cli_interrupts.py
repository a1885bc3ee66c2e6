"""Signals: the first lets calls finish, the second cancels them, and every row stays whole."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batchllm.cli import main
from batchllm.cli.exits import ExitCode
from tests.e2e.cli_kit import (
    BACKENDS,
    finish,
    next_note,
    program,
    read_rows,
    wait_for_rows,
    write_prompts,
)
from tests.e2e.patience import PATIENCE


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_signal_drains(tmp_path: Path, backend: str) -> None:
    """Calls in flight finish, the others do not start, and the exit code says why."""
    prompts, rows = tmp_path / "in.txt", tmp_path / "out.jsonl"
    # No two end together, so that some are always in flight.
    prompts.write_text("".join(f"[[latency:{0.2 + n % 4 / 20}]] {n}\n" for n in range(500)))
    command: list[str | Path] = ["run", prompts, "-o", rows, "-m", "sim:instant"]
    with program([*command, "--concurrency", "4", "--backend", backend]) as process:
        wait_for_rows(process, rows, 4)
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
    assert code == 130
    said = re.search(
        r"Ctrl-C: no further call starts, and the (\d) calls? in flight may finish", err
    )
    assert said is not None, err
    in_flight = int(said[1])
    assert 1 <= in_flight <= 4
    assert "Ctrl-C interrupted it" in err
    assert "lines that have no row were not finished" in err
    assert f"The same command goes on:\n  batchllm run {prompts} -o {rows}" in err
    assert "Traceback" not in err
    found = read_rows(rows)
    assert all(row["success"] for row in found)
    assert len(found) >= 4 + in_flight
    assert len({row["id"] for row in found}) == len(found) < 500


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_second_signal_cancels(tmp_path: Path, backend: str) -> None:
    """Calls that would take an hour end at once, and it is said that they may be billed."""
    prompts = tmp_path / "in.txt"
    prompts.write_text("quick\n" + "[[latency:3600]] slow\n" * 20)
    rows = tmp_path / "out.jsonl"
    command: list[str | Path] = [
        "run",
        prompts,
        "-o",
        rows,
        "-m",
        "sim:instant",
        "--concurrency",
        "4",
    ]
    with program([*command, "--backend", backend]) as process:
        wait_for_rows(process, rows, 1)
        process.send_signal(signal.SIGTERM)
        first = next_note(process)
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
    assert code == ExitCode.INTERRUPTED
    assert first.startswith("SIGTERM: no further call starts")
    assert "Ctrl-C: cancelling the calls in flight" in err
    said = re.search(r"(\d) lines? were cut off, and may be billed", err)
    assert said is not None, err
    assert 1 <= int(said[1]) <= 4
    assert [row["success"] for row in read_rows(rows)] == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_a_terminal_that_is_closed_drains(tmp_path: Path) -> None:
    """Shell and kernel both say it: that is one end, and no impatience."""
    prompts, rows = tmp_path / "in.txt", tmp_path / "out.jsonl"
    prompts.write_text("quick\n" + "[[latency:1.5]] slow\n" * 20)
    command: list[str | Path] = ["run", prompts, "-o", rows, "-m", "sim:instant"]
    with program([*command, "--concurrency", "4"]) as process:
        wait_for_rows(process, rows, 1)
        process.send_signal(signal.SIGHUP)
        first = next_note(process)
        process.send_signal(signal.SIGHUP)
        code, _, err = finish(process)
    assert code == ExitCode.INTERRUPTED
    assert first.startswith("SIGHUP: no further call starts")
    assert "cancelling" not in err
    assert "SIGHUP interrupted it" in err
    found = read_rows(rows)
    assert 2 <= len(found) < 20
    assert all(row["success"] for row in found)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_under_nohup_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    """The signal was ignored at the start, and stays so."""
    prompts, rows = tmp_path / "in.txt", tmp_path / "out.jsonl"
    prompts.write_text("quick\n" + "[[latency:0.5]] slow\n" * 4)
    command: list[str | Path] = ["run", prompts, "-o", rows, "-m", "sim:instant"]
    with program(command, before=[(f"{__name__}:ignore", ["SIGHUP"])]) as process:
        wait_for_rows(process, rows, 1)
        process.send_signal(signal.SIGHUP)
        code, _, err = finish(process)
    assert code == ExitCode.OK, err
    assert len(read_rows(rows)) == 5


def ignore(name: str) -> None:
    """Ignore a signal, as a program is started by ``nohup``."""
    signal.signal(signal.Signals[name], signal.SIG_IGN)


def test_a_pipe_that_stays_open_does_not_hold_the_program(tmp_path: Path) -> None:
    """Waiting for the next line of standard input ends with the run."""
    rows = tmp_path / "out.jsonl"
    command: list[str | Path] = ["run", "-", "-o", rows, "-m", "sim:instant"]
    with program(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"prompt": "Hi"}\n')
        process.stdin.flush()
        wait_for_rows(process, rows, 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == ExitCode.INTERRUPTED
    assert len(read_rows(rows)) == 1


def test_a_reader_that_leaves_ends_the_run(tmp_path: Path) -> None:
    """As in `batchllm run … | head -1`: silently, and nothing more is sent."""
    prompts = write_prompts(tmp_path / "in.jsonl", 500)
    with program(["run", prompts, "-m", "sim:default", "--concurrency", "4"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read().decode()
        assert process.wait(PATIENCE) == ExitCode.OK
    assert err == ""


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The second server says what is wrong, in a sentence."""
    with program(["serve-sim"]) as first:
        assert first.stdout is not None
        port = first.stdout.readline().decode().strip().rpartition(":")[2]
        assert main(["serve-sim", "--port", port]) == ExitCode.USAGE
    assert f"batchllm: cannot listen at 127.0.0.1, port {port}" in capsys.readouterr().err
