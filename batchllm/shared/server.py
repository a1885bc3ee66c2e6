"""The authority of shared quotas as a server: one small answer over HTTP/1.1.

It listens in plain HTTP: the secret keeps out those who do not know it, and not those who read the
network. Its answers are slots in time, and nothing of the calls themselves passes it.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
import h11
from anyio.abc import SocketAttribute, SocketStream
from attrs import define, field, frozen

from batchllm.core import ConfigError
from batchllm.shared.stores import GateUnreachableError, LeaseStore
from batchllm.shared.wire import PATH, read_request, write

__all__ = ["LeaseServer", "serve_leases"]

_MOST_BYTES: Final = 1 << 20
"""Of a request; one with 256 calls and 1,000 corrections has some 80 kB."""
_MOST_HEAD: Final = 16 * 1024
_IDLE: Final = 120.0
"""Seconds for which a connection may be silent; workers speak every 2 s."""
_SHORTEST_SECRET: Final = 16
"""Characters. All that can connect may try as often as they like."""
_READ: Final = 65_536
_GONE: Final = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


@frozen
class LeaseServer:
    """A server of leases that listens.

    Attributes:
        host: Where.
        port: The one that it got.
    """

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address that ``SharedGate`` takes."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@asynccontextmanager
async def serve_leases(
    store: LeaseStore, *, secret: str, host: str = "127.0.0.1", port: int = 0
) -> AsyncGenerator[LeaseServer]:
    """Answer requests for leases while the block runs.

    Args:
        store: The authority.
        secret: What each request has to know; at least 16 characters.
        host: Where to listen; by default only this machine can connect.
        port: 0 takes one that is free.

    Raises:
        ConfigError: The secret is too short.
        OSError: It cannot listen there.
    """
    if len(secret) < _SHORTEST_SECRET:
        msg = (
            f"the secret of a shared gate has {len(secret)} characters; give at least "
            f"{_SHORTEST_SECRET}, such as those of: openssl rand -hex 16"
        )
        raise ConfigError(msg)
    expected = f"Bearer {secret}".encode()
    listener = await anyio.create_tcp_listener(local_host=host, local_port=port)

    async def connect(stream: SocketStream) -> None:
        async with stream:
            await _Connection(store, expected, stream).serve()

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, connect, name="batchllm serve-gate")
        yield LeaseServer(host, listener.extra(SocketAttribute.local_port))
        group.cancel_scope.cancel("the server is closing")


@define(eq=False)
class _Connection:
    _store: LeaseStore
    _expected: bytes
    _stream: SocketStream
    _http: h11.Connection = field(
        init=False,
        factory=lambda: h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEAD),
    )

    async def serve(self) -> None:
        """Answer one request after the other, until either side closes."""
        with suppress(*_GONE, TimeoutError):
            while True:
                try:
                    answer = await self._next()
                except h11.RemoteProtocolError as error:
                    answer = (error.error_status_hint, b"this is not HTTP/1.1")
                if answer is None:
                    return
                await self._send(*answer)
                if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    return
                self._http.start_next_cycle()

    async def _next(self) -> tuple[int, bytes] | None:
        """Read a request, and return the answer; ``None`` if there is no further one."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            match self._http.next_event():
                case h11.Request() as head:
                    # Before its body is read: who does not know the secret sends none.
                    if (refusal := self._refuse(head)) is not None:
                        return refusal
                case h11.Data(data=data):
                    body += data
                    if len(body) > _MOST_BYTES:
                        return 413, b"the request is too large"
                case h11.EndOfMessage():
                    return await self._lease(bytes(body))
                case h11.ConnectionClosed():
                    return None
                case _:
                    await self._more()

    async def _more(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            going_on = h11.InformationalResponse(status_code=100, headers=[])
            await self._stream.send(self._http.send(going_on) or b"")
        with anyio.fail_after(_IDLE):
            try:
                self._http.receive_data(await self._stream.receive(_READ))
            except anyio.EndOfStream:
                self._http.receive_data(b"")

    def _refuse(self, head: h11.Request) -> tuple[int, bytes] | None:
        given = next((value for name, value in head.headers if name == b"authorization"), b"")
        if not hmac.compare_digest(given, self._expected):
            return 401, b"the secret is missing or wrong"
        if (head.method, head.target) != (b"POST", PATH.encode()):
            return 404, f"there is only POST {PATH}".encode()
        return None

    async def _lease(self, body: bytes) -> tuple[int, bytes]:
        try:
            return 200, write(await self._store.lease(read_request(body)))
        except ConfigError as error:
            return 409, str(error).encode()
        except GateUnreachableError as error:
            return 503, str(error).encode()

    async def _send(self, status: int, body: bytes) -> None:
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        kind = b"application/json" if status == 200 else b"text/plain; charset=utf-8"
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        if self._http.their_state is not h11.DONE:  # the rest of its request is not read
            headers.append((b"connection", b"close"))
        head = self._http.send(h11.Response(status_code=status, headers=headers)) or b""
        rest = self._http.send(h11.Data(data=body)) or b""
        await self._stream.send(head + rest + (self._http.send(h11.EndOfMessage()) or b""))
