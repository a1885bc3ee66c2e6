"""All readers of replies give the same answers, and the plain one those of h11."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchllm.transport.exchange_errors import ClosedByServerError, GarbageError
from batchllm.transport.h11_reader import H11Reader
from batchllm.transport.httptools_reader import HttptoolsReader, is_installed
from batchllm.transport.parsing import MAX_HEAD, ReplyReader
from batchllm.transport.plain_reader import HeaderLines, PlainReader

Maker = Callable[[], Any]
PLAIN: Maker = partial(PlainReader, H11Reader)
WITH_HTTPTOOLS: Maker = partial(PlainReader, HttptoolsReader)
OF_HTTPTOOLS: dict[str, Maker] = {"httptools": WITH_HTTPTOOLS, "httptools alone": HttptoolsReader}
READERS: dict[str, Maker] = {
    "h11": H11Reader,
    "plain": PLAIN,
    **(OF_HTTPTOOLS if is_installed() else {}),
}
each_reader = pytest.mark.parametrize("make", READERS.values(), ids=READERS)

TOKENS = st.sampled_from([b"x-a", b"X-B", b"date", b"x_c", b"keep-alive"])
VALUES = st.sampled_from([b"1", b" two words ", b"", b"\xe9\xff", b"a;b=c", b"\t tab\t"])
FRAMES = st.sampled_from(
    [
        b"content-length: %d",
        b"Content-Length:%d",
        b"transfer-encoding: chunked",
        b"transfer-encoding: Chunked",
        b"content-length: 3\r\ntransfer-encoding: chunked",
        b"content-length: %d\r\ncontent-length: %d",
        b"content-length: -1",
        b"content-length: 1x",
        b"transfer-encoding: gzip, chunked",
        b"connection: close\r\ncontent-length: %d",
        b"connection: keep-alive\r\ncontent-length: %d",
        b"connection: Keep-Alive, x\r\ncontent-length: %d",
        b"connection: Upgrade, Close \r\ncontent-length: %d",
        b"x-none: 1",
    ]
)
STARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.1 429 Too Many Requests",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK",
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 199\r\nx:1\r\n\r\nHTTP/1.1 200 OK",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nHTTP/1.1 200 OK",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.0 200 OK\r\nx-kept: 1",
        b"HTTP/2 200",
        b"SSH-2.0-x",
    ]
)


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    """Replies of every sort, some of them wrong."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4))
    body = b"".join(chunks)
    frame = draw(FRAMES)
    frame = frame.replace(b"%d", b"%d" % len(body))
    fields = [frame, *(name + b":" + draw(VALUES) for name in draw(st.lists(TOKENS, max_size=3)))]
    framed = body
    if b"chunked" in frame.lower():
        extension = draw(st.sampled_from([b"", b";a=b", b" ; x"]))
        parts = [b"%X%b\r\n%b\r\n" % (len(one), extension, one) for one in chunks]
        trailer = draw(st.sampled_from([b"", b"x-sum: 1\r\n", b"a:1\r\nb:2\r\n"]))
        framed = b"".join(parts) + b"0\r\n" + trailer + b"\r\n"
    surplus = draw(st.sampled_from([b"", b"", b"", b"H", b"HTTP/1.1 200 OK\r\n\r\n"]))
    whole = draw(STARTS) + b"\r\n" + b"\r\n".join(fields) + b"\r\n\r\n" + framed + surplus
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole


def in_pieces(data: bytes, size: int) -> list[bytes]:
    """*data* in pieces of *size* bytes."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def read(reader: ReplyReader, pieces: Iterable[bytes], method: str = "POST") -> dict[str, Any]:
    """Feed *pieces* until the reply is whole; at their end the server closes."""
    reader.begin(method)
    body, whole = b"", False
    try:
        for piece in pieces:
            whole = reader.feed(piece)
            body += b"".join(reader.pieces)
            reader.pieces = []
            if whole:
                break
        if not whole:
            reader.feed_eof()
            body += b"".join(reader.pieces)
            assert not reader.reusable
    except (GarbageError, ClosedByServerError) as error:
        return {"failed": type(error)}
    return {
        "status": reader.status,
        # h11 gives the name of the one transfer encoding in lower case.
        "headers": [(name, value.replace("Chunked", "chunked")) for name, value in reader.headers],
        "body": body,
        "reusable": reader.reusable,
    }


@given(replies(), st.integers(1, 200))
@example(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 1)
@example(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200)
@example(b"HTTP/1.1 103 \r\nlink: </aaaa>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 5)
def test_the_plain_reader_reads_as_h11_does(data: bytes, size: int) -> None:
    """Status, headers, body, re-use and failures are the same for any reply, cut anywhere."""
    pieces = in_pieces(data, size)
    for method in ("POST", "HEAD"):
        assert read(PLAIN(), pieces, method) == read(H11Reader(), pieces, method)


@pytest.mark.skipif(not is_installed(), reason="httptools is an extra")
@pytest.mark.parametrize("make", [HttptoolsReader, WITH_HTTPTOOLS])
@given(replies(), st.integers(1, 200))
@example(b"HTTP/1.1 204 No Content\r\ncontent-length: 1\r\n\r\n\r", 3)
def test_what_httptools_reads_is_what_h11_reads(make: Maker, data: bytes, size: int) -> None:
    """Status, headers, body, re-use and failures are the same with the extra."""
    pieces = in_pieces(data, size)
    assert read(make(), pieces) == read(H11Reader(), pieces)


@given(st.binary(max_size=300), st.integers(1, 50))
@each_reader
def test_any_bytes_are_read_or_refused(make: Maker, data: bytes, size: int) -> None:
    """Nothing but the two errors comes out, whatever goes in."""
    read(make(), in_pieces(data, size))
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    read(make(), in_pieces(head + data, size))


@each_reader
def test_a_reader_serves_one_reply_after_the_other(make: Maker) -> None:
    """Nothing of one reply shows in the next."""
    reader = make()
    for number in range(3):
        body = b"%d" % number
        data = b"HTTP/1.1 20%d OK\r\ncontent-length: 1\r\n\r\n" % number + body
        ended = read(reader, [data])
        assert (ended["status"], ended["body"], ended["reusable"]) == (200 + number, body, True)


@each_reader
def test_a_head_that_does_not_end_is_refused(make: Maker) -> None:
    """The limit holds for one long header, for many, and for interim replies."""
    for flood in (b"x: " + b"a" * 99, b"x: 1\r\n", b"\r\nHTTP/1.1 100 Continue\r\n"):
        reader = make()
        reader.begin("POST")
        reader.feed(b"HTTP/1.1 100 Continue\r\n")

        def go_on(reader: ReplyReader = reader, flood: bytes = flood) -> None:
            for _ in range(2 * MAX_HEAD // len(flood)):
                reader.feed(flood)

        with pytest.raises(GarbageError):
            go_on()


@each_reader
def test_a_reply_to_head_has_no_body(make: Maker) -> None:
    """Its length is that of a body which does not come."""
    reader = make()
    reader.begin("HEAD")
    assert reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    assert (reader.status, reader.pieces) == (200, [])


BODY = b'{"choices": []}'
HOSTED = b"".join(b"x-limit-%d: %d\r\n" % (n, n * n) for n in range(12)) + (
    b"Set-Cookie: a=b; path=/\r\nSet-Cookie: c=d; path=/\r\nServer: cloudflare\r\n"
)
WHOLE = b"f\r\n" + BODY + b"\r\n0\r\n\r\n"
ODD = b"5;x=y\r\n" + BODY[:5] + b"\r\na \r\n" + BODY[5:] + b"\r\n000\r\nx-sum: 1\r\n\r\n"
SAME_IN_ALL = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n" + BODY,
    b"HTTP/1.1 200 OK\r\n" + HOSTED + b"Content-Length: 15\r\n\r\n" + BODY,
    b"HTTP/1.1 200 OK\r\n" + HOSTED + b"Transfer-Encoding: chunked\r\n\r\n" + WHOLE,
    b"HTTP/1.1 200\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n" + ODD,
    b"HTTP/1.1 429 Slow\r\ncontent-length: 0\r\nretry-after:  2 \r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nx: 1\r\nconnection: Upgrade, Keep-Alive\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + BODY,
    b"HTTP/1.1 200 OK\r\nx: 1\r\n\r\n" + BODY,
    b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n" + BODY[:7],
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + WHOLE[:-2],
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + WHOLE[:7] + b"!" + WHOLE[7:],
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\ng\r\n" + BODY,
    b"HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 2\r\n\r\n{}",
    b"220 mail.example ESMTP\r\n",
]


@pytest.mark.parametrize("data", SAME_IN_ALL)
def test_a_reply_cut_anywhere_is_the_same_reply_in_every_reader(data: bytes) -> None:
    """Cut once at each place, and into single bytes, it has one answer or one error."""
    wanted = read(H11Reader(), [data])
    for name, make in READERS.items():
        reader = make()
        for at in range(1, len(data)):
            assert read(reader, [data[:at], data[at:]]) == wanted, (name, at)
        assert read(reader, in_pieces(data, 1)) == wanted, name


SIZES = st.sampled_from([0, 1, 3, 15, 16, 2**64])
BEHIND = st.sampled_from(
    [b"", b" ", b"\t ", b";a=b", b" ;a", b'; a="b"', b";\x01", b"x", b"\n", b"\r"]
)
LINES = st.one_of(
    st.builds(
        lambda n, zeros, end: b"0" * zeros + b"%x" % n + end, SIZES, st.integers(0, 20), BEHIND
    ),
    st.binary(max_size=6),
)


@given(st.lists(st.tuples(LINES, st.binary(max_size=20)), max_size=4), st.integers(1, 60))
@example([(b"0" * 17 + b"3", b"abc")], 60)
def test_chunks_of_any_size_and_extension_are_read_as_h11_does(
    chunks: list[tuple[bytes, bytes]], size: int
) -> None:
    """Sizes that lie about their data, have many digits or odd extensions: the same answer."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    framed = b"".join(line + b"\r\n" + data + b"\r\n" for line, data in chunks)
    pieces = in_pieces(head + framed + b"0\r\n\r\n", size)
    assert read(PLAIN(), pieces) == read(H11Reader(), pieces)


def test_usual_replies_go_to_no_other_reader() -> None:
    """One length, chunks or no body, with the head in up to three segments, as APIs answer."""

    def other() -> ReplyReader:
        raise AssertionError("this reply is usual")

    reader = PlainReader(other)
    for data in SAME_IN_ALL[:7]:
        third = len(data) // 3
        for pieces in ([data], [data[:third], data[third:-third], data[-third:]]):
            assert "failed" not in read(reader, pieces)


def test_a_head_that_ends_in_bare_line_feeds_is_not_waited_for() -> None:
    """It is whole to h11, and the server sends nothing more before the next request."""
    reader = PLAIN()
    reader.begin("POST")
    assert reader.feed(b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}")
    assert (reader.status, reader.pieces) == (200, [b"{}"])


def test_lines_of_heads_are_kept_within_bounds() -> None:
    """A server that sends other lines in each reply, or long ones, fills no memory."""
    lines = HeaderLines()
    reader = PlainReader(H11Reader, lines)
    for number in range(2_000):
        fields = b"x-id: %d\r\nx-long: %b\r\ncontent-length: 0" % (number, b"a" * 1_000)
        ended = read(reader, [b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n"])
        assert ended["headers"][0] == ("x-id", str(number))
        assert len(lines) <= 256
        assert all(len(line) <= 256 for line in lines)


def test_identifiers_leave_room_for_lines_that_come_again() -> None:
    """Of a name whose lines never come again few are kept, however many replies there are."""
    lines = HeaderLines()
    reader = PlainReader(H11Reader, lines)
    for number in range(300):
        fields = b"x-id: %d\r\ncontent-length: 0" % number
        read(reader, [b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n"])
    fields = b"x-late: the same\r\ncontent-length: 0"
    read(reader, [b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n"])
    assert "x-late: the same" in lines
    assert sum(line.startswith("x-id:") for line in lines) <= 16
