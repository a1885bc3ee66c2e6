"""JSON is read as Python's json reads it, whatever msgspec thinks of it."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.policy import (
    ErrorBody,
    JsonError,
    decode_text,
    is_replaced,
    mend,
    mended_text,
    python_json,
    read_as,
    read_json,
)

HALVES = st.sampled_from(["\ud83d", "\ude00", "\udc00", "\ud800"])
texts = st.lists(st.text(max_size=5) | HALVES, max_size=4).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)  # NaN is unequal to itself


@given(values, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"]))
def test_what_json_reads_is_read_in_any_encoding(value: Any, encoding: str) -> None:
    """Every value that ``json.dumps`` can write comes back, with its halves mended."""
    text = json.dumps(value)
    expected, _ = mend(json.loads(text))
    assert same(read_json(text), expected)
    assert same(read_json(text.encode(encoding)), expected)
    assert same(read_json(text, keep_halves=True), json.loads(text))


@given(st.text() | st.binary() | st.text('{}[]",:tfn0eE-\\u d83').map(str.encode))
def test_decoding_is_total(data: bytes | str) -> None:
    """Anything is a value or a ``JsonError``, and whatever ``json.loads`` takes is a value."""
    try:
        read_json(data)
    except JsonError:
        with pytest.raises((ValueError, RecursionError)):
            json.loads(data)


@given(values)
def test_a_mended_value_has_no_halves_and_is_mended_once(value: Any) -> None:
    """Every text of it can be encoded, and what was whole is the same object."""
    mended, changed = mend(json.loads(json.dumps(value)))
    json.dumps(mended, ensure_ascii=False).encode()
    assert mend(mended)[1] == []
    assert bool(changed) == any(map(is_broken, strings_of(json.loads(json.dumps(value)))))


def is_broken(text: str) -> bool:
    return is_replaced(text, mended_text(text))


def strings_of(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [*value, *(text for part in value.values() for text in strings_of(part))]
    return [t for part in value for t in strings_of(part)] if isinstance(value, list) else []


def test_halves_side_by_side_are_one_character() -> None:
    """Halves that were split over two texts are whole once joined; others are U+FFFD."""
    assert mended_text("a\ud83d" + "\ude00b") == "a\U0001f600b"
    assert mended_text("\ude00\ud83d") == "\ufffd\ufffd"
    whole = "h\u00e9"
    assert mended_text(whole) is whole


def test_what_was_mended_is_named_by_its_path() -> None:
    """Keys, too; at the root the path is empty."""
    value = {"lines": [{"a": "\ud83d"}, "ok"], "\ud83d": 1}
    assert mend(value) == (
        {"lines": [{"a": "\ufffd"}, "ok"], "\ufffd": 1},
        ["\ufffd", "lines[0].a"],
    )
    assert mend("\ud83d") == ("\ufffd", [""])


class Struct(msgspec.Struct):
    text: str
    number: float = 0.0


def test_a_type_is_read_by_the_same_rules_on_both_ways() -> None:
    """The conversion is as strict as the decoder, and says what does not fit."""
    strict, lax = msgspec.json.Decoder(Struct), msgspec.json.Decoder(Struct, strict=False)
    assert read_as(b'{"text": "\\ud83d", "number": NaN}', strict).text == "\ufffd"
    assert math.isnan(read_as(b'{"text": "a", "number": NaN}', strict).number)
    assert read_as(b'{"text": "\\ud83d", "number": "1.5"}', lax).number == 1.5
    with pytest.raises(JsonError, match="Expected `float`"):
        read_as(b'{"text": "\\ud83d", "number": "1.5"}', strict)
    with pytest.raises(JsonError, match="Expected `str`"):
        read_as(b'{"text": 1}', strict)


# Python 3.13 reads some thousand levels, 3.11 one thousand.
_DEEP = ["[" * 100_000, "[" * 100_000 + "1" + "]" * 100_000, '{"a":' * 99_999]


@pytest.mark.parametrize("text", _DEEP, ids=["open", "whole", "objects"])
def test_depth_is_no_recursion_error(text: str) -> None:
    """Levels that neither decoder can take are a ``JsonError``."""
    with pytest.raises(JsonError):
        read_json(text)
    with pytest.raises(JsonError):
        python_json(text)


def test_bytes_of_no_encoding_are_replaced() -> None:
    """A body is not thrown away for one byte."""
    assert decode_text(b'{"a": "\xff"}') == '{"a": "\ufffd"}'
    assert read_json(b'{"a": "\xff"}') == {"a": "\ufffd"}
    assert read_json(b'"\xed\xa0\xbd"') == "\ufffd"
    with pytest.raises(JsonError, match="malformed"):
        read_json(b"{'a': 1}")


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "no \\ud83d", "code": "c"}, "x": NaN}',
        {"error": {"message": "no \ud83d", "code": "c"}},
        '{"error": {"message": "no \ufffd", "code": "c"}}'.encode("utf-16"),
    ],
)
def test_error_bodies_are_read_too(body: object) -> None:
    """The message of an error can always be encoded."""
    read = ErrorBody.read(body)
    assert (read.message, read.code) == ("no \ufffd", "c")
    assert ErrorBody.read("no \ud83d").message == "no \ufffd"
