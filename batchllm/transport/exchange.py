"""One request and its reply: read piece by piece, checked, and closed on every way out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import anyio
from attrs import frozen

from batchllm.core import MalformedResponseError, TransportError
from batchllm.transport.decoding import GzipDecoder, unpacked_or_raw
from batchllm.transport.failures import raise_failure
from batchllm.transport.redact import Redactor

__all__ = ["CLOSE_SECONDS", "HttpReply", "HttpStream", "Wire"]

CLOSE_SECONDS: Final = 5.0
_MOST_PIECES_LEFT: Final = 1_000
_REFUSED: Final = 400


@frozen
class HttpReply:
    """A whole reply.

    Attributes:
        headers: By lower-case name; a repeated header's values are joined with ``", "``.
        body: Unpacked, where it came compressed.
        elapsed: Seconds from the request to the last byte.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed: float = 0.0


@frozen
class Wire:
    """What an exchange has to know of its client.

    Attributes:
        host: Named in messages.
        library: httpx, or a library of its face, whose exceptions are mapped.
        max_body: The most bytes that a reply may have, unpacked.
    """

    host: str
    library: Any
    redact: Redactor
    max_body: int

    def fail(self, error: Exception) -> NoReturn:
        """Raise what callers are told of *error*."""
        raise_failure(error, self.library, self.host, self.redact)


class HttpStream:
    """A request on its way and its reply: an async context manager that yields itself.

    Inside the block it is an async iterable of the body's bytes. Leaving the block before the
    end discards the connection.

    Attributes:
        status: The HTTP status, inside the block.
        headers: By lower-case name.
    """

    status: int
    headers: Mapping[str, str]

    def __init__(self, wire: Wire, send: Callable[[], Awaitable[Any]]) -> None:
        self._wire = wire
        self._send = send
        self._response: Any = None
        self._pieces: Any = None
        self._received = 0
        self._ended = False
        self._gzip: GzipDecoder | None = None
        self._packed = False

    async def __aenter__(self) -> Self:
        try:
            response = self._response = await self._send()
        except Exception as error:
            self._wire.fail(error)
        self.status = response.status_code
        self.headers = _join(response.headers)
        self._pieces = response.stream.__aiter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            try:
                if isinstance(self._pieces, AsyncGenerator):
                    await self._unwind(self._pieces)
                await self._response.aclose()
            except Exception as failure:
                if error is None:
                    self._wire.fail(failure)

    async def _unwind(self, pieces: AsyncGenerator[bytes, None]) -> None:
        """End a generator that was left half way, and those that it reads from in turn.

        Closing one leaves the inner ones to the garbage collector, about which Trio warns; a
        cancellation reaches the innermost and ends them all.
        """
        if not self._ended:
            with anyio.CancelScope() as scope:
                scope.cancel("the reply was left before its end")
                with suppress(Exception):
                    for _ in range(_MOST_PIECES_LEFT):
                        if await anext(pieces, None) is None:
                            break
        await pieces.aclose()

    async def read(self) -> bytes:
        """Return the whole body; that of a refusal as it came if it is cut or cannot be unpacked.

        Raises:
            TransportError: No complete body arrived.
            MalformedResponseError: It is too large or wrongly compressed.
        """
        if self.status >= _REFUSED:
            return await self._read_refusal()
        pieces = [piece async for piece in self]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _read_refusal(self) -> bytes:
        # The status and the headers have said what happened: a 401 with a body that nobody can
        # read is a 401, not a transport error that is worth another attempt.
        self._packed = True
        pieces: list[bytes] = []
        with suppress(TransportError, MalformedResponseError):
            async for piece in self:
                pieces.append(piece)  # noqa: PERF401 - what came before an error counts
        return unpacked_or_raw(b"".join(pieces), self._encoding, self._wire.max_body)

    @property
    def _encoding(self) -> str:
        return self.headers.get("content-encoding", "identity").strip().lower()

    def __aiter__(self) -> HttpStream:
        encoding = self._encoding
        if self._packed:
            return self
        if encoding in ("gzip", "x-gzip"):
            self._gzip = GzipDecoder(self._wire.max_body)
        elif encoding not in ("identity", ""):
            msg = (
                f"{self._wire.host} sent a body with Content-Encoding {encoding!r}, which was "
                "not asked for"
            )
            raise MalformedResponseError(msg, status=self.status)
        return self

    async def __anext__(self) -> bytes:
        while True:
            try:
                piece = await self._pieces.__anext__()
            except StopAsyncIteration:
                self._ended = True
                self._check_whole()
                raise
            except Exception as error:
                self._wire.fail(error)
            self._count(len(piece))
            if self._gzip is not None:
                piece = self._gzip.feed(piece)
            if piece:
                return bytes(piece)

    def _count(self, size: int) -> None:
        self._received += size
        if self._received > self._wire.max_body:
            msg = f"the reply of {self._wire.host} is larger than {self._wire.max_body:,} bytes"
            raise MalformedResponseError(msg, status=self.status)

    def _check_whole(self) -> None:
        declared = self.headers.get("content-length", "")
        whole = not declared.isdecimal() or int(declared) == self._received
        if whole and (self._gzip is None or self._gzip.complete):
            return
        told = f" of {declared}" if not whole else ""
        msg = (
            f"the reply of {self._wire.host} is cut off after {self._received:,}{told} bytes; "
            "the provider may have done, and billed, the work"
        )
        raise TransportError(msg)


def _join(headers: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers.multi_items():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found
