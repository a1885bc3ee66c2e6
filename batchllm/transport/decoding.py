"""Compressed bodies: bytes in, bytes out, no more of them than allowed."""

from __future__ import annotations

import zlib
from typing import Final

from batchllm.core import MalformedResponseError

__all__ = ["GzipDecoder", "unpacked_or_raw"]

_GZIP: Final = 16 + zlib.MAX_WBITS


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
            try:
                out = self._member.decompress(piece, self._left + 1)
            except zlib.error as error:
                msg = f"the body says it is gzip and is not ({error})"
                raise MalformedResponseError(msg, status=200) from error
            self._left -= len(out)
            if self._left < 0:
                msg = f"the body unpacks to more than {self._max_bytes:,} bytes"
                raise MalformedResponseError(msg, status=200)
            unpacked.append(out)
            piece = self._member.unused_data
        return b"".join(unpacked)

    @property
    def complete(self) -> bool:
        """Whether the bytes so far are whole; an empty body is."""
        return self._member.eof or not self._begun


def unpacked_or_raw(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return *body* without its *encoding*, or as it is if that is not what it has.

    Args:
        encoding: The value of Content-Encoding; all but gzip are left as they are.
        max_bytes: The most that it may unpack to.
    """
    if encoding not in ("gzip", "x-gzip"):
        return body
    try:
        return GzipDecoder(max_bytes).feed(body)
    except MalformedResponseError:
        return body
