"""The decoder of server-sent events, whatever the pieces are that they arrive in."""

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchllm.core import MalformedResponseError
from batchllm.transport import SseDecoder, SseEvent

LINES = st.lists(
    st.sampled_from(
        ["", "", "data: {}", "data:ä€😀", "data", ":note", "event: ping", "id: 7", "retry: 5", "x"]
    )
    | st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8),
    max_size=12,
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def decode(*pieces: bytes) -> list[SseEvent]:
    decoder = SseDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def reference(text: str) -> list[SseEvent]:
    """Decode a whole text in the plainest way, for comparison."""
    events: list[SseEvent] = []
    data: list[str] = []
    kind = ""
    for line in re.split("\r\n|\n|\r", text.removeprefix("\ufeff"))[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if data:
                events.append(SseEvent("\n".join(data), kind or "message"))
            data, kind = [], ""
        elif name == "data":
            data.append(value)
        elif name == "event":
            kind = value
    return events


@given(LINES, st.lists(ENDS, min_size=12, max_size=12), st.booleans(), st.data())
@example(["data: a", ""], ["\r\n"] * 12, True, None)
def test_any_cut_gives_the_same_events(
    lines: list[str], ends: list[str], mark: bool, data: st.DataObject | None
) -> None:
    """Events are those of the plain decoder, however the bytes are cut."""
    text = "\ufeff" * mark + "".join(line + end for line, end in zip(lines, ends, strict=False))
    raw = text.encode()
    cuts = [1] if data is None else data.draw(st.lists(st.integers(0, len(raw)), max_size=6))
    edges = [0, *sorted(cuts), len(raw)]
    pieces = [raw[a:b] for a, b in itertools.pairwise(edges)]
    expected = reference(text)
    assert decode(raw) == expected
    assert decode(*pieces) == expected
    assert decode(*(raw[i : i + 1] for i in range(len(raw)))) == expected


def test_one_line_end_in_two_pieces() -> None:
    """CR and LF in different pieces end one line, not two."""
    assert decode(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [SseEvent("a\nb")]


def test_a_lone_cr_ends_an_event_at_once() -> None:
    """An event that ends with CR is given without waiting for the next byte."""
    assert decode(b"data: a\r\r") == [SseEvent("a")]


def test_a_cut_event_is_left_out() -> None:
    """An event without its blank line is not given."""
    assert decode(b"data: a\n\ndata: b\n") == [SseEvent("a")]


def test_broken_utf8_is_replaced() -> None:
    """Bytes that are no UTF-8 do not stop the stream."""
    assert decode(b"data: \xff\n\n") == [SseEvent("\ufffd")]


def test_event_names_do_not_carry_over() -> None:
    """The name of one event is not the next one's."""
    events = decode(b"event: error\ndata: 1\n\ndata: 2\n\n")
    assert events == [SseEvent("1", "error"), SseEvent("2", "message")]


@pytest.mark.parametrize("piece", [b"x" * 64, b"data: 1\n" * 8, b":" * 64])
def test_an_endless_event_is_refused(piece: bytes) -> None:
    """Neither one long line nor many lines without an end fill the memory."""
    decoder = SseDecoder(max_event_bytes=100)
    decoder.feed(piece)
    with pytest.raises(MalformedResponseError, match="larger than 100 bytes"):
        decoder.feed(piece)


def test_the_size_starts_anew_with_each_event() -> None:
    """A long stream of small events passes."""
    decoder = SseDecoder(max_event_bytes=10)
    assert sum(len(decoder.feed(b"data: 1\n\n")) for _ in range(100)) == 100
