"""Reports of journals and of results: of what there is, whatever state it is in."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from batchllm import write_report
from batchllm.api import run_batch_sync
from batchllm.core import (
    BatchResult,
    ConfigError,
    JournalError,
    LLMCallStrategy,
    ProcessorConfig,
)
from batchllm.journal import Journal
from batchllm.reports import figures_of, read_report, render_report
from tests.reports.kit import Asked, Page, journal_of

ITEMS = [*((f"p{n}", f"say {n}") for n in range(8)), ("b1", "bad one"), ("b2", "bad two")]


def test_a_journal_is_counted(tmp_path: Path) -> None:
    """The figures are those of its items."""
    path = journal_of(tmp_path / "out.jsonl.journal", ITEMS)
    figures = figures_of(read_report(path))
    assert figures["name"] == "out.jsonl"
    assert (figures["items"], figures["succeeded"]) == (10, 8)
    assert figures["failed"] == {"invalid_request": 2}
    assert figures["tokens"] == {"input_tokens": 80, "output_tokens": 40, "total_tokens": 120}
    assert figures["models"]["gpt-a"]["items"] == 8
    assert [error["count"] for error in figures["errors"]] == [2]
    assert figures["state"] == "done: every item was processed"
    json.dumps(figures, allow_nan=False)


def test_the_page_has_a_chart_of_everything_that_is_known(tmp_path: Path) -> None:
    """Over time, over items, by kind."""
    path = journal_of(tmp_path / "run.db", ITEMS)
    charts = Page(render_report(read_report(path))).data["charts"]
    names = [chart["name"] for chart in charts]
    assert {"throughput", "in-flight", "latency", "tokens-in", "errors", "attempts"} <= set(names)
    assert len(names) == len(set(names))
    assert all(chart["series"] and chart["title"] for chart in charts)


def test_a_run_that_went_on_is_one_course(tmp_path: Path) -> None:
    """Both runs are listed, and the second begins where the first one ended."""
    path = journal_of(tmp_path / "run.db", ITEMS[:4])
    journal_of(path, ITEMS)
    report = read_report(path)
    assert [run["number"] for run in report.runs] == [1, 2]
    assert len(report.joints) == 1
    assert 0 < report.joints[0] < report.seconds
    assert report.counting.items == 10


def test_prompts_that_were_not_kept_are_not_there(tmp_path: Path) -> None:
    """The page says so."""
    path = journal_of(tmp_path / "run.db", [("p1", "a private matter")], strategy=Quiet(),
                      journal_prompts=False)  # fmt: skip
    page = render_report(read_report(path))
    assert "private matter" not in page
    assert "No prompts were kept." in page


class Quiet(LLMCallStrategy[Any]):
    """Says nothing of what it was asked."""

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
        return "an answer", None


@frozen
class Place:
    """An output of a class."""

    name: str
    near: tuple[str, ...] = ()


class Finder(LLMCallStrategy[Place]):
    """Answers with an object."""

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
        return Place("Ulm", ("Bonn",)), None


def test_an_answer_of_a_class_that_is_not_loaded_is_shown_as_json(tmp_path: Path) -> None:
    """A report does not need the program that wrote the journal."""
    path = journal_of(tmp_path / "run.db", [("p1", "where?")], strategy=Finder())
    with closing(sqlite3.connect(path)) as db:
        ((payload,),) = db.execute("SELECT payload FROM items").fetchall()
        gone = payload.replace(Place.__module__.encode(), b"no_such_module")
        db.execute("UPDATE items SET payload = ?", (gone,))
        db.commit()
    output = Page(render_report(read_report(path))).item("p1")["output"]
    assert json.loads(output) == {"name": "Ulm", "near": ["Bonn"]}


class Odd(LLMCallStrategy[Any]):
    """Answers with what JSON does not have, or with a vector."""

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
        outputs = {"nan": {"score": float("nan")}, "vector": [0.5] * 300, "half": "\ud800"}
        return outputs[prompt], None


def test_odd_answers_are_shown(tmp_path: Path) -> None:
    """NaN, an embedding, half of a surrogate pair."""
    names = ["nan", "vector", "half"]
    path = journal_of(tmp_path / "run.db", [(name, name) for name in names], strategy=Odd())
    page = Page(render_report(read_report(path)))
    outputs = {name: page.item(name)["output"] for name in names}
    assert "NaN" in outputs["nan"]
    assert outputs["vector"].endswith("0.5, … 300 numbers]")
    assert outputs["half"] == "?"


def test_a_run_that_was_killed_is_reported(tmp_path: Path) -> None:
    """Its time is up to what was last written."""
    path = journal_of(tmp_path / "run.db", ITEMS)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE runs SET ended = NULL, cause = NULL, reason = NULL, counts = NULL")
        db.commit()
    report = read_report(path)
    assert report.state == "it ended without a word, as if it was killed"
    assert report.seconds > 0
    assert "without a word" in render_report(report)


def test_a_journal_without_items_has_a_report(tmp_path: Path) -> None:
    """With no chart and no table."""
    page = render_report(read_report(journal_of(tmp_path / "run.db", [])))
    assert Page(page).data["items"] == []
    assert "No item is shown one by one." in page


def test_a_result_is_reported_from_what_it_has(tmp_path: Path) -> None:
    """Failures, latencies and tokens; no course over time, and no prompts."""
    result = run_batch_sync(ITEMS, Asked(), config=ProcessorConfig(max_workers=4))
    written = write_report(result, tmp_path / "run.html")
    page = Page(written.read_text(encoding="utf-8"))
    names = {chart["name"] for chart in page.data["charts"]}
    assert {"latency", "errors", "tokens-out"} <= names
    assert not names & {"throughput", "in-flight"}
    assert page.item("p1")["output"] == "echo say 1 ?"
    assert page.item("b1")["failures"]


def test_a_bug_is_shown_with_its_line() -> None:
    """The line of the user's code, beside the message."""

    class Wrong(LLMCallStrategy[str]):
        async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
            return len(prompt, 7)  # type: ignore[call-arg]

    result = run_batch_sync(["a"], Wrong())
    assert "test_sources.py:" in Page(render_report(read_report(result))).text


def test_a_result_that_kept_a_journal_is_reported_from_it(tmp_path: Path) -> None:
    """So that times and prompts are there; without the file, from what it has itself."""
    path = tmp_path / "run.db"
    result = run_batch_sync(ITEMS, Asked(), journal=path)
    assert Page(render_report(read_report(result))).item("p1")["prompt"] == "say 1"
    path.unlink()
    assert "prompt" not in Page(render_report(read_report(result))).item("p1")


def test_a_result_that_kept_no_results_has_its_sums() -> None:
    """The counts of the batch itself."""
    result = run_batch_sync(ITEMS, Asked(), config=ProcessorConfig(keep_results=False))
    figures = figures_of(read_report(result))
    assert (figures["items"], figures["succeeded"], figures["failed"]) == (10, 8, {"failed": 2})
    assert figures["tokens"]["input_tokens"] == 80


def test_every_form_of_a_source_is_taken(tmp_path: Path) -> None:
    """A path, its name, and a journal."""
    path = journal_of(tmp_path / "run.db", ITEMS)
    for source in (path, str(path), Journal(path)):
        assert read_report(source).counting.items == 10


@pytest.mark.parametrize("source", [None, 7, "", BatchResult])
def test_what_cannot_be_reported_is_refused(source: Any) -> None:
    """By name, with what to give."""
    with pytest.raises(ConfigError, match="give a BatchResult, or a journal or its path"):
        read_report(source)


@pytest.mark.parametrize("path", [None, 7, ""])
def test_a_path_that_is_none_is_refused_before_anything_is_read(path: Any) -> None:
    """The source need not even be there."""
    with pytest.raises(ConfigError, match="give the name of a file"):
        write_report("no-such-journal", path)


def test_a_journal_that_is_not_there_leaves_the_old_report(tmp_path: Path) -> None:
    """A file is replaced only by one that is whole."""
    target = tmp_path / "run.html"
    target.write_text("old")
    with pytest.raises(JournalError):
        write_report(tmp_path / "nothing.db", target)
    with pytest.raises(JournalError):
        write_report(target, target)
    assert [target.read_text(), *tmp_path.iterdir()] == ["old", target]


def test_no_report_takes_the_place_of_a_journal(tmp_path: Path) -> None:
    """Its own, which has the answers."""
    path = journal_of(tmp_path / "run.db", ITEMS)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"run\.db is the journal of a run, with its answers"):
        write_report(path, path)
    assert path.read_bytes() == before


def test_a_report_takes_the_place_and_the_mode_of_the_one_before(tmp_path: Path) -> None:
    """As a file that was made private stays private."""
    path, target = journal_of(tmp_path / "run.db", ITEMS), tmp_path / "run.html"
    assert write_report(path, target) == target
    target.chmod(0o600)
    write_report(path, target)
    assert target.stat().st_mode & 0o777 == 0o600
