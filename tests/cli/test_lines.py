"""Lines of input: what each stands for, and what is wrong with those that stand for nothing."""

from typing import Any

import pytest

from batchllm.cli.lines import Line, LineReader
from batchllm.cli.templates import Template

JSONL = LineReader("jsonl")
TEXT = LineReader("text")


def read(raw: bytes, reader: LineReader = JSONL, number: int = 7) -> Line:
    line = reader.read(number, raw)
    assert line is not None
    return line


@pytest.mark.parametrize("reader", [JSONL, TEXT])
@pytest.mark.parametrize("raw", [b"", b"\n", b"  \t\r\n"])
def test_blank_lines_are_skipped(reader: LineReader, raw: bytes) -> None:
    """They are no items in either format."""
    assert reader.read(1, raw) is None


def test_a_row_with_a_prompt() -> None:
    """The prompt is sent, the id is the row's own, and every field is kept."""
    line = read('{"id": "a", "prompt": "Où?", "tag": [1]}\r\n'.encode())
    assert (line.item_id, line.prompt, line.problem) == ("a", "Où?", None)
    assert line.fields == {"id": "a", "prompt": "Où?", "tag": [1]}


def test_a_row_with_messages() -> None:
    """Chat messages are the prompt; without an id the line's number stands in, told from ids."""
    messages = [{"role": "user", "content": "Hi"}]
    line = read(b'{"messages": [{"role": "user", "content": "Hi"}]}')
    assert (line.item_id, line.prompt) == ("line-7", messages)


def test_a_line_of_text_is_a_prompt() -> None:
    """It is taken as it is, but for the end of the line."""
    line = read(b"  What? \r\n", TEXT)
    assert (line.item_id, line.prompt) == ("line-7", "  What? ")
    assert line.fields == {"prompt": "  What? "}


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    """Files from Windows begin with one; elsewhere it is content."""
    mark = b"\xef\xbb\xbf"
    assert read(mark + b"Hi", TEXT, number=1).prompt == "Hi"
    assert read(mark + b"Hi", TEXT, number=2).prompt == "\ufeffHi"


def test_a_template_makes_the_prompt() -> None:
    """It reads the fields of the row, and wins over a prompt that is there."""
    reader = LineReader("jsonl", Template.parse("Say {word}"))
    assert read(b'{"word": "hi", "prompt": "no"}', reader).prompt == "Say hi"
    assert "no field 'word'" in str(read(b'{"wort": "hi"}', reader).problem)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"not json", "not JSON: Expecting value at column 1"),
        (b'{"prompt": NaN}', "NaN is no number"),
        (b'{"prompt": "p", "score": 1e999}', "1e999 is larger than any number"),
        (b'{"prompt": "p", "n": {"x": [-1e400]}}', "-1e400 is larger than any number"),
        (b'{"prompt": "p", "n": 9' + b"9" * 99 + b"e999}", "9999… is larger"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "a JSON list"),
        (b'"text"', "a JSON text"),
        (b"null", "a JSON null"),
        (b"true", "a JSON boolean"),
        (b"1.5", "a JSON number"),
        (b'{"prompt": "\xff"}', "not UTF-8: byte 13"),
    ],
)
def test_a_line_that_is_no_row_is_kept_as_text(raw: bytes, problem: str) -> None:
    """Its number is its id, and nothing of it is lost."""
    line = read(raw)
    assert problem in str(line.problem)
    assert line.item_id == "line-7"
    assert line.fields == {}
    assert line.text == raw.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b'{"id": 3}', 'no "prompt" or "messages" (its fields: id)'),
        (b"{}", "its fields: none"),
        (b'{"prompt": "a", "messages": []}', "both"),
        (b'{"prompt": " "}', "blank"),
    ],
)
def test_a_row_without_one_prompt_is_kept_with_its_fields(row: bytes, problem: str) -> None:
    """The problem says what is missing; the row's own id is kept."""
    line = read(row)
    assert problem in str(line.problem)
    assert line.text is None
    expected: Any = 3 if b"id" in row else "line-7"
    assert line.item_id == expected
