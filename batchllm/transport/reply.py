"""A reply as callers see it: read whole or piece by piece, unpacked, checked and closed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Protocol, Self

from attrs import frozen

from batchllm.core import MalformedResponseError
from batchllm.transport.border import Border
from batchllm.transport.decoding import Decoder, decoder_of, readable
from batchllm.transport.exchanges import REFUSED, ReplyStream
from batchllm.transport.parsing import join_headers

__all__ = ["HttpReply", "HttpStream", "OwnSource", "Source", "unpack"]

_IDENTITY: Final = "identity"


@frozen
class HttpReply:
    """A whole reply.

    Attributes:
        headers: By lower-case name; a repeated header's values are joined with ``", "``.
        body: Unpacked, if it came compressed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Source(Protocol):
    """The source of a streamed reply: our connections, or a transport of another library."""

    async def open(self) -> tuple[int, dict[str, str]]:
        """Send the request and return status and headers of the reply."""
        ...

    async def receive(self) -> bytes:
        """Return the next piece of the body, as it comes; ``b""`` at its end."""
        ...

    async def close(self) -> None:
        """Let go of the connection. May be called without a reply."""
        ...

    def failure(self, error: Exception) -> Exception:
        """Return the error to raise for *error*."""
        ...


class HttpStream:
    """A request on its way and its reply: an async context manager that yields itself.

    Inside the block it is an async iterable of the body's bytes. Leaving the block before the
    end discards the connection. The body of a refusal comes as one piece.

    Attributes:
        status: The HTTP status, inside the block.
        headers: By lower-case name.
    """

    status: int
    headers: Mapping[str, str]

    def __init__(self, border: Border, source: Source) -> None:
        self._border = border
        self._source = source
        self._received = 0
        self._decoder: Decoder | None = None

    async def __aenter__(self) -> Self:
        failure = await self._open()
        if failure is not None:
            raise failure
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failure = await self._close()
        if failure is not None and error is None:
            raise failure

    async def read(self) -> bytes:
        """Return the whole body."""
        pieces = [piece async for piece in self]
        # Once more, since a key may have been cut in two.
        return pieces[0] if len(pieces) == 1 else self._border.clean.body(b"".join(pieces))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._receive()
        if not isinstance(piece, bytes):
            raise piece
        if not piece:
            raise StopAsyncIteration
        return piece

    # These return errors in place of raising them, so that no frame of what lies below, with
    # requests and keys among its locals, hangs on an error.

    async def _open(self) -> Exception | None:
        try:
            self.status, headers = await self._source.open()
            self.headers = self._border.clean.headers(headers)
        except Exception as error:
            return self._source.failure(error)
        encoding = self.headers.get("content-encoding", _IDENTITY)
        if encoding != _IDENTITY and self.status < REFUSED:
            try:
                self._decoder = decoder_of(encoding, self._border.max_body)
            except MalformedResponseError as error:
                await self._close()
                return self._source.failure(error)
        return None

    async def _receive(self) -> bytes | Exception:
        if self.status >= REFUSED:
            return await self._receive_refusal()
        try:
            while True:
                piece = await self._source.receive()
                if not piece:
                    return self._end()
                self._received += len(piece)
                if self._received > self._border.max_body:
                    return self._border.too_large(self.status)
                if self._decoder is not None:
                    piece = self._decoder.feed(piece)
                if piece:
                    return self._border.clean.body(piece)
        except Exception as error:
            return self._source.failure(error)

    async def _receive_refusal(self) -> bytes:
        """Return what comes of the body, as one piece; the status has said all that has to be."""
        pieces: list[bytes] = []
        with suppress(Exception):  # a body that breaks off is no reason to lose the status
            while piece := await self._source.receive():
                self._received += len(piece)
                if self._received > self._border.max_body:
                    break
                pieces.append(piece)
        body = b"".join(pieces)
        encoding = self.headers.get("content-encoding", _IDENTITY)
        if body and encoding != _IDENTITY:
            body = unpack(body, encoding, self.status, self._border)
        return self._border.clean.body(body)

    def _end(self) -> bytes | Exception:
        """Return ``b""`` if the body is whole, else what to raise."""
        declared = self.headers.get("content-length", "")
        if "transfer-encoding" in self.headers or not declared.isdecimal():
            declared = ""  # RFC 9112, section 6.3: chunks count, and not the length beside them
        if declared and int(declared) != self._received:
            return self._border.cut_off(self._received, declared)
        if self._decoder is not None and not self._decoder.complete:
            return self._border.cut_off(self._received)
        return b""

    async def _close(self) -> Exception | None:
        try:
            await self._source.close()
        except Exception as error:
            return self._source.failure(error)
        return None


class OwnSource:
    """A reply over our own connections.

    Args:
        border: Makes the errors.
        send: Sends the request and returns the reply with its head read.
    """

    def __init__(self, border: Border, send: Sender) -> None:
        self._border = border
        self._send = send
        self._stream: ReplyStream | None = None

    async def open(self) -> tuple[int, dict[str, str]]:
        """Send the request and return status and headers of the reply."""
        stream = self._stream = await self._send()
        return stream.status, join_headers(stream.headers)

    async def receive(self) -> bytes:
        """Return the next piece of the body, as it comes; ``b""`` at its end."""
        assert self._stream is not None
        return await self._stream.receive()

    async def close(self) -> None:
        """Give the connection back, or discard it if the reply was not read to its end."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    def failure(self, error: Exception) -> Exception:
        """Return the error to raise for *error*."""
        return self._border.failure(error)


class Sender(Protocol):
    """Sends one request."""

    async def __call__(self) -> ReplyStream:
        """Return the reply with its head read."""
        ...


def unpack(body: bytes, encoding: str, status: int, border: Border) -> bytes:
    """Return a whole *body* without its content encoding.

    The body of a refusal that cannot be unpacked is returned as it came.

    Raises:
        MalformedResponseError: It is damaged, too large, or packed in a way that we cannot undo.
        TransportError: It is cut off.
    """
    if status >= REFUSED:
        return readable(body, encoding, border.max_body)
    decoder = decoder_of(encoding, border.max_body)
    if decoder is None:
        return body
    unpacked = decoder.feed(body)
    if not decoder.complete:
        raise border.cut_off(len(body))
    return unpacked
