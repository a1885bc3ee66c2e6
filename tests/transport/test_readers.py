"""All readers of replies give the same answers, and the plain one those of h11."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchllm.transport.exchange_errors import ClosedByServerError, GarbageError
from batchllm.transport.h11_reader import H11Reader
from batchllm.transport.httptools_reader import HttptoolsReader, is_installed
from batchllm.transport.parsing import MAX_HEAD, ReplyReader
from batchllm.transport.plain_reader import PlainReader

READERS: list[type[Any]] = [H11Reader, PlainReader, *([HttptoolsReader] if is_installed() else [])]

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
        b"HTTP/1.0 200 OK",
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


def read(reader: ReplyReader, data: bytes, size: int) -> dict[str, Any]:
    """Feed *data* in pieces until the reply is whole; at its end the server closes."""
    reader.begin("POST")
    body, whole = b"", False
    try:
        for at in range(0, len(data), size):
            whole = reader.feed(data[at : at + size])
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
def test_the_plain_reader_reads_as_h11_does(data: bytes, size: int) -> None:
    """Status, headers, body, re-use and failures are the same for any reply, cut anywhere."""
    assert read(PlainReader(), data, size) == read(H11Reader(), data, size)


@pytest.mark.skipif(not is_installed(), reason="httptools is an extra")
@given(replies(), st.integers(1, 200))
def test_httptools_never_reads_another_body(data: bytes, size: int) -> None:
    """Where h11 reads a reply, httptools reads the same one, and keeps no connection for longer."""
    strict, other = read(H11Reader(), data, size), read(HttptoolsReader(), data, size)
    if "failed" not in strict and "failed" not in other:
        assert (other["status"], other["body"]) == (strict["status"], strict["body"])
        assert other["headers"] == strict["headers"]
        assert other["reusable"] <= strict["reusable"]


@given(st.binary(max_size=300), st.integers(1, 50))
@pytest.mark.parametrize("kind", READERS)
def test_any_bytes_are_read_or_refused(kind: type[Any], data: bytes, size: int) -> None:
    """Nothing but the two errors comes out, whatever goes in."""
    read(kind(), data, size)
    read(kind(), b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + data, size)


@pytest.mark.parametrize("kind", READERS)
def test_a_reader_serves_one_reply_after_the_other(kind: type[Any]) -> None:
    """Nothing of one reply shows in the next."""
    reader = kind()
    for number in range(3):
        body = b"%d" % number
        data = b"HTTP/1.1 20%d OK\r\ncontent-length: 1\r\n\r\n" % number + body
        ended = read(reader, data, 1_000)
        assert (ended["status"], ended["body"], ended["reusable"]) == (200 + number, body, True)


@pytest.mark.parametrize("kind", READERS)
def test_a_head_that_does_not_end_is_refused(kind: type[Any]) -> None:
    """The limit holds for one long header, for many, and for interim replies."""
    for flood in (b"x: " + b"a" * 99, b"x: 1\r\n", b"\r\nHTTP/1.1 100 Continue\r\n"):
        reader = kind()
        reader.begin("POST")
        reader.feed(b"HTTP/1.1 100 Continue\r\n")

        def go_on(reader: ReplyReader = reader, flood: bytes = flood) -> None:
            for _ in range(2 * MAX_HEAD // len(flood)):
                reader.feed(flood)

        with pytest.raises(GarbageError):
            go_on()


@pytest.mark.parametrize("kind", READERS)
def test_a_reply_to_head_has_no_body(kind: type[Any]) -> None:
    """Its length is that of a body which does not come."""
    reader = kind()
    reader.begin("HEAD")
    assert reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    assert (reader.status, reader.pieces) == (200, [])
