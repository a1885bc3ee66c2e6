"""Budgets, prices and deadlines on the command line: kept, said at the end, gone on from."""

import json
import re
from pathlib import Path

import pytest

from batchllm.cli import main
from batchllm.cli.exits import ExitCode
from tests.e2e.cli_kit import read_rows, write_prompts

Captured = pytest.CaptureFixture[str]
PRICED = ("-m", "sim:instant?input_price=100&output_price=400&tokens=10", "--max-tokens", "12")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_prompts(tmp_path / "in.jsonl", 120)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def run(prompts: Path, output: Path, *more: str) -> int:
    return main(["run", str(prompts), "-o", str(output), *more])


def test_a_budget_is_never_passed_and_the_same_command_goes_on(
    prompts: Path, output: Path, capsys: Captured
) -> None:
    """Each run says what it spent of how much, and how to go on; at last every line has a row."""
    runs = 0
    for runs in range(1, 20):  # noqa: B007
        before = len(read_rows(output)) if output.exists() else 0
        code = run(prompts, output, *PRICED, "--max-cost", "0.2")
        said = capsys.readouterr().err
        rows = read_rows(output)
        cost = sum(row["cost"] for row in rows[before:])
        assert 0 < cost <= 0.2
        assert re.search(r"Cost +\$0\.\d+\n", said)
        if code == ExitCode.OK:
            break
        assert code == ExitCode.STOPPED
        assert cost > 0.2 - 0.02
        assert re.search(r"Budget +\$0\.\d+ of \$0\.20\n", said)
        assert "Ended   budget: the budget of $0.20 is spent" in said
        assert "give a larger --max-cost to spend more" in said
        assert "The same command goes on, and may spend as much again" in said
    assert runs >= 3
    assert sorted(row["id"] for row in rows) == sorted(f"p{n}" for n in range(120))


def test_tokens_are_bounded_too(prompts: Path, output: Path, capsys: Captured) -> None:
    """Without any price."""
    assert run(prompts, output, *PRICED, "--max-tokens-total", "500") == ExitCode.STOPPED
    rows = read_rows(output)
    assert 300 < sum(row["usage"]["total_tokens"] for row in rows) <= 500
    said = capsys.readouterr().err
    assert "give a larger --max-tokens-total" in said
    assert re.search(r"Budget +\d+ of 500 tokens\n", said)


def test_a_price_that_is_not_known_is_refused_before_anything_is_made(
    prompts: Path, output: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the line that gives one; no journal, no output."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-no-key")
    named = ("-m", "openai:no-such-model")
    assert run(prompts, output, *named, "--max-cost", "1") == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "--max-cost needs a price, and none is known for openai:no-such-model" in said
    assert '--prices FILE, a .toml file with ["openai:no-such-model"]' in said or "pip" in said
    assert list(output.parent.iterdir()) == [prompts]


@pytest.mark.parametrize("form", ["toml", "settings", "json"])
def test_a_table_of_ones_own_comes_first(
    prompts: Path, output: Path, tmp_path: Path, form: str
) -> None:
    """By itself or within a file of settings, for any model."""
    if form == "json":
        table = tmp_path / "prices.json"
        table.write_text(json.dumps({"sim:*": {"input": 0, "output": 1_000_000}}))
    else:
        table = tmp_path / "prices.toml"
        name = "sim:*" if form == "toml" else 'prices."sim:*"'
        head = f'["{name}"]' if form == "toml" else f"[{name}]"
        table.write_text(f"{head}\ninput = 0\noutput = 1_000_000\n")
    options = ("--config", str(table)) if form == "settings" else ("--prices", str(table))
    assert run(prompts, output, *PRICED, *options) == ExitCode.OK
    for row in read_rows(output):
        assert row["cost"] == row["usage"]["output_tokens"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a\n", "is not TOML"),
        ('["a:b"]\ninput = 1\n', 'prices."a:b".output is missing'),
        ('["a:b"]\ninput = 1\noutput = -2\n', "output is -2; give a number of at least 0"),
        ("x = 3\n", "give a table of settings (input, output"),
    ],
)
def test_a_wrong_table_is_refused(
    prompts: Path, output: Path, tmp_path: Path, capsys: Captured, text: str, message: str
) -> None:
    """By file, place and remedy."""
    table = tmp_path / "prices.toml"
    table.write_text(text)
    assert run(prompts, output, *PRICED, "--prices", str(table)) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert message in said
    assert str(table) in said


def test_a_dry_run_says_how_far_the_budget_goes(prompts: Path, capsys: Captured) -> None:
    """By the same prices as the run."""
    words = ["run", str(prompts), *PRICED, "--dry-run"]
    assert main([*words, "--max-cost", "0.2"]) == ExitCode.OK
    said = capsys.readouterr().out
    assert re.search(r"Cost +about \$0\.\d+ at most\n", said)
    assert re.search(r"Budget +\$0\.20, which ends the run after about \d+ of 120 prompts\n", said)
    assert main([*words, "--max-cost", "100"]) == ExitCode.OK
    assert re.search(r"Budget +\$100.00, which is enough\n", capsys.readouterr().out)
    assert main(["estimate", str(prompts), *PRICED, "--max-cost", "5", "--json"]) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert found["cost"] == pytest.approx(
        (100 * found["input_tokens"] + 400 * found["output_tokens"]) / 1e6
    )
    assert found["budget"] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-cost", "0"], "--max-cost is 0"),
        (["--max-cost", "-1"], "--max-cost is -1"),
        (["--max-tokens-total", "0"], "--max-tokens-total is 0"),
        (["--fail-fast", ":3"], "give categories and a number, such as authentication:3"),
        (["--fail-fast", "timeout:x"], "give categories and a number"),
        (["--fail-fast", "timeout:0"], "--fail-fast is 0"),
        (["--fail-fast", "autentication"], "did you mean authentication?"),
    ],
)
def test_wrong_options_are_refused(
    prompts: Path, output: Path, capsys: Captured, options: list[str], message: str
) -> None:
    """By the option's name."""
    assert run(prompts, output, *PRICED, *options) == ExitCode.USAGE
    assert message in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("rule", "most"), [("*:1", 20), ("filtered,timeout:5", 60), ("never", 120)]
)
def test_failures_that_repeat_end_the_run_by_rule(
    prompts: Path, output: Path, capsys: Captured, rule: str, most: int
) -> None:
    """Any kind, some kinds, or none."""
    broken = (
        "-m",
        "sim:instant?faults=1.0:content-filter",
        "--max-attempts",
        "1",
        "--concurrency",
        "4",
    )
    code = run(prompts, output, *broken, "--fail-fast", rule)
    rows = read_rows(output)
    assert code == (ExitCode.SOME_FAILED if rule == "never" else ExitCode.STOPPED)
    assert len(rows) <= most
    assert ("Ended   fail_fast: " in capsys.readouterr().err) == (rule != "never")


def test_a_deadline_is_said_as_the_option_that_it_is(
    prompts: Path, output: Path, capsys: Captured
) -> None:
    """With how to go on."""
    slow = ("-m", "sim:default?latency=0.3", "--concurrency", "2", "--deadline", "1s")
    assert run(prompts, output, *slow) == ExitCode.STOPPED
    said = capsys.readouterr().err
    assert "batch_timeout: --deadline (1 s) was over" in said
    assert "The same command goes on, and has as much time again" in said
    assert 0 < len(read_rows(output)) < 120
