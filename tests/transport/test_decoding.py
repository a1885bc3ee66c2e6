"""gzip bodies in pieces."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import MalformedResponseError
from batchllm.transport.decoding import GzipDecoder


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=3), st.integers(1, 50))
def test_pieces_give_the_whole(bodies: list[bytes], size: int) -> None:
    """Any cut of one or several gzip files gives what was packed."""
    packed = b"".join(map(gzip.compress, bodies))
    decoder = GzipDecoder(10_000)
    out = b"".join(decoder.feed(packed[i : i + size]) for i in range(0, len(packed), size))
    assert out == b"".join(bodies)
    assert decoder.complete


@given(st.binary(max_size=50), st.data())
def test_a_cut_body_is_not_complete(body: bytes, data: st.DataObject) -> None:
    """A body that lacks its last bytes is told from a whole one."""
    packed = gzip.compress(body)
    decoder = GzipDecoder(10_000)
    decoder.feed(packed[: data.draw(st.integers(1, len(packed) - 1))])
    assert not decoder.complete


def test_an_empty_body_is_complete() -> None:
    """No bytes at all are a whole body."""
    assert GzipDecoder(10).complete


def test_a_bomb_is_refused() -> None:
    """Little that unpacks to much stops at the limit."""
    with pytest.raises(MalformedResponseError, match="more than 1,000 bytes"):
        GzipDecoder(1_000).feed(gzip.compress(b"0" * 1_001))
    assert GzipDecoder(1_000).feed(gzip.compress(b"0" * 1_000)) == b"0" * 1_000


def test_what_is_no_gzip_is_refused() -> None:
    """Plain bytes under a gzip header are an error that says so."""
    with pytest.raises(MalformedResponseError, match="is gzip and is not"):
        GzipDecoder(100).feed(b"plain text")
