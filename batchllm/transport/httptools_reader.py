"""The reader of replies on httptools, an extra that costs a tenth of h11."""

from __future__ import annotations

import importlib
from typing import Any

from batchllm.transport.exchange_errors import ClosedByServerError, GarbageError
from batchllm.transport.h11_fallback import H11Fallback
from batchllm.transport.parsing import MAX_HEAD

httptools: Any
try:
    httptools = importlib.import_module("httptools")
except ImportError:  # pragma: no cover - depends on what is installed
    httptools = None

__all__ = ["HttptoolsReader", "is_installed"]


def is_installed() -> bool:
    """Return whether the package is there."""
    return httptools is not None


class HttptoolsReader(H11Fallback):
    """Reads replies with httptools; what that refuses in a head goes to h11 from its first byte.

    httptools is stricter than servers are, for example where a reply is chunked and names a
    length as well. It knows no end of file and no HEAD, and begins the next message on surplus
    bytes; all three are settled here.
    """

    __slots__ = ("_head", "_interim", "_method", "_name", "_parser", "_whole")

    def __init__(self) -> None:
        super().__init__()
        self._parser: Any = None
        self._method = ""
        self._head: list[bytes] = []
        self._interim = self._whole = False

    def begin(self, method: str) -> None:
        """Prepare for the reply to a request with *method*."""
        self._parser = httptools.HttpResponseParser(self)
        self._h11 = None
        self._method = method
        self._head = []
        self._interim = self._whole = False
        self.status = 0
        self.headers, self.pieces = [], []
        self.reusable = self.surplus = False

    def feed(self, data: bytes) -> bool:
        """Take what arrived and return whether the reply is whole."""
        if self._h11 is not None:
            return self._feed_h11(data)
        if not self.status:
            self._head.append(data)
            if sum(map(len, self._head)) - len(data) > MAX_HEAD:
                raise GarbageError(f"the head of the reply is longer than {MAX_HEAD:,} bytes")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            reason = "the server changed the protocol, which was not asked for"
        except httptools.HttpParserError as error:
            if self._whole:
                self.surplus, self.reusable = True, False
                return True
            reason = str(error)
        else:
            if self.status:
                self._head = []
            return self._whole
        if self._head:
            return self._turn_to_h11()
        raise GarbageError(reason)

    def feed_eof(self) -> None:
        """Take note that the server closed its side; the reply is whole if this returns."""
        if self._h11 is not None:
            self._h11.feed_eof()
            self._take_from_h11()
            return
        # A body that nothing else delimits ends with the connection, and llhttp says no more of
        # it than that the connection cannot be kept alive.
        framed = any(name in ("content-length", "transfer-encoding") for name, _ in self.headers)
        if not self.status or framed or self._whole:
            raise ClosedByServerError("the server closed the connection")
        self._whole = True

    # What httptools calls.

    def on_message_begin(self) -> None:
        """Note a message: the first, the one after an interim reply, or surplus."""
        if self._whole:
            self.surplus, self.reusable = True, False
        else:
            self.headers, self.status = [], 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; those behind the body are left out."""
        if not self._whole and not self.status:
            text = value.decode("latin-1").strip(" \t")
            self.headers.append((name.lower().decode("latin-1"), text))

    def on_headers_complete(self) -> None:
        """Take the status; an interim reply is passed over."""
        if self._whole:
            return
        status = self._parser.get_status_code()
        self._interim = status < 200
        if self._interim:
            return
        self.status = status
        if self._method == "HEAD":
            # There is no way to say that no body follows, so the connection ends here.
            self._whole = True

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if not self._whole:
            self.pieces.append(body)

    def on_message_complete(self) -> None:
        """Note the end of the reply, or of an interim one."""
        if self._interim:
            self._interim = False
            self.headers = []
        elif not self._whole:
            self._whole = True
            self._head = []
            self.reusable = (
                self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
            )

    def _turn_to_h11(self) -> bool:
        seen = b"".join(self._head)
        self.pieces = []
        self._begin_h11(self._method)
        return self._feed_h11(seen)
