"""Our transport behind the interface of httpx and httpx2, for the clients of SDKs.

Requests and responses are the library's own, and so are the exceptions, by which SDKs decide
what to raise.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, Literal

import anyio

from batchllm.core import ConfigError, MalformedResponseError
from batchllm.transport.address import origin_of
from batchllm.transport.decoding import Decoder, decoder_of, is_foreign, readable
from batchllm.transport.exchange_errors import (
    CannotConnectError,
    ConnectionLostError,
    ExchangeError,
    ReplyTooLargeError,
)
from batchllm.transport.exchanges import MAX_BODY, REFUSED, ReplyStream

__all__ = ["LibraryName", "base_library_of", "client_over", "library_of", "respond"]

LibraryName = Literal["httpx2", "httpx"]
"""The library whose classes a client has: openai, anthropic and google-genai take httpx2's."""

_OF_THE_BODY: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})

OpenStream = Callable[..., Awaitable[ReplyStream]]


def library_of(thing: object) -> Any:
    """Return httpx or httpx2, whichever *thing* or one of its bases belongs to; httpx by default.

    A request has to be of the library that a transport is made for.
    """
    return base_library_of(thing) or importlib.import_module("httpx")


def base_library_of(thing: object) -> Any:
    """Return httpx or httpx2 if *thing* or one of its bases belongs to it; else ``None``.

    Neither is loaded for something else: that takes as long as a tenth of a run.
    """
    for cls in type(thing).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in ("httpx", "httpx2"):
            return importlib.import_module(root)
    return None


def client_over(transport: Any, library: LibraryName, settings: Mapping[str, Any]) -> Any:
    """Return an ``AsyncClient`` of *library* that sends through *transport*.

    Args:
        transport: Stays open when the client is closed.
        library: Whose class it is.
        settings: For the client. Redirects are not followed and the environment is not read,
            unless they say so.

    Raises:
        ConfigError: The library is not installed.
    """
    try:
        package: Any = importlib.import_module(library)
    except ImportError:
        package = None
    if package is None:
        msg = f"{library} is not installed; pip install {library}, or give the other library"
        raise ConfigError(msg)
    usual = {"follow_redirects": False, "trust_env": False, "timeout": None}
    return package.AsyncClient(transport=_lent_class(package)(transport), **{**usual, **settings})


@lru_cache(maxsize=2)
def _lent_class(library: Any) -> type[Any]:
    """Make the class of a transport that a client may use and not close."""

    class Lent(library.AsyncBaseTransport):  # type: ignore[misc]
        def __init__(self, transport: Any) -> None:
            self._transport = transport

        async def handle_async_request(self, request: Any) -> Any:
            return await self._transport.handle_async_request(request)

        async def aclose(self) -> None:
            """Leave it open: its opener closes it."""

    return Lent


async def respond(open_stream: OpenStream, request: Any) -> Any:
    """Send *request* by *open_stream* and return a response of the library that made it."""
    library = library_of(request)
    body = await request.aread()
    timeouts = request.extensions.get("timeout") or {}
    head = _head_of(request, len(body))
    origin = origin_of(request.url)
    # Connecting is bounded by the pool; the wait for the first byte is the time for reading.
    failure: Exception | None = None
    stream: ReplyStream | None = None
    with anyio.move_on_after(timeouts.get("read")):
        try:
            stream = await open_stream(origin, head, body, method=request.method)
        except ExchangeError as error:
            failure = _translated(error, library, request)
    if failure is not None:
        raise failure
    if stream is None:
        msg = f"no reply within {timeouts.get('read'):g} s"
        raise library.ReadTimeout(msg, request=request)
    refused = stream.status >= REFUSED
    decoder = None if refused else _decoder_for(stream)
    content = _stream_class(library)(stream, library, request, timeouts.get("read"), decoder)
    if refused:
        return await _refusal(library, stream, content, request)
    fields = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in stream.headers
        if decoder is None or name not in _OF_THE_BODY
    ]
    return library.Response(stream.status, headers=fields, stream=content, request=request)


def _decoder_for(stream: ReplyStream) -> Decoder | None:
    """Return what unpacks an answer, if it is packed in a way that we know.

    The library would do it too, but it refuses a whole answer whose header is wrong. What we cannot
    undo is left to the library, whose client may have asked for it.
    """
    encoding = _encoding_of(stream)
    return None if is_foreign(encoding) else decoder_of(encoding, MAX_BODY)


def _encoding_of(stream: ReplyStream) -> str:
    return ", ".join(value for name, value in stream.headers if name == "content-encoding")


async def _refusal(library: Any, stream: ReplyStream, content: Any, request: Any) -> Any:
    """Return a refusal read to its end, so that no damage to its body can hide its status."""
    pieces: list[bytes] = []
    try:
        with suppress(library.TransportError):
            async for piece in content:
                pieces.append(piece)  # noqa: PERF401 - what came before an error is kept
    finally:
        await content.aclose()
    body = readable(b"".join(pieces), _encoding_of(stream), MAX_BODY)
    fields = [pair for pair in stream.headers if pair[0] not in _OF_THE_BODY]
    return library.Response(stream.status, headers=fields, content=body, request=request)


def _head_of(request: Any, length: int) -> bytes:
    lines = [request.method.encode("ascii") + b" " + request.url.raw_path + b" HTTP/1.1\r\n"]
    framed = False
    for name, value in request.headers.raw:
        low = name.lower()
        if low == b"transfer-encoding":  # the body was read, so its length is known
            continue
        framed = framed or low == b"content-length"
        lines += (name, b": ", value, b"\r\n")
    if not framed and (length or request.method in ("POST", "PUT", "PATCH")):
        lines.append(b"content-length: %d\r\n" % length)
    lines.append(b"\r\n")
    return b"".join(lines)


def _translated(error: ExchangeError, library: Any, request: Any) -> Exception:
    kind = library.RemoteProtocolError
    if isinstance(error, CannotConnectError):
        kind = library.ConnectError
    elif isinstance(error, ConnectionLostError):
        kind = library.ReadError
    text = str(error)
    if isinstance(error, ReplyTooLargeError):
        text = "the reply is larger than allowed"
    translated: Exception = kind(text, request=request)
    return translated


@lru_cache(maxsize=2)
def _stream_class(library: Any) -> type[Any]:
    """Make the class of bodies, which has to be of the library's own."""

    class Body(library.AsyncByteStream):  # type: ignore[misc]
        def __init__(
            self,
            stream: ReplyStream,
            library: Any,
            request: Any,
            seconds: float | None,
            decoder: Decoder | None,
        ) -> None:
            self._decoder = decoder
            self._stream = stream
            self._library = library
            self._request = request
            self._seconds = seconds

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            while True:
                piece = await self._receive()
                if self._decoder is None:
                    break
                if not piece and not self._decoder.complete:
                    raise self._library.ReadError("the body is cut off", request=self._request)
                try:
                    unpacked = self._decoder.feed(piece)
                except MalformedResponseError as error:
                    raise self._library.DecodingError(str(error), request=self._request) from None
                if unpacked or not piece:
                    piece = unpacked
                    break
            if not piece:
                raise StopAsyncIteration
            return piece

        async def _receive(self) -> bytes:
            failure: Exception | None = None
            piece: bytes | None = None
            with anyio.move_on_after(self._seconds):
                try:
                    piece = await self._stream.receive()
                except ExchangeError as error:
                    failure = _translated(error, self._library, self._request)
            if failure is not None:
                raise failure
            if piece is None:
                msg = f"nothing received for {self._seconds:g} s"
                raise self._library.ReadTimeout(msg, request=self._request)
            return piece

        async def aclose(self) -> None:
            await self._stream.close()

    return Body
