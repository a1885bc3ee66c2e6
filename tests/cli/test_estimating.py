"""Estimates and dry runs: everything is shown, nothing is sent."""

import json
from pathlib import Path

import pytest

from batchllm.cli import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is needed."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def table(tmp_path: Path) -> str:
    """100 rows and a bad one."""
    path = tmp_path / "in.csv"
    rows = [f"{number},{'word ' * 8}" for number in range(100)]
    path.write_text("\n".join(["id,text", *rows, "bad"]))
    return str(path)


TEMPLATE = ("--template", "Is this glad: {text}?")


def test_the_estimate(table: str, capsys: Captured) -> None:
    """About a token for four bytes, and the slowest quota decides on the time."""
    command = ["estimate", table, "-m", "openai:gpt-5-mini", *TEMPLATE, "--json"]
    command += ["--max-tokens", "10", "--rpm", "50", "--tpm", "1e6"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["items"], found["refused"]) == (100, 1)
    assert 1300 <= found["input_tokens"] <= 2200
    assert found["output_tokens"] == 1000
    assert found["seconds"] == 120.0


def test_it_is_said_in_words(table: str, capsys: Captured) -> None:
    """With what is not known, and what would make it known."""
    assert main(["estimate", table, "-m", "vllm:x", *TEMPLATE, "--base-url", "http://x/v1"]) == 0
    out = capsys.readouterr().out
    assert "Prompts     100\n" in out
    assert "--max-tokens bounds them" in out
    assert "--rpm and --tpm give one" in out
    assert "Refused     1 cannot be sent" in out
    assert f"{table}:102: it has 1 field, and the header 2" in out
    assert "Cost" not in out


def test_the_price_is_known_by_an_extra(table: str, capsys: Captured) -> None:
    """Or the line that installs it is shown."""
    assert main(["estimate", table, "-m", "openai:gpt-5-mini", *TEMPLATE]) == 0
    out = capsys.readouterr().out
    try:
        import genai_prices
    except ImportError:
        assert 'pip install "batchllm[prices]"' in out
    else:
        assert genai_prices
        assert "for the input alone" in out


def test_a_dry_run_shows_what_would_be_sent(table: str, tmp_path: Path, capsys: Captured) -> None:
    """The first prompts, how many there are, the settings; no file is made."""
    out = tmp_path / "out.jsonl"
    command = ["run", table, "-m", "openai:gpt-5-mini", *TEMPLATE, "-o", str(out), "--dry-run"]
    assert main([*command, "--system", "Be brief.", "-p", "top_p=0.5", "--rpm", "60"]) == 0
    text = capsys.readouterr().out
    assert f"{table}:2:\n  system: Be brief.\n  Is this glad: word word" in text
    assert "… and 97 more" in text
    assert "Model       openai:gpt-5-mini" in text
    assert "Parameter   top_p=0.5" in text
    assert "at least 1:40 by the quota given" in text
    assert f"Rows to     {out}" in text
    assert not out.exists()


def test_a_single_prompt_can_be_looked_at(capsys: Captured) -> None:
    """A long one is cut."""
    assert main(["run", "What is it? " + "x" * 2000, "-m", "openai:x", "--dry-run"]) == 0
    assert "… (2,012 letters)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-m", "opnai:x"], "did you mean 'openai'"),
        (["-m", "openai:x", "-p", "tip_p=1"], "tip_p"),
        (["-m", "openai:x", "--rpm", "0"], "--rpm is 0"),
        (["-m", "openai:x", "--prompt-column", "txt"], "the columns are id, text"),
    ],
)
def test_a_dry_run_finds_what_is_wrong(
    table: str, capsys: Captured, options: list[str], message: str
) -> None:
    """As the run itself would, but for the key."""
    assert (
        main(["run", table, "--dry-run", *TEMPLATE[: 0 if "txt" in options else 2], *options]) == 2
    )
    assert message in capsys.readouterr().err


def test_batches_of_the_provider_cost_half(table: str, capsys: Captured) -> None:
    command = ["estimate", table, "-m", "sim:default?input_price=10&output_price=40", *TEMPLATE]
    command += ["--max-tokens", "10"]
    assert main([*command, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main([*command, "--json", "--mode", "batch", "--rpm", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cost"] == pytest.approx(plain["cost"] / 2)
    assert found["seconds"] is None
    assert main([*command, "--mode", "batch"]) == 0
    out = capsys.readouterr().out
    assert "at most, at the price of batches" in out
    assert "minutes to a day" in out
