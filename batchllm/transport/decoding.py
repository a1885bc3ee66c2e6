"""Compressed bodies: bytes in, bytes out, no more of them than allowed.

A paid answer is not thrown away because of an odd header (``Content-Encoding: utf-8``, or gzip
over plain JSON): what is not compressed passes as it is.
"""

from __future__ import annotations

import zlib
from typing import Final, Protocol

from batchllm.core import MalformedResponseError

__all__ = [
    "Decoder",
    "DeflateDecoder",
    "GzipDecoder",
    "Plain",
    "Sniffing",
    "decoder_of",
    "readable",
]

_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIP_MAGIC: Final = b"\x1f\x8b"
_RAW: Final = -zlib.MAX_WBITS
_COMPRESSED: Final = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})
"""Encodings that we cannot undo, and never ask for."""


class Decoder(Protocol):
    """Undoes a content encoding."""

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes and return what they unpack to.

        Raises:
            MalformedResponseError: They are wrong, or unpack to more than allowed.
        """
        ...

    @property
    def complete(self) -> bool:
        """Return whether the bytes so far are whole."""
        ...


def decoder_of(encoding: str, max_bytes: int) -> Decoder | None:
    """Return what undoes *encoding*, the value of a header; ``None`` if it is not compressed.

    Args:
        encoding: Such as ``"gzip"``. Words that are no encoding, such as ``"utf-8"``, count as
            none.
        max_bytes: The most that a body may unpack to.

    Raises:
        LookupError: It is a compression that was not asked for.
    """
    names = [name.strip().lower() for name in encoding.split(",")]
    found = [name for name in names if name in ("gzip", "x-gzip", "deflate")]
    foreign = next((name for name in names if name in _COMPRESSED), None)
    if foreign is not None or len(found) > 1:
        raise LookupError(foreign or encoding)
    return Sniffing(found[0], max_bytes) if found else None


def readable(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a refusal's *body* unpacked, or as it came if it cannot be unpacked whole."""
    try:
        decoder = decoder_of(encoding, max_bytes)
        unpacked = body if decoder is None else decoder.feed(body)
    except (LookupError, MalformedResponseError):
        return body
    return unpacked if decoder is None or decoder.complete else body


class GzipDecoder:
    """Unpacks a gzip body that arrives in pieces.

    Args:
        max_bytes: The most that it may unpack to.
    """

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes and return what they unpack to.

        Raises:
            MalformedResponseError: They are no gzip, or unpack to more than ``max_bytes``.
        """
        unpacked: list[bytes] = []
        while piece:
            if self._member.eof:  # a body may be several gzip files in a row
                self._member = zlib.decompressobj(_GZIP)
            self._begun = True
            out = _decompress(self._member, piece, self._left, self._max_bytes, "gzip")
            self._left -= len(out)
            unpacked.append(out)
            piece = self._member.unused_data
        return b"".join(unpacked)

    @property
    def complete(self) -> bool:
        """Return whether the bytes so far are whole; an empty body is."""
        return self._member.eof or not self._begun


class DeflateDecoder:
    """Unpacks a deflate body, with zlib's frame round it or, as some servers have it, without.

    Args:
        max_bytes: The most that it may unpack to.
        framed: Whether zlib's frame is there.
    """

    def __init__(self, max_bytes: int, *, framed: bool) -> None:
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._inflate = zlib.decompressobj() if framed else zlib.decompressobj(_RAW)

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes and return what they unpack to.

        Raises:
            MalformedResponseError: They are no deflate, or unpack to more than ``max_bytes``.
        """
        if self._inflate.eof:
            return b""
        out = _decompress(self._inflate, piece, self._left, self._max_bytes, "deflate")
        self._left -= len(out)
        return out

    @property
    def complete(self) -> bool:
        """Return whether the bytes so far are whole."""
        return self._inflate.eof


class Plain:
    """Passes bytes as they are."""

    complete = True

    def feed(self, piece: bytes) -> bytes:
        """Return *piece*."""
        return piece


class Sniffing:
    """Looks at the first two bytes: a body that only claims to be compressed passes as it is.

    Args:
        encoding: ``"gzip"``, ``"x-gzip"`` or ``"deflate"``.
        max_bytes: The most that it may unpack to.
    """

    def __init__(self, encoding: str, max_bytes: int) -> None:
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._inner: Decoder | None = None
        self._start = b""

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes and return what they unpack to.

        Raises:
            MalformedResponseError: They are damaged, or unpack to more than allowed.
        """
        if self._inner is not None:
            return self._inner.feed(piece)
        self._start += piece
        if len(self._start) < 2:
            return b""
        start, self._start = self._start, b""
        inner = self._inner = self._choose(start)
        return inner.feed(start)

    @property
    def complete(self) -> bool:
        """Return whether the bytes so far are whole."""
        return not self._start and (self._inner is None or self._inner.complete)

    def _choose(self, start: bytes) -> Decoder:
        if self._encoding != "deflate":
            return GzipDecoder(self._max_bytes) if start.startswith(_GZIP_MAGIC) else Plain()
        if start[0] & 15 == 8 and int.from_bytes(start[:2]) % 31 == 0:  # RFC 1950, section 2.2
            return DeflateDecoder(self._max_bytes, framed=True)
        try:
            zlib.decompressobj(_RAW).decompress(start, 1024)
        except zlib.error:
            return Plain()
        return DeflateDecoder(self._max_bytes, framed=False)


def _decompress(member: zlib._Decompress, piece: bytes, left: int, most: int, name: str) -> bytes:
    try:
        out = member.decompress(piece, left + 1)
    except zlib.error as error:
        msg = f"the body says it is {name} and is not ({error})"
        raise MalformedResponseError(msg, status=200) from error
    if len(out) > left:
        msg = f"the body unpacks to more than {most:,} bytes"
        raise MalformedResponseError(msg, status=200)
    return out
