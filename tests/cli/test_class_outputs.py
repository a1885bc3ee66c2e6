"""Answers of a class of the user's are JSON in rows, and need no class to be read again."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from batchllm.cli import main

ATTRS = "from attrs import frozen\n\n\n@frozen\nclass Person:\n    name: str\n    age: int\n"
PYDANTIC = (
    "from pydantic import BaseModel\n\n\nclass Person(BaseModel):\n    name: str\n    age: int\n"
)


@pytest.fixture(params=[ATTRS, PYDANTIC], ids=["attrs", "pydantic"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a class, and one prompt."""
    if request.param is PYDANTIC:
        pytest.importorskip("pydantic")
    (tmp_path / "people.py").write_text(request.param)
    (tmp_path / "in.jsonl").write_text('{"id": "a", "prompt": "Invent a person."}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "people", raising=False)
    return tmp_path


def run(*words: str) -> None:
    given = ["run", "in.jsonl", "-m", "sim:instant", "--schema", "people:Person", "--quiet"]
    assert main([*given, *words]) == 0


def test_a_row_has_the_fields(folder: Path) -> None:
    """As an object in JSON lines, and as JSON in a cell."""
    run("-o", "out.jsonl")
    run("-o", "out.csv", "--no-journal")
    lines = json.loads((folder / "out.jsonl").read_text())["output"]
    with (folder / "out.csv").open(newline="") as file:
        cells = json.loads(next(csv.DictReader(file))["output"])
    assert lines.keys() == cells.keys() == {"name", "age"}


def test_an_export_needs_no_class(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs in a program of its own, in which nothing of the user's is loaded."""
    run("-o", "out.jsonl")
    monkeypatch.delitem(sys.modules, "people")
    (folder / "people.py").unlink()
    assert main(["export", "out.jsonl", "-o", "again.jsonl"]) == 0
    assert main(["show", "out.jsonl", "a"]) == 0
    assert (folder / "again.jsonl").read_text() == (folder / "out.jsonl").read_text()
