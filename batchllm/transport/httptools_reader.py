"""The reader of replies that end with their connection on httptools, an extra.

It costs a tenth of h11, but refuses more than servers keep to, some of it half way through a body
that cannot be read anew (a space behind a chunk's size), and passes over line ends between
messages, which are surplus bytes. So it gets what the plain reader leaves, and reads of that what
neither comes in chunks nor leaves the connection to another request: replies of HTTP/1.0, and
those without a length. The rest is h11's.
"""

from __future__ import annotations

import importlib
from typing import Any

from batchllm.transport.exchange_errors import ClosedByServerError, GarbageError
from batchllm.transport.handover import Handover, make_h11_reader
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


class HttptoolsReader(Handover):
    """Reads replies, none of which is followed by another; see the module.

    httptools knows no end of file and no HEAD, and begins the next message on surplus bytes; all
    three are settled here.
    """

    __slots__ = ("_framed", "_head", "_is_last", "_parser", "_whole")

    def __init__(self) -> None:
        super().__init__(make_h11_reader)
        self._parser: Any = None
        self._head: list[bytes] = []
        self._framed = self._is_last = self._whole = False

    def begin(self, method: str) -> None:
        """Prepare for the reply to a request with *method*."""
        self._start(method)
        self._parser = httptools.HttpResponseParser(self)
        self._head = []
        self._framed = self._is_last = self._whole = False

    def feed(self, data: bytes) -> bool:
        """Take what arrived and return whether the reply is whole."""
        if self._other is not None:
            return self._feed_other(data)
        if not self.status:
            self._head.append(data)
            if sum(map(len, self._head)) - len(data) > MAX_HEAD:
                raise GarbageError(f"the head of the reply is longer than {MAX_HEAD:,} bytes")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            reason = "the server changed the protocol, which was not asked for"
        except httptools.HttpParserError as error:
            reason = str(error)
        else:
            reason = ""
        if self._head and (reason or (self.status and not self._is_last)):
            seen, self._head = b"".join(self._head), []
            return self._hand_over(seen)
        if self.status:
            self._head = []
        if self._whole:
            self.surplus = self.surplus or bool(reason)
        elif reason:
            raise GarbageError(reason)
        return self._whole

    def feed_eof(self) -> None:
        """Take note that the server closed its side; the reply is whole if this returns."""
        if self._other is not None:
            self._feed_eof_to_other()
        elif not self.status or self._framed or self._whole:
            raise ClosedByServerError("the server closed the connection")

    # What httptools calls.

    def on_message_begin(self) -> None:
        """Note a message: the first, the one after an interim reply, or surplus."""
        if self._whole:
            self.surplus = True
        else:
            self.headers, self.status = [], 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; those behind the body are left out."""
        if not self._whole and not self.status:
            text = value.decode("latin-1").strip(" \t")
            self.headers.append((name.lower().decode("latin-1"), text))

    def on_headers_complete(self) -> None:
        """Take the status; an interim reply is passed over."""
        status = self._parser.get_status_code()
        if self._whole or status < 200:
            return
        self.status = status
        named = {name for name, _ in self.headers}
        self._framed = "content-length" in named
        self._is_last = (
            "transfer-encoding" not in named
            and self._method != "HEAD"
            and not self._parser.should_keep_alive()
        )

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if not self._whole:
            self.pieces.append(body)

    def on_message_complete(self) -> None:
        """Note the end of the reply, or of an interim one."""
        self._whole = bool(self.status)
