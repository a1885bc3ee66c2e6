"""The reader of HTTP/1.1 replies that takes whatever the standard allows: h11."""

from __future__ import annotations

from typing import Final

import h11

from batchllm.transport.exchange_errors import ClosedByServerError, GarbageError
from batchllm.transport.parsing import MAX_HEAD, Headers, join_headers

__all__ = ["H11Reader"]

_START: Final = b"HTTP/"

_WITH_BODY: Final = h11.Request(method="POST", target="/", headers=[("host", "x")])
_WITHOUT_BODY: Final = h11.Request(method="HEAD", target="/", headers=[("host", "x")])
_END: Final = h11.EndOfMessage()


class H11Reader:
    """Reads replies with h11, which is fed a made-up request so that it expects a reply.

    Our own bytes are not made by h11: its serialising and validating of requests costs more than
    the rest of a small exchange.
    """

    __slots__ = (
        "_method",
        "_parser",
        "_seen",
        "headers",
        "pieces",
        "reusable",
        "status",
        "surplus",
    )

    def __init__(self) -> None:
        self._parser: h11.Connection | None = None
        self._method = ""
        self._seen = 0
        self.status = 0
        self.headers: Headers = []
        self.pieces: list[bytes] = []
        self.reusable = False
        self.surplus = False

    @property
    def by_name(self) -> dict[str, str]:
        """The headers by name, with the values of a repeated one joined."""
        return join_headers(self.headers)

    def begin(self, method: str) -> None:
        """Prepare for the reply to a request with *method*."""
        parser = self._parser
        if parser is None or not self.reusable:
            parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
            self._parser = parser
        else:
            parser.start_next_cycle()
        parser.send(_WITHOUT_BODY if method == "HEAD" else _WITH_BODY)
        parser.send(_END)
        self._seen = self.status = 0
        self.headers, self.pieces = [], []
        self.reusable = self.surplus = False

    def feed(self, data: bytes) -> bool:
        """Take what arrived and return whether the reply is whole."""
        assert self._parser is not None
        if not self.status:
            if not self._seen and not _START.startswith(data[:5]):
                # Said at once: h11 would wait for an empty line, which may never come.
                raise GarbageError(f"it begins {data[:20]!r}")
            self._seen += len(data)
            if self._seen - len(data) > MAX_HEAD:
                raise GarbageError(f"the head of the reply is longer than {MAX_HEAD:,} bytes")
        try:
            self._parser.receive_data(data)
            return self._read(self._parser)
        except h11.RemoteProtocolError as error:
            reason = str(error)
        raise GarbageError(reason)

    def feed_eof(self) -> None:
        """Take note that the server closed its side; the reply is whole if this returns."""
        assert self._parser is not None
        try:
            self._parser.receive_data(b"")
            whole = self._read(self._parser)
        except h11.RemoteProtocolError:
            whole = False
        if not whole:
            raise ClosedByServerError("the server closed the connection")

    def _read(self, parser: h11.Connection) -> bool:
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                return False
            if isinstance(event, h11.Data):
                self.pieces.append(bytes(event.data))
            elif isinstance(event, h11.Response):
                self.status = event.status_code
                # As they came: h11's own sequence is walked in Python, at 0.4 µs a header.
                self.headers = [
                    (name.decode("latin-1").lower(), value.decode("latin-1"))
                    for name, value in event.headers.raw_items()
                ]
            elif isinstance(event, h11.EndOfMessage):
                rest, ended = parser.trailing_data
                self.surplus = bool(rest)
                open_still = parser.their_state is h11.DONE and not ended
                self.reusable = open_still and not rest
                return True
            elif isinstance(event, (h11.ConnectionClosed, type(h11.PAUSED))):
                # A 101 pauses the parser; no upgrade was asked for.
                raise GarbageError("the server changed the protocol, which was not asked for")
