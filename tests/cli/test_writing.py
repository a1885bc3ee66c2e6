"""Rows on their way to a file: whole, at once, and never over something that was paid for."""

import csv
import gzip
import io
import json
import os
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchllm import llm, run_batch_sync
from batchllm.cli.exits import UsageError
from batchllm.cli.output_names import check_output, check_unread, is_file
from batchllm.cli.rows import column_names
from batchllm.cli.writing import RowWriter, StreamWriter, json_line, open_output, write_whole

pytestmark = pytest.mark.anyio

COLUMNS = ("id", "success", "output", "tag", "input", "extra")


def opened(path: Path | str, *, overwrite: bool = False) -> RowWriter:
    return open_output(str(path), overwrite=overwrite, columns=COLUMNS)


async def test_rows_are_in_the_file_when_written(tmp_path: Path) -> None:
    """Each is one line, whatever it has inside, and is not held back in a buffer."""
    path = tmp_path / "out.jsonl"
    writer = opened(str(path), overwrite=False)
    await writer.write({"output": "zwölf\nlines"})
    await writer.write({"output": "half a pair \ud83d"})
    first, second = path.read_bytes().splitlines()
    writer.close()
    assert first == '{"output": "zwölf\\nlines"}'.encode()
    assert json.loads(second) == {"output": "half a pair \ud83d"}


def test_a_device_is_no_file_to_lose() -> None:
    """It can be written to as it is."""
    opened(os.devnull, overwrite=False).close()


def test_an_output_that_exists_is_refused_unless_told(tmp_path: Path) -> None:
    """Answers have been paid for."""
    path = tmp_path / "out.jsonl"
    path.write_text("paid for")
    with pytest.raises(UsageError, match=r"exists already.*--overwrite"):
        opened(str(path), overwrite=False)
    assert path.read_text() == "paid for"
    opened(str(path), overwrite=True).close()
    assert path.read_text() == ""


def test_an_output_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The system's reason is in the sentence."""
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        opened(str(tmp_path / "none" / "out.jsonl"), overwrite=True)


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
    await StreamWriter("it", file, waits=False, encode=json_line).write({"a": "bcdefg"})
    assert file.taken == b'{"a": "bcdefg"}\n'


class Counted(io.FileIO):
    """A pipe that counts how often it was full, and lets its reader begin when it is."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "wb")
        self.full = threading.Event()
        self.refusals = 0

    def write(self, data: Any) -> Any:
        taken = super().write(data)
        self.refusals = self.refusals + 1 if taken is None else 0
        assert self.refusals <= 1, "asked again before there was room"
        if taken is None:
            self.full.set()
        return taken


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    """As standard output is that another program shares; it was asked again without an end."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = os.urandom(300_000)
    read: list[bytes] = []

    def read_all(pipe: Counted) -> None:
        pipe.full.wait()
        with open(reading, "rb") as file:
            read.append(file.read())

    pipe = Counted(writing)
    reader = threading.Thread(target=read_all, args=[pipe])
    reader.start()
    try:
        write_whole(pipe, data)
    finally:
        pipe.full.set()
        pipe.close()
        reader.join()
    assert read == [data]


def test_a_pipe_that_does_not_block_says_that_its_reader_has_gone() -> None:
    """Also while it is waited for."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with Counted(writing) as pipe:
        leaving = threading.Thread(target=lambda: (pipe.full.wait(), os.close(reading)))
        leaving.start()
        with pytest.raises(BrokenPipeError):
            write_whole(pipe, bytes(300_000))
        leaving.join()


def test_a_pipe_may_have_to_wait(tmp_path: Path) -> None:
    """A file on a disk never does; a named pipe does, so its rows go through a thread."""
    with closing(opened(str(tmp_path / "file"), overwrite=True)) as file:
        assert isinstance(file, StreamWriter)
        assert not file.waits
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with closing(opened(str(fifo), overwrite=True)) as pipe:
        assert isinstance(pipe, StreamWriter)
        assert pipe.waits
    os.close(reader)


async def test_a_table_has_its_columns_and_the_rest_in_one(tmp_path: Path) -> None:
    """Line feeds, quotes and nested values come back by any reader of CSV."""
    path = tmp_path / "out.csv"
    writer = opened(path)
    await writer.write({"id": 1, "success": True, "output": 'a "b",\nc', "tag": [1, "é"]})
    await writer.write({"id": 2, "success": False, "output": None, "other": 5})
    writer.close()
    with path.open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert first == {
        "id": "1", "success": "true", "output": 'a "b",\nc', "tag": '[1, "é"]',
        "input": "", "extra": "",
    }  # fmt: skip
    assert (second["output"], second["extra"]) == ("", '{"other": 5}')


async def test_a_field_that_is_called_like_the_last_column_is_in_it(tmp_path: Path) -> None:
    """There is one such column, and what the input has is not lost."""
    path = tmp_path / "out.csv"
    columns = column_names(["id"], ["tag", "extra", "input"])
    with closing(open_output(str(path), overwrite=False, columns=columns)) as writer:
        await writer.write({"id": 1, "tag": "a", "extra": "mine"})
        await writer.write({"id": 2, "tag": "b"})
    assert path.read_text() == 'id,tag,input,extra\n1,a,,"{""extra"": ""mine""}"\n2,b,,\n'


async def test_a_packed_output_is_whole_after_each_row(tmp_path: Path) -> None:
    """Its rows can be read although the file has no end yet."""
    path = tmp_path / "out.jsonl.gz"
    writer = opened(path)
    await writer.write({"id": 1})
    await writer.write({"id": 2})
    with gzip.open(path) as file:
        lines = [file.readline(), file.readline()]
    assert lines == [b'{"id": 1}\n', b'{"id": 2}\n']
    writer.close()
    writer.close()
    assert gzip.decompress(path.read_bytes()) == b'{"id": 1}\n{"id": 2}\n'


ROWS: list[dict[str, Any]] = [
    {"id": 1, "success": True, "cost": 1, "usage": {"n": 1}, "big": 2**70, "mixed": "x"},
    {"id": 2, "success": False, "cost": 0.5, "usage": None, "big": 1, "mixed": 3, "half": "\ud83d"},
]


async def test_parquet_is_made_at_the_end(tmp_path: Path) -> None:
    """Columns have the types of their values; nested and mixed ones hold JSON."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "out.parquet"
    writer = opened(path)
    for row in ROWS:
        await writer.write(row)
    aside = tmp_path / "out.parquet.rows.jsonl"
    assert len(aside.read_text().splitlines()) == 2, "rows are safe before the end"
    writer.close()
    writer.close()
    assert sorted(os.listdir(tmp_path)) == ["out.parquet"]
    assert parquet.read_table(path).to_pylist() == [
        {
            "id": 1, "success": True, "cost": 1.0, "usage": '{"n": 1}',
            "big": str(2**70), "mixed": '"x"', "half": None,
        },
        {
            "id": 2, "success": False, "cost": 0.5, "usage": None,
            "big": "1", "mixed": "3", "half": "\\ud83d",
        },
    ]  # fmt: skip


def test_parquet_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that installs it is in the sentence, and nothing is made."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r'pip install "batchllm\[parquet\]"'):
        check_output(str(tmp_path / "out.parquet"), ())
    assert os.listdir(tmp_path) == []


def test_no_input_is_written_over(tmp_path: Path) -> None:
    """None of several."""
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text("paid for")
    inputs = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    with pytest.raises(UsageError, match="is the input itself"):
        check_output(inputs[1], inputs)
    assert (tmp_path / "b.jsonl").read_text() == "paid for"


def test_no_file_that_is_read_is_written_over(tmp_path: Path) -> None:
    """A template, settings, a schema: by whatever name it is reached."""
    template = tmp_path / "template.txt"
    template.write_text("Say {text}.")
    link = tmp_path / "link.txt"
    link.symlink_to(template)
    with pytest.raises(UsageError, match="is the template itself; give another name"):
        check_output(str(link), (), {str(template): "the template"})


def test_a_file_that_is_not_there_yet_has_one_use(tmp_path: Path) -> None:
    """As the journal of a run that is to be its output, too."""
    name = str(tmp_path / "new.db")
    with pytest.raises(UsageError, match="the journal is the output itself"):
        check_unread("the journal", f"{tmp_path}/./new.db", {name: "the output"})


def test_no_journal_is_written_over(tmp_path: Path) -> None:
    """Nor one that was cut short; another database may be lost if the user says so."""
    path = tmp_path / "out.jsonl.journal"
    run_batch_sync(["a", "b"], llm("sim:instant"), journal=path)
    head = path.read_bytes()[:100]
    for data in (path.read_bytes(), head):
        path.write_bytes(data)
        with pytest.raises(UsageError, match="is the journal of a run, with its answers"):
            check_output(str(path), ())
    for data in (head[:68], b"SQLite format 3\0" + b"x" * 84, b""):
        path.write_bytes(data)
        check_output(str(path), ())


async def test_the_name_of_an_open_file_is_not_opened_anew(tmp_path: Path) -> None:
    """The contents of before stay, and the name is no file that could be removed."""
    path = tmp_path / "all.jsonl"
    path.write_bytes(b"before\n")
    with path.open("ab") as file:
        number = os.dup2(file.fileno(), 99, inheritable=True)
        try:
            name = f"/dev/fd/{number}"
            assert not is_file(name)
            writer = open_output(name, overwrite=True, columns=())
            await writer.write({"id": 1})
            writer.close()
        finally:
            os.close(number)
    assert path.read_bytes() == b'before\n{"id": 1}\n'
    assert not any(map(is_file, ("-", "/dev/stdout", "/dev/stderr", "/proc/self/fd/1")))


def test_no_row_gets_into_a_file_that_the_program_has_open(tmp_path: Path) -> None:
    """A number that the shell has not opened may be that of a journal."""
    with (
        (tmp_path / "journal").open("wb") as file,
        pytest.raises(UsageError, match="Bad file descriptor"),
    ):
        open_output(f"/dev/fd/{file.fileno()}", overwrite=True, columns=())
