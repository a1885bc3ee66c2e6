"""``batchllm report``: where the page goes, and what it may replace."""

import json
from pathlib import Path

import pytest

from batchllm.cli import main
from tests.reports.kit import journal_of


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The name of an output whose journal lies beside it, in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    journal_of(tmp_path / "out.jsonl.journal", [("p1", "a private matter"), ("b1", "bad")])
    return Path("out.jsonl")


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.journal"])
def test_the_page_is_called_like_the_output(
    run: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says where, of how many items, and how large."""
    assert main(["report", name]) == 0
    assert "a private matter" in Path("out.html").read_text(encoding="utf-8")
    assert capsys.readouterr().err.startswith("out.html: 2 items, 0.2 MB")
    assert main(["report", name]) == 0  # a report takes the place of a report


def test_no_other_file_is_lost(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unless that is asked for."""
    page = Path("mine.html")
    page.write_text("mine")
    assert main(["report", str(run), "-o", "mine.html"]) == 2
    assert "is no report; give another -o, or --overwrite to lose it" in capsys.readouterr().err
    assert page.read_text() == "mine"
    assert main(["report", str(run), "-o", "mine.html", "--overwrite", "--no-texts"]) == 0
    assert "private matter" not in page.read_text(encoding="utf-8")


def test_figures_are_for_programs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object of JSON, and no page."""
    assert main(["report", str(run), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["items"], figures["failed"]) == (2, {"invalid_request": 1})
    assert not Path("out.html").exists()


def test_the_page_can_go_to_standard_output(
    run: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Nothing else does."""
    assert main(["report", str(run), "-o", "-"]) == 0
    out = capfdbinary.readouterr().out
    assert out.startswith(b"<!DOCTYPE html>")
    assert out.rstrip().endswith(b"</html>")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["none.jsonl"], "there is no journal none.jsonl; give the output of a run"),
        (["out.jsonl", "-o", "no/such/page.html"], "there is no folder no/such"),
        (["out.jsonl", "-o", "."], "is no file; give the name of one"),
        (["out.jsonl", "--json", "-o", "x.html"], "leave out -o, or --json"),
    ],
)
def test_a_wrong_command_is_explained(
    run: Path, words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence, with exit code 2; nothing is written."""
    assert main(["report", *words]) == 2
    assert problem in capsys.readouterr().err
    assert not list(Path().glob("*.html"))
