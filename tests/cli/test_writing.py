"""Rows of output: ours first, nothing of the input lost, always JSON."""

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchllm.cli.exits import UsageError
from batchllm.cli.lines import Line
from batchllm.cli.writing import RowWriter, check_output, encode_row, open_output, output_row
from batchllm.core import TokenUsage, WorkItemResult

pytestmark = pytest.mark.anyio


def line(**fields: Any) -> Line:
    return Line(number=4, item_id=fields.get("id", "4"), fields=fields)


def result(**given: Any) -> WorkItemResult[Any, Any]:
    return WorkItemResult(**{"item_id": "4", "success": True, "output": "yes", **given})


def test_a_row_has_the_documented_fields_first() -> None:
    """Then come the input's own, and an id keeps its type."""
    spans = (9.0, 0.0, 0.1, 1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0)
    row = output_row(
        line(id=9, prompt="p", tag="t"),
        result(token_usage=TokenUsage(input_tokens=3), attempts=2, spans=spans, cost=0.5),
    )
    assert list(row.items()) == [
        ("id", 9),
        ("success", True),
        ("output", "yes"),
        ("error", None),
        ("error_category", None),
        ("usage", {"input_tokens": 3}),
        ("cost", 0.5),
        ("attempts", 2),
        ("calls", 2),
        ("prompt", "p"),
        ("tag", "t"),
    ]


def test_unknown_usage_is_null() -> None:
    """Unknown is not the same as nothing."""
    assert output_row(line(), result())["usage"] is None


def test_fields_called_like_ours_are_kept_under_input() -> None:
    """Ours win, theirs stay readable; a field called input is one of them."""
    row = output_row(line(id="a", output="old", input="x", tag=1), result())
    assert row["output"] == "yes"
    assert row["input"] == {"output": "old", "input": "x"}
    assert row["tag"] == 1
    assert "input" not in output_row(line(id="a"), result())


def test_a_line_that_was_no_row_is_kept_as_text() -> None:
    """The text stands under input, and the error has the line's number."""
    bad = Line(number=4, item_id="4", fields={}, text="oops", problem="not JSON")
    failed = result(success=False, output=None, error="made up", error_category="invalid_item")
    row = output_row(bad, failed)
    assert (row["input"], row["error"]) == ("oops", "line 4: not JSON")


def test_what_the_engine_refuses_is_told_by_line() -> None:
    """Its own words for items become the file's."""
    error = "item 3: item_id is ' '; give each item an id that is not blank"
    refused = result(success=False, error=error, error_category="invalid_item", submission_index=3)
    assert output_row(line(), refused)["error"] == (
        "line 4: its id is ' '; give each item an id that is not blank"
    )
    failed = result(success=False, error="item 3: no", error_category="timeout")
    assert output_row(line(), failed)["error"] == "item 3: no"


def test_a_refused_line_has_no_id_of_another() -> None:
    """A join by id finds the one row that was sent; the line's number and own id are kept."""
    refused = result(success=False, error="its id came before", error_category="invalid_item")
    row = output_row(line(id="a", prompt="p", line="theirs", tag=1), refused)
    assert list(row)[:2] == ["id", "line"]
    assert (row["id"], row["line"], row["prompt"], row["tag"]) == (None, 4, "p", 1)
    assert row["input"] == {"id": "a", "line": "theirs"}
    sent = output_row(line(id="a", line="theirs"), result())
    assert (sent["id"], sent["line"], "input" in sent) == ("a", "theirs", False)


@pytest.mark.parametrize("name", ["answers.csv", "answers.PARQUET", "answers.xlsx"])
def test_a_name_of_another_format_is_refused(tmp_path: Path, name: str) -> None:
    """Rows are JSON lines, and no file is made that says otherwise."""
    with pytest.raises(UsageError, match=r"JSON lines only; give a name that ends in \.jsonl"):
        check_output(str(tmp_path / name), beside="-")
    assert not (tmp_path / name).exists()


async def test_rows_are_in_the_file_when_written(tmp_path: Path) -> None:
    """Each is one line, whatever it has inside, and is not held back in a buffer."""
    path = tmp_path / "out.jsonl"
    writer = open_output(str(path))
    await writer.write({"output": "zwölf\nlines"})
    await writer.write({"output": "half a pair \ud83d"})
    first, second = path.read_bytes().splitlines()
    writer.close()
    assert first == '{"output": "zwölf\\nlines"}'.encode()
    assert json.loads(second) == {"output": "half a pair \ud83d"}


def test_a_device_is_no_file_to_lose() -> None:
    """It can be written to as it is."""
    open_output(os.devnull).close()


def test_an_output_that_exists_is_refused(tmp_path: Path) -> None:
    """Answers have been paid for."""
    path = tmp_path / "out.jsonl"
    path.write_text("paid for")
    with pytest.raises(UsageError, match=r"exists already.*--overwrite"):
        open_output(str(path))
    assert path.read_text() == "paid for"


def test_the_input_is_no_output(tmp_path: Path) -> None:
    """Under another name neither, and whatever may be overwritten."""
    path, link = tmp_path / "in.jsonl", tmp_path / "link.jsonl"
    path.write_text("prompts")
    link.symlink_to(path)
    with pytest.raises(UsageError, match="is the input itself"):
        check_output(str(link), beside=str(path))


def test_an_output_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The system's reason is in the sentence."""
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        open_output(str(tmp_path / "none" / "out.jsonl"))


class Dribble:
    """A file that takes three bytes at a time."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: memoryview) -> int:
        self.taken += bytes(data[:3])
        return min(3, len(data))


async def test_a_short_write_is_continued() -> None:
    """Pipes and full disks may take a part only."""
    file: Any = Dribble()
    await RowWriter("it", file, waits=False).write({"a": "bcdefg"})
    assert file.taken == b'{"a": "bcdefg"}\n'


def test_a_pipe_may_have_to_wait(tmp_path: Path) -> None:
    """A file on a disk never does; a named pipe does, so its rows go through a thread."""
    with closing(open_output(str(tmp_path / "file"))) as file:
        assert not file.waits
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with closing(open_output(str(fifo))) as pipe:
        assert pipe.waits
    os.close(reader)


def test_an_output_with_infinity_is_still_a_row_of_json() -> None:
    """It is paid for, so it is written, with null for what JSON has no number for."""
    row = {"id": "a", "output": {"x": [float("inf"), 1.5, (float("nan"),)], "half": "\ud83d"}}
    line = encode_row(row)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    read = json.loads(line, parse_constant=refuse)
    assert read == {"id": "a", "output": {"x": [None, 1.5, [None]], "half": "\ud83d"}}
    assert encode_row({"output": float("-inf")}) == b'{"output": null}\n'
