"""Pipes and files as sources of items, in real time: what is there is read at once."""

import os
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest
from anyio import to_thread

from batchllm.cli.choice import Choice, Chooser
from batchllm.cli.formats import FileFormat
from batchllm.cli.inputs import Input
from batchllm.cli.prompts import PromptRules
from batchllm.cli.source import LineSource
from tests.cli.test_source import all_of, opened, write

pytestmark = pytest.mark.anyio


def pipe_of(descriptor: int) -> BinaryIO:
    return open(descriptor, "rb", buffering=0)


async def test_a_pipe_is_read_as_it_fills() -> None:
    """Each line is an item at once, although the next one is not there yet."""
    reader, writer = os.pipe()
    with pipe_of(reader) as file:
        one = Input("pipe", file, FileFormat("csv"), PromptRules(), regular=False)
        items = LineSource([one], Chooser(Choice())).items()
        os.write(writer, b"id,prompt\n1,Hi\n2,")
        assert (await anext(items))[:2] == ("1", "Hi")
        os.write(writer, b"Ho")
        os.close(writer)
        assert [item[:2] async for item in items] == [("2", "Ho")]


async def test_files_and_a_pipe_together(tmp_path: Path) -> None:
    """One after the other, and the limit stops reading."""
    path = write(tmp_path, "a.txt", b"Hi\nHo\n")
    reader, writer = os.pipe()
    os.write(writer, b"He\n")
    with pipe_of(reader) as file:
        pipe = Input("pipe", file, FileFormat("text"), PromptRules(), regular=False)
        source = LineSource([*opened([path]), pipe], Chooser(Choice(limit=3)))
        found = [prompt async for _, prompt, _ in source.items()]
        for one in source.inputs:
            one.close()
    os.close(writer)
    assert found == ["Hi", "Ho", "He"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", b'{"prompt": "a"}\n\n  \nbad\n{"prompt": "b"}'),
        ("a.csv", b'prompt\na\n\n"b\nb"\n5" c'),
        ("a.json", b'["a", {"prompt": "b"}, 3]'),
    ],
)
async def test_the_count_is_that_of_the_lines(tmp_path: Path, name: str, data: bytes) -> None:
    """Refused ones are among them, blank ones are not."""
    path = write(tmp_path, name, data)
    (one,) = opened([path])
    with closing(one):
        source = LineSource([one], Chooser(Choice()))
        assert await to_thread.run_sync(source.count) == len(all_of(path)) == 3
