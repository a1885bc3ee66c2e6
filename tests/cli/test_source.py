"""Files and pipes become items: every kind of file, several of them, whole or broken."""

import gzip
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchllm.cli.choice import Choice, Chooser
from batchllm.cli.exits import UsageError
from batchllm.cli.formats import format_of_input
from batchllm.cli.inputs import BadInputError, Input, open_input
from batchllm.cli.prompts import PromptRules
from batchllm.cli.source import LineSource, Taken
from batchllm.cli.templates import Template

ROWS = [{"id": "a", "prompt": "Où?", "n": "1"}, {"id": "b", "prompt": "Why?", "n": "2"}]


def write(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return str(path)


def opened(names: Sequence[str]) -> list[Input]:
    return [open_input(name, format_of_input(name), PromptRules()) for name in names]


def all_of(*names: str, **choice: Any) -> list[Taken]:
    inputs = opened(names)
    try:
        return list(LineSource(inputs, Chooser(Choice(**choice))).all_taken())
    finally:
        for one in inputs:
            one.close()


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
TABLE = "id,prompt,n\na,Où?,1\nb,Why?,2\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES),
        ("a.ndjson.gz", LINES),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json.gz", LINES),
        ("a.csv", TABLE.encode()),
        ("a.csv.gz", TABLE.encode("utf-16")),
        ("a.tsv", TABLE.replace(",", "\t").encode("utf-8-sig")),
        ("a.jsonl", LINES.decode().encode("utf-16")),
    ],
)
def test_every_kind_of_file_gives_the_same_items(tmp_path: Path, name: str, data: bytes) -> None:
    """By its name, packed or not, in every encoding that shows itself."""
    path = write(tmp_path, name, data)
    taken = all_of(path)
    assert [(one.line.item_id, one.line.prompt) for one in taken] == [("a", "Où?"), ("b", "Why?")]
    assert taken[0].line.fields == ROWS[0]
    with closing(open_input(path, format_of_input(path), PromptRules())) as one:
        assert one.first_fields() == ["id", "prompt", "n"]


def test_parquet_gives_the_same_items(tmp_path: Path) -> None:
    """Its rows are counted without being read."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = str(tmp_path / "a.parquet")
    parquet.write_table(pa.Table.from_pylist(ROWS), path)
    assert [one.line.fields for one in all_of(path)] == ROWS


def test_what_is_not_parquet_is_refused(tmp_path: Path) -> None:
    """Before anything else is done."""
    pytest.importorskip("pyarrow")
    path = write(tmp_path, "a.parquet", b"id,prompt\n")
    (one,) = opened([path])
    with closing(one), pytest.raises(UsageError, match="is not a Parquet file"):
        one.check()


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.json", b"[1, ", "it is not JSON: Expecting value"),
        ("a.jsonl", "Hi\nHo".encode("utf-16")[:-1], "it begins like utf-16-le and is not"),
    ],
)
def test_a_file_that_breaks_off_is_named(
    tmp_path: Path, name: str, data: bytes, problem: str
) -> None:
    """With what is wrong with it."""
    path = write(tmp_path, name, data)
    with pytest.raises(BadInputError) as caught:
        all_of(path)
    assert str(caught.value).startswith(f"{path} cannot be read on: {problem}")


@pytest.mark.parametrize(
    "data", [b"no gzip", gzip.compress(LINES)[:-9]], ids=["not packed", "cut off"]
)
def test_a_packed_file_that_is_not_whole_is_named(tmp_path: Path, data: bytes) -> None:
    """Its lines so far are not lost, and are not taken for all."""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(BadInputError, match=r"cannot be read on: .*gzip"):
        all_of(str(path))


def test_several_inputs_have_ids_of_their_own(tmp_path: Path) -> None:
    """An id may be in each of them, and is doubled only within one."""
    first = write(tmp_path, "a.jsonl", LINES + b'{"id": "a", "prompt": "again"}\n')
    second = write(tmp_path, "b.csv", TABLE.encode())
    taken = all_of(first, second)
    assert [one.source for one in taken] == [first] * 3 + [second] * 2
    assert [one.keeps_id for one in taken] == [True, True, False, True, True]
    assert taken[2].line.problem == "its id 'a' came before; ids must be unique"
    assert taken[2].place == f"{first}:3"


@pytest.mark.parametrize(
    ("row", "keeps"),
    [
        (b'{"id": "x"}', True),
        (b'{"id": 7}', True),
        (b'{"id": " "}', False),
        (b'{"id": [1]}', False),
        (b"{}", False),
        (b"oops", False),
    ],
)
def test_a_refused_line_keeps_its_id_if_it_is_one(tmp_path: Path, row: bytes, keeps: bool) -> None:
    """And if no line before it has it; a line behind it that has it is refused."""
    path = write(tmp_path, "a.jsonl", row + b"\n" + row)
    assert [one.keeps_id for one in all_of(path)] == [keeps, False]


def test_a_table_without_a_column_for_prompts_is_refused_at_once(tmp_path: Path) -> None:
    """It names the file and its columns."""
    path = write(tmp_path, "a.csv", b"id,text\n1,Hi\n")
    (one,) = opened([path])
    with closing(one), pytest.raises(UsageError) as caught:
        one.check()
    assert str(caught.value).startswith(f"{path}: no column is called prompt or messages")


def test_a_template_that_fits_no_row_of_a_table_is_refused_at_once(tmp_path: Path) -> None:
    """One misspelt field would refuse a million rows."""
    path = write(tmp_path, "a.csv", TABLE.encode())
    rules = PromptRules(Template.parse("{promt}"))
    one = open_input(path, format_of_input(path), rules)
    with closing(one), pytest.raises(UsageError) as caught:
        one.check()
    assert str(caught.value) == (
        f"{path}: no field 'promt' for the template; its fields: id, prompt, n"
    )


def test_settings_in_openais_batch_files_are_not_ignored_in_silence(tmp_path: Path) -> None:
    """The model is that of the command, and so are its parameters."""
    body = {"model": "gpt-x", "messages": [{"role": "user", "content": "Hi"}], "top_p": 0.5}
    row = {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    path = write(tmp_path, "a.jsonl", json.dumps(row).encode())
    (one,) = opened([path])
    with closing(one):
        assert str(one.check()).endswith("-m and -p give the rest (model, top_p)")
    (taken,) = all_of(path)
    assert taken.line.item_id == "r1"
