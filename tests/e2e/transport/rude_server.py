"""A server on real sockets that misbehaves by a script, request by request."""

import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskStatus
from anyio.streams.tls import TLSListener
from attrs import define, field

BODY = b'{"choices":[{"index":0,"finish_reason":"stop","message":{"content":"ok"}}]}'
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def reply(body: bytes = BODY, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A reply with a length."""
    lines = [b"HTTP/1.1 " + status, b"content-type: application/json", *headers]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


def chunked(*chunks: bytes, head: bytes = b"", extension: bytes = b"") -> bytes:
    """A reply in chunks."""
    start = b"HTTP/1.1 200 OK\r\n" + head + b"transfer-encoding: chunked\r\n\r\n"
    parts = [b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks]
    return start + b"".join(parts) + b"0\r\n\r\n"


@define(eq=False)
class Talk:
    """One connection as the server sees it."""

    stream: SocketStream
    number: int
    requests: list[bytes]
    """Bodies of the requests of all connections, as far as they came whole."""
    heads: list[bytes]
    _rest: bytes = b""

    async def request(self) -> bytes:
        """Read one request and return its body.

        Raises:
            anyio.EndOfStream: The client closed.
        """
        while b"\r\n\r\n" not in self._rest:
            self._rest += await self.stream.receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", b"0"))
        while len(self._rest) < length:
            self._rest += await self.stream.receive()
        body, self._rest = self._rest[:length], self._rest[length:]
        self.requests.append(body)
        self.heads.append(head)
        return body

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send(data)

    async def serve(self, answer: bytes = b"") -> None:
        """Answer every request, as a server with manners does."""
        while True:
            await self.request()
            await self.send(answer or reply())

    async def reset(self) -> None:
        """Close with a RST."""
        raw = self.stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        await anyio.aclose_forcefully(self.stream)


Script = Callable[[Talk], Awaitable[None]]


@define(eq=False)
class RudeServer:
    """A server that misbehaves on request, and records what it saw.

    Attributes:
        connections: How many were made.
        requests: Bodies of whole requests, in their order.
        ended: Set when a connection has ended on the server's side, one event each.
    """

    url: str
    port: int
    connections: int = 0
    live: int = 0
    requests: list[bytes] = field(factory=list)
    heads: list[bytes] = field(factory=list)


@asynccontextmanager
async def rude(
    *scripts: Script, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncGenerator[RudeServer]:
    """Run *scripts*, one for each connection in turn; the last serves all that follow."""
    plain = await anyio.create_tcp_listener(local_host=host, backlog=1024)
    port: int = plain.extra(SocketAttribute.local_port)
    listener = plain if context is None else TLSListener(plain, context, standard_compatible=False)
    scheme = "http" if context is None else "https"
    name = "localhost" if context is not None else (f"[{host}]" if ":" in host else host)
    server = RudeServer(f"{scheme}://{name}:{port}", port)

    async def talk(stream: SocketStream) -> None:
        number = server.connections
        server.connections += 1
        server.live += 1
        gone = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
        try:
            async with stream:
                with suppress(*gone):
                    script = scripts[min(number, len(scripts) - 1)]
                    await script(Talk(stream, number, server.requests, server.heads))
        finally:
            server.live -= 1

    async def listen(*, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        async with listener:
            task_status.started()
            await listener.serve(talk)

    async with anyio.create_task_group() as group:
        await group.start(listen)
        try:
            yield server
        finally:
            group.cancel_scope.cancel("the test is over")


async def polite(talk: Talk) -> None:
    """Answer every request."""
    await talk.serve()
