"""The program as a whole: its help, and what it says and returns when something is wrong."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from batchllm.cli import main
from batchllm.cli.exits import EXIT_CODES, ExitCode
from batchllm.core import ConfigError
from batchllm.llm_strategies import providers
from batchllm.simulator import SCENARIOS

Captured = pytest.CaptureFixture[str]


def prompts(folder: Path, name: str = "in.jsonl") -> str:
    path = folder / name
    path.write_text('{"prompt": "Hi"}\n')
    return str(path)


def told(capsys: Captured, *arguments: str) -> str:
    """Return the words of a command that is used wrongly: one sentence, exit code 2."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("batchllm: ")
    assert "Traceback" not in err
    return err


def test_help_teaches(capsys: Captured) -> None:
    """Examples and every exit code are in it, and no example is broken over lines."""
    assert main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    for line in EXIT_CODES.splitlines():
        assert line in text
    assert '    batchllm run prompts.jsonl -m "sim:quota?faults=0.05" -o answers.jsonl\n' in text
    assert "{review}" in text
    assert "Ctrl-C" in text
    assert main(["serve-sim", "--help"]) == 0
    assert "/__sim/log" in capsys.readouterr().out


def test_a_sample_is_taken_before_an_event_loop_runs(capsys: Captured, tmp_path: Path) -> None:
    """Its lines are counted by then; the count took itself for one in a thread of a loop."""
    path, rows = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"prompt": "Hi"}\n' * 9)
    given = [str(path), "-m", "sim:instant", "--sample", "3"]
    assert main(["run", *given, "-o", str(rows), "--quiet"]) == 0
    assert len(rows.read_text().splitlines()) == 3
    assert main(["estimate", *given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == 3


NO_ROOM_FOR_THE_JOURNAL = """
import errno, sys
from batchllm.cli import app
def full():
    print("row one")
    raise OSError(errno.ENOSPC, "No space left on device", "/data/x.journal")
app.make_app = lambda: lambda *given, **how: full()
sys.exit(app.run_program(["models"]))
"""


def test_a_full_disk_of_another_file_loses_nothing_of_standard_output() -> None:
    """Python writes the rest of it at the exit, unless its own disk is full."""
    command = [sys.executable, "-c", NO_ROOM_FOR_THE_JOURNAL]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=buffered)
    assert ended.returncode == ExitCode.STOPPED
    assert ended.stderr.startswith("batchllm: /data/x.journal: No space left on device (")
    assert ended.stdout == "row one\n"


EXAMPLE = re.compile(r"^ +(?=\S*(?:batchllm|head) |--|-m |eval )")


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("command", ["run", "estimate", "init", "serve-sim", "completion", None])
def test_examples_can_be_copied(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, command: str | None, columns: int
) -> None:
    """In any width: each line is whole, at most 80 columns, and goes on only behind a backslash."""
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([*([] if command is None else [command]), "--help"]) == 0
    lines = [*capsys.readouterr().out.splitlines(), ""]
    begun = [at for at, line in enumerate(lines) if line.startswith("    ") and EXAMPLE.match(line)]
    assert begun
    for at in begun:
        assert len(lines[at]) < 80
        assert lines[at].endswith("\\") == bool(re.match(r" {6}[-]", lines[at + 1]))
    examples = "\n".join(lines[at].strip() for at in begun).replace("\\\n", "")
    for line in examples.splitlines():
        if command != "completion":
            shlex.split(line)  # no quote is left open


def test_the_commands_are_listed(capsys: Captured) -> None:
    """Without a command, or asked for help, the program shows what there is."""
    for arguments in ([], ["--help"]):
        assert main(arguments) == 0
        text = capsys.readouterr().out
        for name in ("run", "serve-sim", "models", "--debug"):
            assert name in text


def test_the_version_is_told(capsys: Captured) -> None:
    """It is the package's."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out[0].isdigit()


def test_an_error_names_the_help_of_its_command(capsys: Captured) -> None:
    """Its options are those that the error is about."""
    assert "(batchllm run --help shows how)" in told(capsys, "run", "in.jsonl")
    assert "(batchllm serve-sim --help shows how)" in told(capsys, "serve-sim", "--port", "x")
    assert "(batchllm --help shows how)" in told(capsys, "rnu")


def test_addresses_are_whole_in_any_width(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line may wrap on the terminal, but what is copied is one line."""
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("  https://openrouter.ai/api/v1") for line in lines)


def test_models_for_scripts_and_one_at_a_time(capsys: Captured) -> None:
    """By name, and as JSON; a misspelt one is met with the right one."""
    assert main(["models", "OpenAI"]) == 0
    assert "anthropic" not in capsys.readouterr().out
    assert main(["models", "groq", "--json"]) == 0
    (groq,) = json.loads(capsys.readouterr().out)["providers"]
    assert (groq["name"], groq["key"], groq["needs_key"]) == ("groq", "GROQ_API_KEY", True)
    assert main(["models", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["scenarios"]) == set(SCENARIOS)
    assert "did you mean groq?" in told(capsys, "models", "grok2")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(capsys: Captured, shell: str) -> None:
    """The script names the commands and their options."""
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for word in ("estimate", "serve-sim", "keep-metadata"):
        assert word in text


def test_models_lists_what_can_be_named(capsys: Captured) -> None:
    """Each provider with its key, each scenario with what it is like."""
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    for name in (*providers(), *SCENARIOS, "OPENAI_API_KEY", "AZURE_OPENAI_BASE_URL", "sim-key"):
        assert name in text
    assert "5% of requests fail" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], 'Unknown command "rnu"'),
        (["run", "in.jsonl"], "--model requires an argument"),
        (["run", "-m", "sim:default"], "nothing to run: give a file of prompts"),
        (["run", "in.jsonl", "-m", "sim:default", "--limt", "3"], "Did you mean --limit"),
        (["run", "in.jsonl", "-m", "sim:default", "--backend", "curio"], '"trio"'),
        (["run", "none.jsonl", "-m", "sim:default"], "none.jsonl cannot be read: No such file"),
        (["run", "/dev/null", "-m", "sim:default"], "give --input-format with one of jsonl"),
        (["run", "in.jsonl", "-m", "sim:default", "--rpm", "0"], "above 0, or leave it out\n"),
        (["run", "in.jsonl", "-m", "sim:default", "--concurrency", "x"], "number or auto."),
        (["run", "in.jsonl", "-m", "sim:default", "--tpm", "x"], '"x" into a number.'),
        (["run", ".", "-m", "sim:default"], "the input . is a folder; give its files"),
        (["serve-sim", "defalt"], "did you mean 'default'"),
        (["serve-sim", "--port", "x"], "--port"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(
    capsys: Captured, arguments: list[str], message: str
) -> None:
    """It names what is wrong and what to give instead."""
    assert message in told(capsys, *arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--limit", "-1"], "--limit is -1; give 0 or more"),
        (["--template", "{"], "--template"),
        (["--concurrency", "0"], "--concurrency is 0; give a whole number"),
        (["--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY is not set"),
    ],
)
def test_wrong_settings_send_and_write_nothing(
    capsys: Captured, tmp_path: Path, options: list[str], message: str
) -> None:
    """The output is not even made, and one that is there is not touched."""
    output = tmp_path / "out.jsonl"
    command = ["run", prompts(tmp_path), "-m", "ollama:x", "-o", str(output), *options]
    assert message in told(capsys, *command)
    assert not output.exists()
    output.write_text("paid for")
    assert message in told(capsys, *command, "--overwrite")
    assert output.read_text() == "paid for"


def test_an_output_that_exists_is_told(capsys: Captured, tmp_path: Path) -> None:
    """Without ``--overwrite`` it stays."""
    path, output = prompts(tmp_path), tmp_path / "out.jsonl"
    output.write_text("paid for")
    assert "exists already" in told(capsys, "run", path, "-m", "ollama:x", "-o", str(output))
    assert output.read_text() == "paid for"


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_the_input_is_never_written_over(
    capsys: Captured, tmp_path: Path, options: list[str]
) -> None:
    """Not under another name, and not with ``--overwrite`` either."""
    path = prompts(tmp_path)
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    for output in (path, str(link)):
        command = ["run", path, "-m", "ollama:x", "-o", output, *options]
        assert "is the input itself" in told(capsys, *command)
    assert "Hi" in Path(path).read_text()


def test_a_key_in_place_of_its_variable_is_not_shown(capsys: Captured, tmp_path: Path) -> None:
    """A common slip, which must not put the key on the screen or into a log."""
    command = ["run", prompts(tmp_path), "-m", "openai:x", "--api-key-env", "sk-CANARY-1"]
    said = told(capsys, *command)
    assert "takes the name of an environment variable" in said
    assert "CANARY" not in said


def test_a_port_that_is_none_is_told(capsys: Captured) -> None:
    """Before anything is opened."""
    assert "--port is 99999" in told(capsys, "serve-sim", "--port", "99999")


def test_a_log_that_exists_is_told(capsys: Captured, tmp_path: Path) -> None:
    """Two servers' requests in one log would reconcile with nothing."""
    path = prompts(tmp_path)
    assert "exists already" in told(capsys, "serve-sim", "--log", path)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "rows that were written stay"),
        (
            BaseExceptionGroup("", [KeyboardInterrupt()]),
            ExitCode.INTERRUPTED,
            "rows that were written stay",
        ),
        (ConfigError("the setting is wrong"), ExitCode.STOPPED, "the setting is wrong"),
        (RuntimeError("oh"), ExitCode.STOPPED, "RuntimeError: oh. That should not have happened"),
    ],
)
def test_no_error_shows_a_traceback(
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: ExitCode,
    message: str,
) -> None:
    """Any error of a command becomes a sentence and an exit code."""

    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("anyio.run", broken)
    assert main(["run", "-", "-m", "ollama:x"]) == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_debug_shows_where_an_error_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised as it is, for the traceback."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("anyio.run", broken)
    with pytest.raises(RuntimeError):
        main(["serve-sim", "--debug"])


def test_the_end_is_one_json_object_for_a_script(capsys: Captured, tmp_path: Path) -> None:
    """On standard output, under names that stay; what people read goes to standard error."""
    path, rows = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"id": "a", "prompt": "Hi"}\n{"id": "b"}\n')
    given = ["run", str(path), "-m", "sim:instant", "-o", str(rows), "--json"]
    assert main(given) == 1
    out, err = capsys.readouterr()
    end = json.loads(out)
    assert {name: end[name] for name in ("exit_code", "items", "succeeded", "failed", "rows")} == {
        "exit_code": 1, "items": 2, "succeeded": 1, "failed": 1, "rows": 2,
    }  # fmt: skip
    assert (end["ended_by"], end["failures"]) == ("done", {"invalid_item": 1})
    assert (end["output"], end["journal"]) == (str(rows), f"{rows}.journal")
    assert (end["goes_on"], end["problem"]) == (None, None)
    assert end["tokens"]["input_tokens"] > 0
    assert "in.jsonl:2: not sent" in err
    assert "Items" not in err
    assert main(given) == 1
    again = json.loads(capsys.readouterr().out)
    assert (again["items"], again["finished_before"]) == (1, 1)


def test_json_of_a_single_prompt_is_its_row(capfd: Captured) -> None:
    """With its tokens and all; the estimate of a dry run is JSON as well."""
    assert main(["run", "Say hi to me.", "-m", "sim:instant", "--json"]) == 0
    row = json.loads(capfd.readouterr().out)
    assert (row["success"], row["model"]) == (True, "instant")
    assert main(["run", "Say hi to me.", "-m", "sim:instant", "--json", "--dry-run"]) == 0
    assert json.loads(capfd.readouterr().out)["items"] == 1


def test_rows_and_the_end_do_not_go_to_one_place(capsys: Captured, tmp_path: Path) -> None:
    """A script could not tell one from the other."""
    text = told(capsys, "run", prompts(tmp_path), "-m", "sim:instant", "--json")
    assert text == (
        "batchllm: --json writes the end to standard output, where the rows go; give -o FILE\n"
    )


def test_what_is_missing_is_said_with_what_to_give(capsys: Captured, tmp_path: Path) -> None:
    """A new user knows no model's name; the simulator needs none."""
    text = told(capsys, "run", prompts(tmp_path))
    assert "-m sim:default, which needs no key" in text
