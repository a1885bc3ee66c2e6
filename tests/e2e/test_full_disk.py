"""An output that breaks: its lines stay whole, and the last words say what is lost."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import pytest

from batchllm.cli.exits import ExitCode
from tests.e2e.cli_kit import BACKENDS, finish, program, read_rows, write_prompts

FULL = Path("/dev/full")


def no_file_above(size: int) -> None:
    """Make every write beyond *size* bytes fail, as on a disk that is full within a row."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(
    ("size", "backend"),
    # Rows are written by the same code on each event loop: only the way to the end is another.
    [*((size, "asyncio") for size in (5_001, 5_200, 100)), *((5_000, loop) for loop in BACKENDS)],
)
def test_lines_stay_whole(tmp_path: Path, size: int, backend: str) -> None:
    """Wherever in a row the disk is full; the counts of rows and of lost results are true."""
    prompts, rows = write_prompts(tmp_path / "in.jsonl", 100), tmp_path / "out.jsonl"
    command: list[str | Path] = [
        "run",
        prompts,
        "-o",
        rows,
        "-m",
        "sim:instant",
        "--no-journal",  # whose own file would be the first that is too large
        "--backend",
        backend,
    ]
    with program(command, before=[(f"{__name__}:no_file_above", [size])]) as process:
        code, _, err = finish(process)
    assert code == ExitCode.STOPPED
    assert f"Error: {rows} cannot be written: File too large" in err
    there = read_rows(rows)  # each of its lines is whole
    assert rows.stat().st_size <= size
    found = re.search(r"Rows +(\d+) written to ", err)
    assert found is not None
    assert int(found[1]) == len(there)
    lost = re.search(r"(\d+) results? (?:have|has) no row, (\d+) answers among them", err)
    total = re.search(r"Items +(\d+): (\d+) succeeded", err)
    assert lost is not None
    assert total is not None
    assert int(lost[1]) == int(total[1]) - len(there)
    assert int(lost[2]) == int(total[2]) - sum(row["success"] for row in there)
    assert "once it can be written" in err


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_a_device_that_is_full(tmp_path: Path) -> None:
    """Nothing was written, and that is what is said, whatever the number of answers."""
    prompts = write_prompts(tmp_path / "in.jsonl", 20)
    with program(["run", prompts, "-o", FULL, "-m", "sim:instant"]) as process:
        code, _, err = finish(process)
    assert code == ExitCode.STOPPED
    assert "Error: /dev/full cannot be written: No space left on device" in err
    assert re.search(r"Rows +0 written to /dev/full", err)
    assert "results have no row" in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_what_a_file_had_before_stays(tmp_path: Path) -> None:
    """Rows are appended to it as by ``>>``, and of the one that has no room no part is there."""
    prompts, rows = write_prompts(tmp_path / "in.jsonl", 100), tmp_path / "all.jsonl"
    before = b"".join(b'{"id": "of an earlier run %d"}\n' % number for number in range(100))
    rows.write_bytes(before)
    limit = [(f"{__name__}:no_file_above", [5_001])]
    with rows.open("ab") as file:
        command: list[str | Path] = ["run", prompts, "-m", "sim:instant"]
        with program(command, stdout=file, before=limit) as process:
            code, _, err = finish(process)
    assert code == ExitCode.STOPPED
    assert "Error: standard output cannot be written: File too large" in err
    assert rows.read_bytes().startswith(before)
    found = re.search(r"Rows +(\d+) written to ", err)
    assert found is not None
    assert len(read_rows(rows)) == 100 + int(found[1]) > 100
