"""Lines of input: what each stands for, and what is wrong with those that stand for nothing."""

from typing import Any

import pytest

from batchllm.cli.exits import UsageError
from batchllm.cli.lines import LineReader, TableReader, ValueReader
from batchllm.cli.prompts import Line, PromptRules
from batchllm.cli.records import LineSplitter, RowSplitter, records_of
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
    records = list(records_of([mark + b"Hi\n" + mark + b"Ho"], LineSplitter()))
    assert [read(raw, TEXT, number).prompt for number, raw in records] == ["Hi", "\ufeffHo"]


def test_a_template_makes_the_prompt() -> None:
    """It reads the fields of the row, and wins over a prompt that is there."""
    reader = LineReader("jsonl", PromptRules(Template.parse("Say {word}")))
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
        ('{"prompt": "Hi"}'.encode("utf-16-le"), "as UTF-16 without its mark has"),
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
        (b'{"id": 3}', 'no "prompt" or "messages"; its fields: id; give --prompt-column'),
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


def test_null_is_no_id() -> None:
    """Exports of databases write it where there is nothing."""
    line = read(b'{"id": null, "prompt": "Hi"}')
    assert (line.item_id, line.own_id) == ("line-7", None)


def test_columns_can_be_named() -> None:
    """The prompt and the id may have any name; one that is missing is named, with what is there."""
    rules = PromptRules(prompt_field="question", id_field="key")
    line = read(b'{"key": 4, "question": "Why?", "prompt": "no"}', LineReader("jsonl", rules))
    assert (line.item_id, line.prompt, line.problem) == (4, "Why?", None)
    line = read(b'{"key": 4, "text": "Why?"}', LineReader("jsonl", rules))
    assert line.problem == "no field 'question' for --prompt-column; its fields: key, text"
    line = read(b'{"question": "Why?"}', LineReader("jsonl", rules))
    assert "no field 'key' for --id-column" in str(line.problem)


@pytest.mark.parametrize(
    ("body", "prompt"),
    [
        (b'{"messages": [{"role": "user", "content": "Hi"}]}', [{"role": "user", "content": "Hi"}]),
        (b'{"input": "Hi"}', "Hi"),
    ],
)
def test_a_line_of_openais_batch_files(body: bytes, prompt: Any) -> None:
    """Their requests are prompts, their custom_id is the id."""
    line = read(b'{"custom_id": "r1", "method": "POST", "url": "/v1/x", "body": ' + body + b"}")
    assert (line.item_id, line.prompt, line.problem) == ("r1", prompt, None)
    broken = read(b'{"custom_id": "r1", "body": {"model": "x"}}')
    assert "has no" in str(broken.problem)


def table(text: str, rules: PromptRules | None = None, delimiter: str | None = None) -> list[Line]:
    """The lines of a table, read in pieces that break everywhere."""
    splitter = RowSplitter(delimiter)
    reader = TableReader(splitter, rules or PromptRules())
    data = text.encode()
    chunks = [data[at : at + 3] for at in range(0, len(data), 3)]
    records = records_of(chunks, splitter)
    return [line for number, record in records if (line := reader.read(number, record))]


def test_a_table_has_a_line_for_each_row() -> None:
    """Fields with quotes, delimiters and line feeds in them are whole; the number is the first."""
    lines = table('id,prompt,tag\r\na,"Say ""hi"", now\r\nplease",1\r\n\r\nb,5" pipe,2\n')
    assert [(line.number, line.item_id) for line in lines] == [(2, "a"), (5, "b")]
    assert lines[0].prompt == 'Say "hi", now\r\nplease'
    assert lines[1].prompt == '5" pipe'
    assert lines[1].fields == {"id": "b", "prompt": '5" pipe', "tag": "2"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_header_shows_the_delimiter(delimiter: str) -> None:
    """Spreadsheets write what their country does."""
    (line,) = table(f"id{delimiter}prompt\n7{delimiter}Hi\n")
    assert (line.item_id, line.prompt) == ("7", "Hi")


def test_names_of_columns_are_found_in_any_case() -> None:
    """A spreadsheet calls them Id and Prompt."""
    (line,) = table("Id,Prompt\n7,Hi\n")
    assert (line.item_id, line.prompt) == ("7", "Hi")


def test_messages_in_a_table_are_json() -> None:
    """A cell holds text only."""
    messages = '[{""role"": ""user"", ""content"": ""Hi""}]'
    good, bad = table(f'messages,n\n"{messages}",1\noops,2\n')
    assert good.prompt == [{"role": "user", "content": "Hi"}]
    assert "its messages are not JSON" in str(bad.problem)


def test_a_row_that_does_not_fit_its_header_is_refused() -> None:
    """A shifted row would be sent as another column."""
    short, long, open_ = table('id,prompt\na\nb,c,d\ne,"never closed\n')
    assert short.problem == "it has 1 field, and the header 2"
    assert long.problem == "it has 3 fields, and the header 2"
    assert "unexpected end of data" in str(open_.problem)


@pytest.mark.parametrize(
    ("header", "rules", "message"),
    [
        ("id,text", {}, 'the columns are id, text. Give --prompt-column "text"'),
        ("a,a", {}, "names 'a' twice"),
        ("id,text", {"prompt_field": "txt"}, "no column 'txt'; the columns are id, text"),
        ("prompt", {"id_field": "key"}, "--id-column: there is no column 'key'"),
    ],
)
def test_a_header_that_will_not_do_is_refused(
    header: str, rules: dict[str, Any], message: str
) -> None:
    """Before any row is read, since no row could be right."""
    with pytest.raises(UsageError) as caught:
        table(f"{header}\n1,2\n", PromptRules(**rules))
    assert message in str(caught.value)


def test_elements_of_a_list_are_prompts_or_rows() -> None:
    """Anything else is kept as it was."""
    reader = ValueReader()
    text, row, bad = (reader.read(n, v) for n, v in enumerate(("Hi", {"prompt": "Ho"}, 5), 1))
    assert text is not None
    assert row is not None
    assert bad is not None
    assert (text.prompt, row.prompt) == ("Hi", "Ho")
    assert (bad.text, bad.problem) == ("5", 'a JSON number and not an object; give {"prompt": …}')
