"""The way between a reply and its reader: headers, compression, cuts, a line that breaks."""

import gzip
import itertools
import zlib
from collections.abc import AsyncIterator, Callable

import httpx
from attrs import frozen
from hypothesis import settings
from hypothesis import strategies as st

_WIRES = 4
_SEARCHED = settings().max_examples
examples = settings(max_examples=_SEARCHED * _WIRES if _SEARCHED > 100 else 50)
"""Few in the suite; by ``--hypothesis-profile=search`` 2,000 replies of each wire."""

CONTENT_TYPES = [
    "application/json",
    "text/event-stream",
    "text/event-stream; charset=utf-8",
    "Text/Event-Stream",
    "text/plain",
    "application/octet-stream",
    "application/x-ndjson",
    "text/html; charset=latin-1",
    "junk",
    "",
    None,
]


def _same(body: bytes) -> bytes:
    return body


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def _members(body: bytes) -> bytes:
    return gzip.compress(body[:10]) + gzip.compress(body[10:])


ENCODINGS: list[tuple[str | None, Callable[[bytes], bytes]]] = [
    (None, _same),
    ("identity", _same),
    ("gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("x-gzip", gzip.compress),
    ("gzip", _members),
    ("deflate", zlib.compress),
    ("deflate", _raw_deflate),
    ("gzip", _same),
    ("deflate", _same),
    ("utf-8", _same),
    ("none", _same),
    ("", _same),
    ("aws-chunked", _same),
    ("br", _same),
    ("zstd", _same),
    ("gzip, gzip", gzip.compress),
    ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
    ("identity, gzip", gzip.compress),
]


class Pieces(httpx.AsyncByteStream):
    """A body in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


@frozen
class Server:
    """Answers every request with the same bytes, cut into pieces."""

    body: bytes
    headers: list[tuple[str, str]]
    cuts: tuple[int, ...] = ()
    status: int = 200

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        edges = sorted({0, len(self.body), *(cut % (len(self.body) + 1) for cut in self.cuts)})
        pieces = [self.body[one:two] for one, two in itertools.pairwise(edges)]
        return httpx.Response(self.status, headers=self.headers, stream=Pieces(pieces))


@frozen
class Line:
    """The way of a reply to its reader: headers, compression, and cuts into pieces."""

    kind: str | None
    encoding: tuple[str | None, Callable[[bytes], bytes]]
    cuts: tuple[int, ...]
    end: float = 1.0
    """The share of the packed body that arrives."""

    def carry(self, body: bytes, status: int = 200) -> Server:
        name, pack = self.encoding
        named = [("content-type", self.kind), ("content-encoding", name)]
        packed = pack(body)
        arrived = packed[: int(self.end * len(packed))]
        headers = [(one, value) for one, value in named if value is not None]
        return Server(arrived, headers, self.cuts, status)


lines = st.builds(
    Line,
    kind=st.sampled_from(CONTENT_TYPES),
    encoding=st.sampled_from(ENCODINGS),
    cuts=st.lists(st.integers(0, 4_000), max_size=4).map(tuple),
)
broken_lines = st.builds(
    Line,
    kind=st.sampled_from(CONTENT_TYPES),
    encoding=st.sampled_from(ENCODINGS),
    cuts=st.just(()),
    end=st.floats(0, 1, exclude_max=True),
)
