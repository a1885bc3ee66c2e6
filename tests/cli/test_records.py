"""Bytes become records, however they are cut on their way."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.cli.records import (
    Decoder,
    LineSplitter,
    ListSplitter,
    Record,
    RowSplitter,
    Splitter,
    fields_of,
    records_of,
)


def cut(data: bytes, splitter: Splitter, size: int = 7) -> list[Record]:
    """The records of *data*, which comes in pieces of *size* bytes."""
    return list(records_of([data[at : at + size] for at in range(0, len(data), size)], splitter))


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b""))), st.integers(1, 50))
def test_lines_are_the_same_however_they_come(lines: list[bytes], size: int) -> None:
    """Each has its number, blank ones too, and the last needs no line feed."""
    data = b"x" + b"\n".join(lines)  # no mark of an encoding at the beginning
    expected = [*enumerate(data.split(b"\n"), 1)]
    if not expected[-1][1]:
        expected.pop()
    assert cut(data, LineSplitter(), size) == expected


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)


@given(
    st.lists(st.lists(TEXTS, min_size=2, max_size=4), min_size=1, max_size=6),
    st.integers(1, 50),
    st.sampled_from(",;\t"),
)
def test_a_table_is_read_as_it_was_written(
    rows: list[list[str]], size: int, delimiter: str
) -> None:
    """Quotes, delimiters and line feeds in fields come back, wherever the pieces were cut."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        rows
    )
    splitter = RowSplitter(delimiter)
    records = cut(text.getvalue().encode(), splitter, size)
    assert [fields_of(raw.decode(), delimiter) for _, raw in records] == rows


def test_a_quote_inside_a_field_opens_nothing() -> None:
    """Inches are no quotation, so that the rows behind them are rows of their own."""
    records = cut(b'size,x\n5" pipe,1\n6" pipe,2\n', RowSplitter())
    assert [number for number, _ in records] == [1, 2, 3]


def test_a_quote_that_is_never_closed_takes_the_rest() -> None:
    """It is one record, which its reader refuses; nothing is lost."""
    assert cut(b'a,b\n1,"x\n2,y\n', RowSplitter())[1:] == [(2, b'1,"x\n2,y')]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_mark_shows_the_encoding(encoding: str, size: int) -> None:
    """Files of Windows programs are read as what they are."""
    text = "Où?\nNaïve 😀\n"
    expected = [(1, "Où?".encode()), (2, "Naïve 😀".encode())]
    assert cut(text.encode(encoding), LineSplitter(), size) == expected


def test_big_endian_is_read_too() -> None:
    """By its own mark."""
    data = b"\xfe\xff" + "Où?".encode("utf-16-be")
    assert cut(data, LineSplitter()) == [(1, "Où?".encode())]


def test_what_is_not_what_its_mark_says_is_an_error() -> None:
    """A file that breaks off in the middle of a letter."""
    with pytest.raises(UnicodeDecodeError):
        cut("Hi".encode("utf-16")[:-1], LineSplitter())


def test_elements_of_a_list_are_records() -> None:
    """By their places; an object that stands alone is one."""
    assert cut(b'[{"a": 1},\n "x"]', ListSplitter()) == [(1, {"a": 1}), (2, "x")]
    assert cut(b'{"a": 1}', ListSplitter()) == [(1, {"a": 1})]
    assert cut(b"  \n", ListSplitter()) == []


def test_json_lines_under_the_name_of_a_list_are_lines() -> None:
    """Many tools call them .json."""
    assert cut(b'{"a": 1}\n{"a": 2}\n', ListSplitter()) == [(1, b'{"a": 1}'), (2, b'{"a": 2}')]


@pytest.mark.parametrize("data", [b"[1, ", b"[" * 100_000])
def test_what_is_not_json_is_an_error(data: bytes) -> None:
    """Nothing of it is sent."""
    with pytest.raises(ValueError, match=r"Expecting|nested too deeply"):
        cut(data, ListSplitter(), 10_000)


def test_long_fields_are_read() -> None:
    """A prompt may be longer than the 128 KiB that Python's reader of CSV allows."""
    long = "x" * 300_000
    records = cut(f'a,b\n"{long}",1\n'.encode(), RowSplitter(), 65_536)
    assert fields_of(records[1][1].decode(), ",") == [long, "1"]


def test_json_is_what_it_was() -> None:
    """Numbers keep their kind."""
    rows = [{"n": 1, "x": 1.5, "t": True}]
    assert cut(json.dumps(rows).encode(), ListSplitter()) == [(1, rows[0])]


@pytest.mark.parametrize("data", [b"a\n", b"\n", b"\xef\xbb\xbfa\n", "a\n".encode("utf-16")])
def test_a_short_line_of_a_pipe_does_not_wait_for_the_next(data: bytes) -> None:
    """A mark is recognised as soon as there is nothing else that it could be."""
    decoder, lines = Decoder(), LineSplitter()
    assert [raw for _, raw in lines.feed(decoder.feed(data))] in ([b"a"], [b""])
