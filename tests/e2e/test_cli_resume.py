"""A command that is typed again: it goes on, or is refused, and the output is whole."""

import gzip
import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchllm.cli import main
from batchllm.cli.exits import ExitCode
from tests.e2e.cli_kit import (
    next_note,
    program,
    read_rows,
    simulator,
    wait_for_rows,
    write_prompts,
)

Captured = pytest.CaptureFixture[str]
SIM = ("-m", "sim:instant")


def run(input: Path, output: Path, *more: str) -> int:
    words = more if "-m" in more else (*SIM, *more)
    return main(["run", str(input), "-o", str(output), *words])


def said(capsys: Captured) -> str:
    return capsys.readouterr().err


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_prompts(tmp_path / "in.jsonl", 20)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def ids(output: Path) -> Counter[Any]:
    return Counter(row["id"] for row in read_rows(output))


def test_a_finished_run_says_that_nothing_is_left(
    prompts: Path, output: Path, capsys: Captured
) -> None:
    """And touches nothing; an output that is gone is built from the journal."""
    assert run(prompts, output) == ExitCode.OK
    whole, before = output.read_bytes(), said(capsys)
    assert f"Journal: {output}.journal" in before
    assert os.stat(f"{output}.journal").st_mode & 0o777 == 0o600
    assert run(prompts, output) == ExitCode.OK
    assert "Nothing is left: 20 lines were finished before; --fresh asks again." in said(capsys)
    assert output.read_bytes() == whole
    output.unlink()
    assert run(prompts, output) == ExitCode.OK
    assert "20 rows were restored from the journal." in said(capsys)
    strip = [{**row, "started_at": None} for row in read_rows(output)]
    assert strip == [{**json.loads(line), "started_at": None} for line in whole.splitlines()]


@pytest.mark.parametrize("tail", [b"", b'{"id": "torn', b'{"id": "p3"}\n{"id"'])
def test_an_output_is_cut_where_the_journal_knows_it(
    prompts: Path, output: Path, tail: bytes
) -> None:
    """Rests of a kill behind the last known row go; a shorter file is built anew."""
    assert run(prompts, output, "--quiet") == ExitCode.OK
    whole = output.read_bytes()
    output.write_bytes(whole + tail)
    assert run(prompts, output, "--quiet") == ExitCode.OK
    assert output.read_bytes() == whole
    output.write_bytes(whole[:500])
    assert run(prompts, output, "--quiet") == ExitCode.OK
    assert ids(output) == Counter(f"p{n}" for n in range(20))


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_an_output_that_was_edited_by_hand_is_built_anew(
    prompts: Path, tmp_path: Path, name: str
) -> None:
    """Cut at the length that it had, it would end in the middle of a row."""
    output = tmp_path / name
    assert run(prompts, output, "--quiet") == ExitCode.OK
    whole = output.read_bytes()
    output.write_bytes(whole.replace(b"prompt 3", b"prompt number 3").replace(b"p3", b"my-p3"))
    assert len(output.read_bytes()) > len(whole)
    assert run(prompts, output, "--quiet") == ExitCode.OK
    assert output.read_bytes() == whole


def test_an_output_that_is_deleted_meanwhile_is_there_at_the_end(
    tmp_path: Path, output: Path
) -> None:
    """It is built anew, of the mode that a new file has."""
    prompts = tmp_path / "in.txt"
    prompts.write_text("quick\n[[latency:2]] slow\n")
    with program(["run", prompts, "-o", output, *SIM]) as process:
        wait_for_rows(process, output, 1)
        mode = output.stat().st_mode
        output.unlink()
        process.communicate()
        assert process.returncode == ExitCode.OK
    assert ids(output) == Counter(["line-1", "line-2"])
    assert output.stat().st_mode == mode


def test_lines_may_be_added_edited_and_taken_out(
    prompts: Path, output: Path, capsys: Captured
) -> None:
    """Only what is new is asked, and each line has one row at the end."""
    prompts.write_text(prompts.read_text() + '{"prompt": "no id"}\nno json\n')
    assert run(prompts, output) == ExitCode.SOME_FAILED
    said(capsys)
    lines = prompts.read_text().splitlines()
    lines[3] = lines[3].replace("Say number 3", "Say, if you please, number 3")
    del lines[5]
    lines.insert(0, '{"id": "new", "prompt": "first"}')
    prompts.write_text("\n".join(lines))
    assert run(prompts, output) == ExitCode.SOME_FAILED
    assert "Items   3: 2 succeeded, 1 failed" in said(capsys)
    found = ids(output)
    assert found.pop(None) == 1
    assert found == Counter([*(f"p{n}" for n in range(20)), "line-21", "new"])
    lines.remove("no json")
    prompts.write_text("\n".join(lines))
    assert run(prompts, output) == ExitCode.OK
    assert None not in ids(output)


def test_another_model_is_refused_until_it_is_said_what_counts(
    prompts: Path, output: Path, capsys: Captured
) -> None:
    assert run(prompts, output, "--quiet") == ExitCode.OK
    whole = output.read_bytes()
    assert run(prompts, output, "--temperature", "0.2") == ExitCode.USAGE
    err = said(capsys)
    assert "temperature none → 0.2: 20 finished items would run again" in err
    assert "give --rerun-changed to ask again, --keep-finished to take the answers" in err
    assert run(prompts, output, "--temperature", "0.2", "--keep-finished") == ExitCode.OK
    assert output.read_bytes() == whole
    assert run(prompts, output, "--temperature", "0.2", "--rerun-changed") == ExitCode.OK
    assert ids(output) == Counter(f"p{n}" for n in range(20))
    assert run(prompts, output, "--rerun-changed", "--keep-finished") == ExitCode.USAGE


def test_several_inputs_after_one_are_refused_since_all_would_run_again(
    tmp_path: Path, prompts: Path, output: Path, capsys: Captured
) -> None:
    """Also the other way round, and also when the command is typed again."""
    more = write_prompts(tmp_path / "more.jsonl", 3)
    both = ["run", str(prompts), str(more), "-o", str(output), *SIM]
    assert run(prompts, output, "--quiet") == ExitCode.OK
    whole = output.read_bytes()
    for _ in range(2):
        assert main(both) == ExitCode.USAGE
        assert "so all of them would run again: give one input as before" in said(capsys)
    assert output.read_bytes() == whole
    assert run(prompts, output, "--quiet") == ExitCode.OK
    assert main([*both, "--fresh", "--quiet"]) == ExitCode.OK
    said(capsys)
    assert run(prompts, output) == ExitCode.USAGE
    assert "give several inputs as before" in said(capsys)
    assert run(prompts, output, "--rerun-changed", "--quiet") == ExitCode.OK


def test_failures_are_tried_again_if_that_is_asked_for(
    tmp_path: Path, output: Path, capsys: Captured
) -> None:
    """A row that is superseded does not stay."""
    prompts = tmp_path / "in.jsonl"
    prompts.write_text(
        '{"id": "good", "prompt": "good"}\n{"id": "bad", "prompt": "[[fault:400]] bad"}\n'
    )
    assert run(prompts, output) == ExitCode.SOME_FAILED
    said(capsys)
    assert run(prompts, output) == ExitCode.SOME_FAILED
    assert "1 line failed before; --retry-failed tries again." in said(capsys)
    assert run(prompts, output, "--retry-failed") == ExitCode.SOME_FAILED
    assert "Items   1: 0 succeeded, 1 failed" in said(capsys)
    assert ids(output) == Counter(["good", "bad"])


def test_a_key_that_was_wrong_needs_no_option(tmp_path: Path, output: Path) -> None:
    """A failure that no line had a part in is tried again by the same command."""
    prompts = write_prompts(tmp_path / "in.jsonl", 3)
    assert run(prompts, output, "--quiet", "-m", "sim:strict") != ExitCode.OK
    assert run(prompts, output, "--quiet") == ExitCode.OK
    assert ids(output) == Counter(["p0", "p1", "p2"])


def test_old_files_are_kept_or_lost(prompts: Path, output: Path, capsys: Captured) -> None:
    for _ in range(3):
        assert run(prompts, output, "--quiet", "--fresh") == ExitCode.OK
    assert sorted(path.name for path in output.parent.glob("out*")) == [
        "out.1.jsonl",
        "out.1.jsonl.journal",
        "out.2.jsonl",
        "out.2.jsonl.journal",
        "out.jsonl",
        "out.jsonl.journal",
    ]
    assert run(prompts, output.with_name("out.1.jsonl"), "--quiet") == ExitCode.OK  # goes on
    assert run(prompts, output, "--quiet", "--overwrite") == ExitCode.OK
    said(capsys)
    os.unlink(f"{output}.journal")
    assert run(prompts, output) == ExitCode.USAGE
    assert "exists already, without a journal to go on from" in said(capsys)
    assert run(prompts, output, "--no-journal", "--overwrite", "--quiet") == ExitCode.OK
    assert not os.path.exists(f"{output}.journal")
    assert run(prompts, output, "--no-journal", "--journal", "x") == ExitCode.USAGE


def test_a_journal_by_another_name_is_put_aside_once(
    prompts: Path, output: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its absolute path, or through a link to its folder."""
    monkeypatch.chdir(output.parent)
    (output.parent / "link").symlink_to(output.parent)
    near = Path(output.name)
    assert run(prompts, near, "--quiet") == ExitCode.OK
    for number, folder in enumerate((output.parent, Path("link")), 1):
        journal = folder / f"{near}.journal"
        assert run(prompts, near, "--fresh", "--journal", str(journal)) == ExitCode.OK
        kept = f"out.{number}.jsonl and {folder / f'out.{number}.jsonl.journal'}\n"
        assert f"kept from before: {kept}" in said(capsys)


def test_old_files_stay_a_pair_and_are_named(prompts: Path, output: Path, capsys: Captured) -> None:
    """A journal that came to lie beside another file would take that for its output."""
    mine = output.with_name("out.1.jsonl")
    mine.write_text("mine\n")
    assert run(prompts, output, "--quiet") == ExitCode.OK
    assert run(prompts, output, "--fresh") == ExitCode.OK
    kept = output.with_name("out.2.jsonl")
    assert f"kept from before: {kept} and {kept}.journal\n" in said(capsys)
    assert not os.path.exists(f"{mine}.journal")
    assert main(["status", str(kept), "--json"]) == ExitCode.OK
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 1  # it was only read
    assert run(prompts, kept, "--quiet") == ExitCode.OK
    assert mine.read_text() == "mine\n"


def test_a_database_of_another_program_is_never_lost(
    prompts: Path, output: Path, tmp_path: Path, capsys: Captured
) -> None:
    """A name that was mistyped behind --journal is no leave to delete the file."""
    other = tmp_path / "mine.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE mine (one)")
    whole = other.read_bytes()
    options = ("--journal", str(other), "--overwrite")
    assert run(prompts, output, *options) == ExitCode.USAGE
    assert "is a database of another program" in said(capsys)
    other.write_bytes(b"no database at all, " * 10)
    assert run(prompts, output, *options) == ExitCode.USAGE
    assert "it is no journal but another kind of file" in said(capsys)
    other.write_bytes(whole)
    assert run(prompts, output, "--journal", str(other), "--fresh", "--quiet") == ExitCode.OK
    assert (tmp_path / "mine.1.db").read_bytes() == whole


def test_a_journal_that_is_left_out_is_not_left_behind(
    prompts: Path, output: Path, capsys: Captured
) -> None:
    """It would cut the rows of a run without it."""
    assert run(prompts, output, "--quiet") == ExitCode.OK
    output.unlink()
    assert run(prompts, output, "--no-journal") == ExitCode.USAGE
    assert "there is a journal of" in said(capsys)
    assert run(prompts, output, "--no-journal", "--overwrite", "--quiet") == ExitCode.OK
    assert not os.path.exists(f"{output}.journal")


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.jsonl.gz", "out.parquet"])
def test_every_format_goes_on(tmp_path: Path, name: str) -> None:
    """Tables keep one header; packed files and Parquet are written as a whole."""
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    output = tmp_path / name
    for count in (5, 9):
        prompts = write_prompts(tmp_path / "in.jsonl", count)
        assert run(prompts, output, "--quiet") == ExitCode.OK
        assert main(["export", str(output), "-o", str(tmp_path / f"{count}.jsonl")]) == ExitCode.OK
        assert ids(tmp_path / f"{count}.jsonl") == Counter(f"p{n}" for n in range(count))
    if name.endswith(".gz"):
        assert len(gzip.decompress(output.read_bytes()).splitlines()) == 9
    elif not name.endswith(".parquet"):
        assert len(output.read_text().splitlines()) == 10


def test_rows_in_order_stay_in_order(tmp_path: Path, output: Path) -> None:
    """Rows that were there are written again as they were, their time included."""
    before: list[Any] = []
    for count in (4, 12, 12):
        prompts = write_prompts(tmp_path / "in.jsonl", count)
        assert run(prompts, output, "--ordered", "--quiet") == ExitCode.OK
        rows = read_rows(output)
        assert [row["id"] for row in rows] == [f"p{n}" for n in range(count)]
        assert rows[: len(before)] == before
        before = rows


def test_standard_output_gets_its_rows_again(
    prompts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A pipe cannot be gone on with, but its answers are not paid for twice."""
    journal = str(tmp_path / "run.db")
    for _ in range(2):
        assert main(["run", str(prompts), *SIM, "--journal", journal]) == ExitCode.OK
        out, err = capfd.readouterr()
        assert len(out.splitlines()) == 20
    assert "20 items finished by earlier runs" in err


def test_two_processes_cannot_write_one_journal(tmp_path: Path, output: Path) -> None:
    """The second is refused with the first one's number, and the first goes on."""
    prompts = tmp_path / "in.txt"
    prompts.write_text("quick\n" + "".join(f"[[latency:3600]] {n}\n" for n in range(8)))
    command: list[str | Path] = ["run", prompts, "-o", output, *SIM, "--concurrency", "8"]
    with program(command) as first:
        wait_for_rows(first, output, 1)
        elsewhere = ["--journal", tmp_path / "other.db"]
        for more in ([], [*elsewhere, "--overwrite"], [*elsewhere, "--fresh"]):
            with program([*command, *more]) as second:
                _, err = second.communicate()
                assert second.returncode == ExitCode.USAGE
                assert f"in use: process {first.pid} on this machine writes it" in err.decode()
        assert first.poll() is None
        for _ in range(2):
            first.send_signal(signal.SIGINT)
            next_note(first)
        first.communicate()
        assert first.returncode == ExitCode.INTERRUPTED
    assert len(read_rows(output)) == 1


def test_what_can_be_asked_of_a_run(
    prompts: Path, output: Path, tmp_path: Path, capsys: Captured
) -> None:
    """Its state, one line, and its rows, by the name of its output."""
    prompts.write_text(
        prompts.read_text() + '{"id": "bad", "prompt": "[[fault:400]] x"}\nno json\n'
    )
    run(prompts, output, "--quiet")
    capsys.readouterr()
    assert main(["status", str(output)]) == ExitCode.OK
    text = capsys.readouterr().out
    assert "Finished  20 succeeded, 1 failed" in text
    assert "1 line was wrong and never sent" in text
    assert "ended by done" in text
    assert main(["status", f"{output}.journal", "--json"]) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["succeeded"], found["failed"], found["running"]) == (20, 1, None)
    assert main(["show", str(output), "bad"]) == ExitCode.OK
    text = capsys.readouterr().out
    assert text.startswith("bad: failed")
    assert "[[fault:400]] x" in text
    assert "attempt 1: " in text
    assert main(["show", str(output), "p3", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["prompt"] == "Say number 3."
    table = tmp_path / "all.csv"
    assert main(["export", str(output), "-o", str(table)]) == ExitCode.OK
    assert len(table.read_text().splitlines()) == 23
    assert table.stat().st_mode == prompts.stat().st_mode  # that of any new file
    assert main(["export", str(output), "-o", str(table)]) == ExitCode.USAGE
    assert "exists already" in capsys.readouterr().err
    for words in (["status", "none"], ["show", str(output), "none"], ["export"]):
        assert main(words) == ExitCode.USAGE
        assert capsys.readouterr().err.startswith("batchllm: ")


def test_no_key_is_in_any_file(
    prompts: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the journal nor in the output, also if the server repeats it in an error."""
    monkeypatch.setenv("SOME_KEY", "sk-CANARY-0123456789abcdef")
    prompts.write_text(prompts.read_text() + '{"id": "bad", "prompt": "[[fault:400]] x"}\n')
    with simulator("instant") as url:
        model = ("-m", "openai-compatible:any", "--base-url", f"{url}/v1")
        run(prompts, output, *model, "--api-key-env", "SOME_KEY", "--quiet")
    assert len(read_rows(output)) == 21
    for path in output.parent.iterdir():
        assert b"CANARY" not in path.read_bytes()


def test_the_command_that_goes_on_is_named(
    prompts: Path, output: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was typed, without what holds for one time."""
    words = ["run", str(prompts), "-o", str(output), "-m", "sim:strict", "--concurrency", "1"]
    monkeypatch.setattr(sys, "argv", ["batchllm", *words, "--fresh"])
    assert main([*words, "--fresh"]) == ExitCode.STOPPED
    assert f"The same command goes on:\n  batchllm {' '.join(words)}\n" in said(capsys)
    words.append("--retry-failed")  # there may be failures that it has not tried yet
    monkeypatch.setattr(sys, "argv", ["batchllm", *words])
    assert main(words) == ExitCode.STOPPED
    assert f"The same command goes on:\n  batchllm {' '.join(words)}\n" in said(capsys)


@pytest.mark.parametrize("fate", ["damaged", "deleted"])
def test_from_a_journal_that_is_damaged_or_gone_no_command_goes_on(
    tmp_path: Path, output: Path, fate: str
) -> None:
    """The end says to start anew with --fresh, which loses nothing."""
    prompts = tmp_path / "in.txt"
    prompts.write_text("quick\n" + "[[latency:2]] slow\n" * 2)
    command: list[str | Path] = ["run", prompts, "-o", output, *SIM]
    with program(command) as process:
        wait_for_rows(process, output, 1)
        for tail in ("", "-wal"):
            if fate == "deleted":
                os.unlink(f"{output}.journal{tail}")
                continue
            with open(f"{output}.journal{tail}", "r+b") as file:
                file.write(b"x" * os.stat(file.fileno()).st_size)
        err = process.communicate()[1].decode()
        assert process.returncode == ExitCode.STOPPED
    assert "no command goes on; with --fresh this one starts anew" in err
    assert "The same command" not in err
    assert main([*map(str, command), "--fresh", "--quiet"]) == ExitCode.OK
    assert len(read_rows(output)) == 3
