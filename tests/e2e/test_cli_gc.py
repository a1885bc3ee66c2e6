"""``batchllm gc``: what it frees, what it leaves alone, and what it says."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from batchllm.cli import main
from batchllm.cli.exits import ExitCode
from tests.e2e.cli_kit import next_note, program, read_rows, simulator, wait_for_rows, write_prompts

Captured = pytest.CaptureFixture[str]
SIM = ("-m", "sim:instant", "--quiet")


def a_run_with_waste(folder: Path) -> Path:
    """Answers that were replaced, failures with calls that a later run made good, and more."""
    source, output = write_prompts(folder / "in.jsonl", 100), folder / "out.jsonl"
    long = source.read_text().replace("Say", "[[answer:" + "x" * 900 + "]] Say")
    source.write_text(long)
    main(["run", str(source), "-o", str(output), *SIM])
    source.write_text(long.replace("x" * 900, "short"))
    main(["run", str(source), "-o", str(output), *SIM])
    (folder / ".out.ab12_xyz.jsonl").write_text('{"left": "behind"}\n')
    return output


def test_it_says_what_it_would_free_then_frees_it(tmp_path: Path, capsys: Captured) -> None:
    output = a_run_with_waste(tmp_path)
    rows, left = output.read_bytes(), tmp_path / ".out.ab12_xyz.jsonl"
    others = [
        tmp_path / name for name in (".out.jsonl", ".out.notes.jsonl", ".other.ab12_xyz.jsonl")
    ]
    for other in others:
        other.write_text("not ours\n")
    before = Path(f"{output}.journal").stat().st_size
    capsys.readouterr()
    assert main(["gc", str(output), "--dry-run"]) == ExitCode.OK
    text = capsys.readouterr().out
    assert text.startswith("Would free about ")
    assert f"{left}: 19 bytes, left by a killed run" in text
    assert Path(f"{output}.journal").stat().st_size == before
    assert left.exists()
    assert main(["gc", str(output), "--json"]) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    after = Path(f"{output}.journal").stat().st_size
    assert (found["before"], found["after"]) == (before, after)
    assert found["freed"] == before - after + 19 > 0
    assert not left.exists()
    assert all(other.exists() for other in others)
    assert output.read_bytes() == rows
    assert main(["run", str(tmp_path / "in.jsonl"), "-o", str(output), *SIM]) == ExitCode.OK
    assert output.read_bytes() == rows  # nothing was asked again


def test_by_the_journals_own_name_no_output_is_touched(tmp_path: Path, capsys: Captured) -> None:
    output = a_run_with_waste(tmp_path)
    assert main(["gc", f"{output}.journal"]) == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[0].startswith("Freed ")
    assert (tmp_path / ".out.ab12_xyz.jsonl").exists()


def test_while_a_run_goes_on_it_is_refused(tmp_path: Path, capsys: Captured) -> None:
    """With the number of its process; the run ends as if nothing had been asked."""
    source, output = write_prompts(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    with simulator("instant") as url:
        slow = source.read_text().replace("Say", "[[latency:0.2]] Say")
        source.write_text(slow)
        model = ["-m", "openai-compatible:m", "--base-url", f"{url}/v1", "--concurrency", "3"]
        with program(["run", source, "-o", output, *model, "--quiet"]) as process:
            wait_for_rows(process, output, 3)
            for more in ([], ["--dry-run"]):
                assert main(["gc", str(output), *more]) == ExitCode.USAGE
                said = capsys.readouterr().err
                assert f"process {process.pid} on this machine writes it" in said
            process.send_signal(signal.SIGINT)
            next_note(process)
            process.wait(60)
    assert len(read_rows(output)) >= 3
    assert main(["gc", str(output)]) == ExitCode.OK


@pytest.mark.parametrize("name", ["none.jsonl", "in.jsonl"])
def test_without_a_journal_there_is_nothing_to_do(
    tmp_path: Path, capsys: Captured, name: str
) -> None:
    write_prompts(tmp_path / "in.jsonl", 3)
    assert main(["gc", str(tmp_path / name)]) == ExitCode.USAGE
    assert capsys.readouterr().err.startswith("batchllm: ")
    assert len(read_rows(tmp_path / "in.jsonl")) == 3
