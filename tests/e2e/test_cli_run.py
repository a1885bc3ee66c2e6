"""``batchllm run`` over real HTTP: every line one row, and the server's log agrees."""

import csv
import gzip
import json
import shlex
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchllm.cli import main
from batchllm.cli.exits import ExitCode
from benchmarks import reconcile
from tests.e2e.cli_kit import BACKENDS, PROGRAM, read_rows, run_program, simulator, write_prompts
from tests.e2e.patience import PATIENCE

Captured = pytest.CaptureFixture[str]


def run(input: Path, output: Path, *more: str | Path) -> int:
    """Run the command in this process, against the simulator that it brings itself."""
    return main(["run", str(input), "-o", str(output), "--quiet", *map(str, more)])


def reconciles(rows: Path, log: str | Path, items: int) -> bool:
    arguments: Sequence[str] = [str(rows), str(log), "--items", str(items)]
    return reconcile.main(arguments) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_and_the_servers_log_tell_the_same_story(
    tmp_path: Path, capsys: Captured, backend: str
) -> None:
    """A quota, faults and two processes: each id once, each call and each token accounted for."""
    count = 200
    prompts = write_prompts(tmp_path / "in.jsonl", count)
    rows, log = tmp_path / "out.jsonl", tmp_path / "log.jsonl"
    config = tmp_path / "config.toml"
    config.write_text("retry = {initial_wait = 0.1, max_attempts = 5}")
    with simulator("quota?rps=200&burst=60&faults=0.05&latency=0.02", "--log", log) as url:
        command = ["run", prompts, "-o", rows, "-m", "openai-compatible:any"]
        command += ["--base-url", f"{url}/v1", "--backend", backend, "--config", config]
        assert main([str(word) for word in command]) == ExitCode.OK
        assert reconciles(rows, f"{url}/__sim/log", count)
    assert reconciles(rows, log, count)
    found = read_rows(rows)
    assert {row["id"] for row in found} == {f"p{n}" for n in range(count)}
    assert all(row["success"] and row["tag"] == int(row["id"][1:]) % 7 for row in found)
    assert any(row["attempts"] > 1 for row in found), "the faults were not met"
    err = capsys.readouterr().err
    assert "200 succeeded, 0 failed" in err
    assert "done: every item was processed" in err


def test_reconciling_notices_a_row_that_is_lost_or_doubled(tmp_path: Path) -> None:
    """The witness can tell the difference, so that its silence means something."""
    prompts = write_prompts(tmp_path / "in.jsonl", 5)
    rows, log = tmp_path / "out.jsonl", tmp_path / "log.jsonl"
    with simulator("instant", "--log", log) as url:
        model = ("-m", "openai-compatible:any", "--base-url", f"{url}/v1")
        assert run(prompts, rows, *model) == ExitCode.OK
    whole = rows.read_text().splitlines(keepends=True)
    assert reconciles(rows, log, 5)
    rows.write_text("".join(whole[1:]))
    assert not reconciles(rows, log, 5)
    rows.write_text("".join([*whole[1:], whole[1]]))
    assert not reconciles(rows, log, 5)
    rows.write_text("".join(whole).replace('"input_tokens": ', '"input_tokens": 1', 1))
    assert not reconciles(rows, log, 5)


def test_bad_lines_are_told_and_kept_and_the_rest_goes_on(tmp_path: Path, capsys: Captured) -> None:
    """Each has its place in the report and its row in the output; none is sent."""
    prompts = tmp_path / "in.jsonl"
    prompts.write_text(
        '{"id": "a", "prompt": "one"}\n\nno json\n{"id": "a", "prompt": "two"}\n'
        '{"id": " ", "prompt": "three"}\n{"id": "b"}\n{"prompt": 5}\n{"id": 7, "prompt": "last"}'
    )
    rows = tmp_path / "out.jsonl"
    assert run(prompts, rows, "-m", "sim:instant", "--ordered") == ExitCode.SOME_FAILED
    found = read_rows(rows)
    assert [row["id"] for row in found] == ["a", None, None, None, "b", None, 7]
    places = [row.get("line") for row in found]
    assert places == [None, *(f"{prompts}:{number}" for number in (3, 4, 5, 6, 7)), None]
    assert [row["input"]["id"] for row in found[2:4]] == ["a", " "]
    assert [row["success"] for row in found] == [True, *[False] * 5, True]
    bad = found[1:6]
    assert {row["error_category"] for row in bad} == {"invalid_item"}
    assert {row["calls"] for row in bad} == {0}
    told = capsys.readouterr().err.splitlines()
    for number, problem in (
        (3, "not JSON"),
        (4, "its id 'a' came before"),
        (5, "its id is ' '"),
        (6, 'no "prompt"'),
        (7, "its prompt is an int"),
    ):
        assert any(line.startswith(f"{prompts}:{number}: not sent: {problem}") for line in told)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_an_id_that_no_encoding_can_carry_is_a_bad_line(
    tmp_path: Path, name: str, capsys: Captured
) -> None:
    """JSON can spell half of a surrogate pair, and no journal can have it as a key."""
    prompts = tmp_path / "in.jsonl"
    prompts.write_text(r'{"id": "\ud800", "prompt": "one"}' + '\n{"id": "b", "prompt": "two"}')
    for _ in range(2):
        assert run(prompts, tmp_path / name, "-m", "sim:instant") == ExitCode.SOME_FAILED
        text = (tmp_path / name).read_text()
        assert len(text.splitlines()) == (2 if name == "out.jsonl" else 3)
        assert r"in.jsonl:1: not sent: item_id '\ud800' has half" in capsys.readouterr().err


def test_a_flood_of_bad_lines_is_cut_short(tmp_path: Path, capsys: Captured) -> None:
    """A file of the wrong format does not fill the terminal, and every line has its row."""
    prompts = tmp_path / "in.jsonl"
    prompts.write_text("no json\n" * 50)
    rows = tmp_path / "out.jsonl"
    assert run(prompts, rows, "-m", "sim:instant") == ExitCode.SOME_FAILED
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 21
    assert "in the output only" in told[-1]
    assert len(read_rows(rows)) == 50


def test_a_template_makes_prompts_of_fields(tmp_path: Path) -> None:
    """The simulator says what it is told, which shows the prompt that it got."""
    prompts = tmp_path / "in.jsonl"
    prompts.write_text('{"word": "yes"}\n{"word": "no"}\n{"other": 1}\n')
    rows = tmp_path / "out.jsonl"
    template = ("--template", "[[answer:{word}!]]")
    assert run(prompts, rows, "-m", "sim:instant", "--ordered", *template) == 1
    first, second, third = read_rows(rows)
    assert (first["output"], second["output"]) == ("yes!", "no!")
    assert third["error"] == "line 3: no field 'word' for the template; its fields: other"


def test_a_limit_takes_the_first_lines(tmp_path: Path) -> None:
    """0 takes none, and that is no failure."""
    prompts = write_prompts(tmp_path / "in.jsonl", 10)
    for limit in (3, 0):
        rows = tmp_path / f"{limit}.jsonl"
        assert run(prompts, rows, "-m", "sim:instant", "--limit", str(limit)) == ExitCode.OK
        assert len(read_rows(rows)) == limit


def test_failures_are_rows_and_a_line_of_the_summary(tmp_path: Path, capsys: Captured) -> None:
    """A refused prompt does not stop the others, and its category is counted."""
    prompts = tmp_path / "in.txt"
    prompts.write_text("good\n[[fault:400]] bad\n")
    rows = tmp_path / "out.jsonl"
    assert main(["run", str(prompts), "-o", str(rows), "-m", "sim:instant"]) == 1
    assert sorted(row["success"] for row in read_rows(rows)) == [False, True]
    assert "1 × invalid_request, e.g. line-2: " in capsys.readouterr().err


def test_a_run_that_cannot_succeed_stops(tmp_path: Path, capsys: Captured) -> None:
    """A wrong key fails the same way for every line, so most are not even sent."""
    prompts = write_prompts(tmp_path / "in.jsonl", 100)
    rows = tmp_path / "out.jsonl"
    command = ["run", str(prompts), "-o", str(rows), "-m", "sim:strict", "--concurrency", "2"]
    assert main(command) == ExitCode.STOPPED
    categories = [row["error_category"] for row in read_rows(rows)]
    assert 3 <= len(categories) < 10, "lines that were not run have no row"
    assert set(categories) == {"authentication"}
    err = capsys.readouterr().err
    assert "fail_fast: 3 items in a row failed with authentication" in err
    assert "The same command goes on" in err


def test_nothing_is_sent_where_the_output_exists(tmp_path: Path, capsys: Captured) -> None:
    """It is a sentence even while the simulator is already listening."""
    prompts = write_prompts(tmp_path / "in.jsonl", 3)
    output = write_prompts(tmp_path / "out.jsonl", 2)
    assert run(prompts, output, "-m", "sim:instant") == ExitCode.USAGE
    err = capsys.readouterr().err
    assert err.startswith(f"batchllm: the output {output} exists already")
    assert len(read_rows(output)) == 2


def test_an_output_that_breaks_ends_the_run(tmp_path: Path) -> None:
    """A full disk is a sentence and an exit code, and no further call is paid for."""
    prompts = write_prompts(tmp_path / "in.jsonl", 50)
    code, _, err = run_program(
        "run", prompts, "-o", "/dev/full", "--overwrite", "-m", "sim:instant"
    )
    assert code == ExitCode.STOPPED
    assert "/dev/full cannot be written: No space left on device" in err
    assert "Traceback" not in err


def test_an_input_that_breaks_ends_the_run(tmp_path: Path, capsys: Captured) -> None:
    """The rows of what was read stay, and the exit code tells that this is not all."""
    rows = tmp_path / "out.jsonl"
    unreadable = Path("/proc/self/mem")
    command = ("-m", "sim:instant", "--input-format", "text")
    assert run(unreadable, rows, *command) == ExitCode.STOPPED
    err = capsys.readouterr().err
    assert "Error: /proc/self/mem cannot be read on: [Errno 5] Input/output error" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("backend", BACKENDS)
def test_standard_input_and_output_make_a_pipe(backend: str) -> None:
    """Rows are the only thing on standard output; what is told goes to standard error."""
    data = b"".join(b'{"id": %d, "prompt": "Hi"}\n' % n for n in range(40)) + b"broken"
    code, out, err = run_program("run", "-", "-m", "sim:instant", "--backend", backend, data=data)
    assert code == ExitCode.SOME_FAILED, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert sorted(row["id"] for row in rows if row["success"]) == list(range(40))
    assert "standard input:41: not sent: not JSON" in err
    assert "40 succeeded, 1 failed" in err


def test_standard_input_may_be_no_pipe() -> None:
    """A null device cannot be waited for, and neither can a file; both can be read."""
    code, out, err = run_program("run", "-", "-m", "sim:instant")
    assert (code, out) == (0, ""), err


def test_a_limit_holds_for_a_pipe() -> None:
    """Lines after the limit are not read."""
    data = b'{"prompt": "Hi"}\n' * 5
    code, out, err = run_program("run", "-", "-m", "sim:instant", "--limit", "2", data=data)
    assert code == 0, err
    assert out.count("\n") == 2


def test_a_table_in_and_a_table_out(tmp_path: Path) -> None:
    """Its columns are kept, whatever is in them."""
    prompts = tmp_path / "in.csv"
    prompts.write_text('id;question;note\n1;"[[answer:a;b]]";"x\ny"\n2;[[answer:c]];\n')
    rows = tmp_path / "out.csv"
    columns = ("--prompt-column", "question", "--ordered", "--keep-prompt")
    assert run(prompts, rows, "-m", "sim:instant", *columns) == ExitCode.OK
    with rows.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["id"], first["output"], first["note"]) == ("1", "a;b", "x\ny")
    assert (second["id"], second["output"], second["model"]) == ("2", "c", "instant")
    assert second["sent_prompt"] == second["question"] == "[[answer:c]]"
    assert datetime.fromisoformat(first["started_at"]) < datetime.now(UTC)


def test_several_inputs_make_one_output(tmp_path: Path, capsys: Captured) -> None:
    """Rows say where they are from, since ids may be shared."""
    first = write_prompts(tmp_path / "a.jsonl", 3)
    second = tmp_path / "b.txt.gz"
    second.write_bytes(gzip.compress(b"Hi\nHo\n"))
    rows = tmp_path / "out.jsonl"
    third = tmp_path / "c.jsonl"
    third.write_text('{"id": "p0", "prompt": "the same id"}\n')
    command = ["run", str(first), str(second), str(third), "-o", str(rows), "-m", "sim:instant"]
    assert main(command) == ExitCode.OK
    found = {(Path(row["source"]).name, row["id"]) for row in read_rows(rows)}
    assert found == {
        ("a.jsonl", "p0"), ("a.jsonl", "p1"), ("a.jsonl", "p2"),
        ("b.txt.gz", "line-1"), ("b.txt.gz", "line-2"), ("c.jsonl", "p0"),
    }  # fmt: skip
    assert f"6 written to {rows}" in capsys.readouterr().err


def test_answers_follow_a_schema(tmp_path: Path) -> None:
    """An output is the object that was asked for."""
    schema = tmp_path / "mood.json"
    schema.write_text('{"type": "object", "properties": {"mood": {"type": "string"}}}')
    prompts = tmp_path / "in.txt"
    prompts.write_text('[[answer:{"mood": "glad"}]]\n')
    rows = tmp_path / "out.jsonl"
    assert run(prompts, rows, "-m", "sim:instant", "--schema", schema) == ExitCode.OK
    assert read_rows(rows)[0]["output"] == {"mood": "glad"}


def test_one_model_stands_in_for_another(tmp_path: Path) -> None:
    """The first refuses its key, and the second answers."""
    prompts = write_prompts(tmp_path / "in.jsonl", 5)
    rows = tmp_path / "out.jsonl"
    models = ("-m", "sim:strict", "-m", "sim:instant")
    assert run(prompts, rows, *models) == ExitCode.OK
    assert all(row["success"] for row in read_rows(rows))


def test_shards_write_files_of_their_own(tmp_path: Path) -> None:
    """Together they have every line once."""
    prompts = write_prompts(tmp_path / "in.jsonl", 20)
    out = tmp_path / "out.{shard}.jsonl"
    for shard in ("1/2", "2/2"):
        assert run(prompts, out, "-m", "sim:instant", "--shard", shard) == ExitCode.OK
    files = [tmp_path / f"out.{k}-of-2.jsonl" for k in (1, 2)]
    found = [row["id"] for file in files for row in read_rows(file)]
    assert sorted(found) == sorted(f"p{n}" for n in range(20))
    assert run(prompts, tmp_path / "x.jsonl", "-m", "sim:instant", "--shard", "1/2") == 2


def test_a_key_that_is_refused_is_named_by_its_variable(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it can be looked for where it came from."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    prompts = write_prompts(tmp_path / "in.jsonl", 3)
    rows = tmp_path / "out.jsonl"
    with simulator("strict") as url:
        command = ["run", str(prompts), "-o", str(rows), "-m", "openai:x"]
        assert main([*command, "--base-url", f"{url}/v1"]) == ExitCode.STOPPED
        err = capsys.readouterr().err
        single = ["run", "What is it?", "-m", "openai:x", "--base-url", f"{url}/v1"]
        assert main(single) == ExitCode.SOME_FAILED
    out, of_single = capsys.readouterr()
    assert out == ""
    for said in (err, of_single):
        assert "the key was read from OPENAI_API_KEY" in said
        assert "sk-wrong" not in said


def shell(command: str) -> tuple[int, str, str]:
    """Run a command line of a shell, in which ``batchllm`` is the program."""
    line = command.replace("batchllm ", f"{shlex.join(PROGRAM)} ")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, timeout=PATIENCE, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_closed_pipe_ends_silently(tmp_path: Path) -> None:
    """`| head` has what it wanted, and no script that looks at the exit code stops."""
    prompts = write_prompts(tmp_path / "in.jsonl", 300)
    code, out, err = shell(f"batchllm run {prompts} -m sim:default --concurrency 4 | head -2")
    assert (code, out.count("\n"), err) == (0, 2, "")
    code, out, err = shell("batchllm models | head -1")
    assert (code, out.count("\n"), err) == (0, 1, "")


@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full", "2> >(exit)"])
def test_a_run_outlives_standard_error(tmp_path: Path, redirection: str) -> None:
    """It may be closed, full, or have lost its reader; the rows are all there."""
    prompts = write_prompts(tmp_path / "in.jsonl", 20)
    rows = tmp_path / "out.jsonl"
    code, out, _ = shell(f"batchllm run {prompts} -o {rows} -m sim:instant {redirection}")
    assert (code, out) == (0, "")
    assert len(read_rows(rows)) == 20


def test_a_pipe_may_be_a_table_without_prompts() -> None:
    """It is a sentence, although the header comes only while the run goes on."""
    words = ("run", "-", "-m", "sim:instant", "--input-format", "csv")
    code, out, err = run_program(*words, data=b"id,text\n1,Hi\n")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "batchllm: standard input: no column is called prompt" in err


def test_parquet_in_and_out(tmp_path: Path) -> None:
    """The output of one run is the input of the next."""
    pytest.importorskip("pyarrow")
    prompts = write_prompts(tmp_path / "in.jsonl", 3)
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    assert run(prompts, first, "-m", "sim:instant") == ExitCode.OK
    again = ("--template", "Shorter: {output}", "--keep-prompt")
    assert run(first, second, "-m", "sim:instant", *again) == ExitCode.OK
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.parquet", "a.parquet.journal", "b.parquet", "b.parquet.journal", "in.jsonl",
    ]  # fmt: skip
