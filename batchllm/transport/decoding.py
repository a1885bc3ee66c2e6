"""Compressed bodies: bytes in, bytes out, no more of them than allowed.

A paid answer is not thrown away because of an odd header (``Content-Encoding: utf-8``, gzip over
plain JSON, or gzip twice where it was packed once): what is not compressed passes as it is.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Sequence
from typing import Final, Protocol

from batchllm.core import MalformedResponseError

__all__ = [
    "Decoder",
    "DeflateDecoder",
    "GzipDecoder",
    "Layers",
    "NotAskedFor",
    "Plain",
    "Sniffing",
    "decoder_of",
    "is_foreign",
    "readable",
]

_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIP_MAGIC: Final = b"\x1f\x8b"
_RAW: Final = -zlib.MAX_WBITS
_KNOWN: Final = frozenset({"gzip", "x-gzip", "deflate"})
_COMPRESSED: Final = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})
"""Encodings that we cannot undo, and never ask for."""
_MOST_LAYERS: Final = 4
"""Two have been seen, from a gateway that packs what its server had packed."""
_BLANKS: Final = b"\xef\xbb\xbf \t\r\n"
_BEGINNINGS: Final = ("{", "[", '"', "<", ":", "data:", "event:", "id:", "retry:")
"""First characters of JSON, of a page and of events."""


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
        encoding: Such as ``"gzip"``; of several the last is undone first. Words that are no
            encoding, such as ``"utf-8"``, count as none.
        max_bytes: The most that a body may unpack to.

    Raises:
        MalformedResponseError: There are too many of them.
    """
    words = (word.partition(";")[0].strip().lower() for word in encoding.split(","))
    names = [name for name in words if name in _KNOWN or name in _COMPRESSED]
    if len(names) > _MOST_LAYERS:
        msg = f"the body came packed {len(names):,} times over, of which {_MOST_LAYERS} are undone"
        raise MalformedResponseError(msg, status=200)
    layers: list[Decoder] = [
        Sniffing(name, max_bytes) if name in _KNOWN else NotAskedFor(name)
        for name in reversed(names)
    ]
    return Layers(layers) if len(layers) > 1 else layers[0] if layers else None


def is_foreign(encoding: str) -> bool:
    """Return whether *encoding* names one that we cannot undo."""
    return not _COMPRESSED.isdisjoint(name.strip().lower() for name in encoding.split(","))


def readable(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a refusal's *body* unpacked, or as it came if it cannot be unpacked whole."""
    try:
        decoder = decoder_of(encoding, max_bytes)
        unpacked = body if decoder is None else decoder.feed(body)
    except MalformedResponseError:
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


class NotAskedFor:
    """Passes a body that only claims to be packed in a way that we cannot undo.

    Args:
        encoding: Such as ``"br"``.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._is_plain = False
        self._start = b""

    def feed(self, piece: bytes) -> bytes:
        """Return *piece*, as soon as enough has come to see that it is plain.

        Raises:
            MalformedResponseError: The body is packed indeed.
        """
        if self._is_plain:
            return piece
        self._start += piece
        said = self._start.lstrip(_BLANKS)
        if not said or said in (b"\xff", b"\xfe"):  # nothing yet, or half a mark of UTF-16
            return b""
        if not _is_text(self._start):
            msg = f"the body came with Content-Encoding {self._encoding!r}, which was not asked for"
            raise MalformedResponseError(msg, status=200)
        self._is_plain = True
        return self._start

    @property
    def complete(self) -> bool:
        """Return whether the bytes so far are whole."""
        return self._is_plain or not self._start.strip(_BLANKS)


class Layers:
    """Undoes several encodings, one after the other.

    Args:
        layers: In the order in which they are undone.
    """

    def __init__(self, layers: Sequence[Decoder]) -> None:
        self._layers = layers

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes and return what they unpack to.

        Raises:
            MalformedResponseError: They are damaged, or unpack to more than allowed.
        """
        for layer in self._layers:
            piece = layer.feed(piece)
        return piece

    @property
    def complete(self) -> bool:
        """Return whether the bytes so far are whole."""
        return all(layer.complete for layer in self._layers)


class Sniffing:
    """Looks at the first bytes: a body that only claims to be compressed passes as it is.

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
        # Blanks, and a byte order mark, say nothing yet: a deflate may begin with the same bytes.
        if len(self._start.lstrip(_BLANKS)) < 2:
            return b""
        start, self._start = self._start, b""
        inner = self._inner = self._choose(start)
        return inner.feed(start)

    @property
    def complete(self) -> bool:
        """Return whether the bytes so far are whole."""
        unread = self._start.strip(_BLANKS)
        return not unread and (self._inner is None or self._inner.complete)

    def _choose(self, start: bytes) -> Decoder:
        if self._encoding != "deflate":
            return GzipDecoder(self._max_bytes) if start.startswith(_GZIP_MAGIC) else Plain()
        if _is_text(start):  # before a deflate without its frame is tried: any bytes may begin one
            return Plain()
        if start[0] & 15 == 8 and int.from_bytes(start[:2]) % 31 == 0:  # RFC 1950, section 2.2
            return DeflateDecoder(self._max_bytes, framed=True)
        try:
            zlib.decompressobj(_RAW).decompress(start, 1024)
        except zlib.error:
            return Plain()
        return DeflateDecoder(self._max_bytes, framed=False)


def _is_text(start: bytes) -> bool:
    """Return whether a body that begins with *start* can be JSON, a page or events."""
    said = start.lstrip(_BLANKS)
    if said.startswith((b"\xff\xfe", b"\xfe\xff")) or (said[1:2] == b"\0" and said[0] in b'{["'):
        return True  # UTF-16 or UTF-32
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(said)  # its last sign may be cut
    except UnicodeDecodeError:
        return False
    if said and not text:
        return False  # half of a sign that nothing of ours begins with
    begins = any(text.startswith(one) or one.startswith(text) for one in _BEGINNINGS)
    return begins and not any(ord(sign) < 32 and sign not in "\t\r\n" for sign in text)


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
