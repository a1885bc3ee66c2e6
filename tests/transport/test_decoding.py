"""Packed bodies in pieces, and bodies that only claim to be packed."""

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import MalformedResponseError
from batchllm.transport.decoding import GzipDecoder, decoder_of


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


def raw(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def plain(body: bytes) -> bytes:
    return body


def twice(body: bytes) -> bytes:
    return gzip.compress(gzip.compress(body))


TEXTS = ['{"a": "ü"}', "[1]", "\n\n {}", "data: {}\n\n", ": hello\n\n", "<html>", "\ufeff{}"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP; q=1", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw),
        ("gzip", plain),
        ("deflate", plain),
        ("br", plain),
        ("zstd", plain),
        ("gzip, gzip", twice),
        ("gzip, gzip", gzip.compress),
        ("gzip, gzip", plain),
        ("gzip, br", plain),
        ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
        ("identity, gzip", gzip.compress),
    ],
)
def test_every_cut_of_a_body_under_an_odd_header_is_read(
    text: str, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """Packed twice, said twice, or not packed at all; also byte by byte."""
    body = text.encode()
    packed = pack(body)
    cuts = [packed[:at] for at in range(len(packed))]
    for pieces in [[one, packed[len(one) :]] for one in cuts] + [[bytes([b]) for b in packed]]:
        decoder = decoder_of(encoding, 1_000)
        assert decoder is not None
        assert b"".join(map(decoder.feed, pieces)) == body
        assert decoder.complete


@pytest.mark.parametrize("body", [b"\x1b\x03\x00\xf8", b"\x28\xb5\x2f\xfd", b"?", b"{\x01\x02"])
@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br"])
def test_what_is_packed_in_a_way_that_we_cannot_undo_is_named(encoding: str, body: bytes) -> None:
    """Its first bytes are no text."""
    decoder = decoder_of(encoding, 1_000)
    assert decoder is not None
    with pytest.raises(MalformedResponseError, match=r"(br|zstd)', which was not asked for"):
        decoder.feed(body)


@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate, gzip", "br"])
def test_an_empty_body_is_whole_under_any_header(encoding: str) -> None:
    """So is one of blanks."""
    for body in (b"", b"\n\n"):
        decoder = decoder_of(encoding, 1_000)
        assert decoder is not None
        decoder.feed(body)
        assert decoder.complete


def test_a_cut_within_either_layer_is_seen() -> None:
    """The inner one may be cut although the outer one is whole."""
    for packed in (twice(b"x" * 50)[:-3], gzip.compress(gzip.compress(b"x" * 50)[:-3])):
        decoder = decoder_of("gzip, gzip", 1_000)
        assert decoder is not None
        decoder.feed(packed)
        assert not decoder.complete


def test_too_many_layers_are_refused() -> None:
    """A header of a thousand words costs nothing."""
    with pytest.raises(MalformedResponseError, match="1,000 times over"):
        decoder_of("gzip," * 1_000, 1_000)
    assert decoder_of("utf-8," * 1_000, 1_000) is None
