"""The simulator behind real HTTP/1.1 on loopback.

One task for each connection reads ahead, so that a client that leaves is noticed while its reply
is being delayed; the connection's own task answers its requests one after the other.
"""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import h11
from anyio.abc import ByteStream, Listener, SocketAttribute, SocketStream, TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import define, field

from batchllm.simulator.simulator import Exchange, Simulator
from batchllm.simulator.wires import Chunk, Ending, Reply, WireRequest

_READ_AHEAD = 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


@define(eq=False)
class SimulatorServer:
    """A simulator that listens; made by `serve` and `run_server`."""

    simulator: Simulator
    host: str
    port: int
    _interruptible: set[anyio.CancelScope] = field(init=False, factory=set)
    _accepting: anyio.CancelScope = field(init=False, factory=anyio.CancelScope)
    _connections: anyio.CancelScope = field(
        init=False, factory=lambda: anyio.CancelScope(shield=True)
    )
    _closing: bool = field(init=False, default=False)

    @property
    def url(self) -> str:
        """The base URL without a path, such as `http://127.0.0.1:8080`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def close(self, grace: float) -> None:
        """Accept nothing more; replies that are under way have `grace` seconds to end."""
        self._closing = True
        self._accepting.cancel("the simulator's server is closing")
        self._connections.deadline = anyio.current_time() + grace
        for scope in self._interruptible:
            scope.cancel("the simulator's server is closing")

    async def _accept(
        self, listener: Listener[SocketStream], *, task_status: TaskStatus[None]
    ) -> None:
        with self._connections:
            async with anyio.create_task_group() as group, listener:
                with self._accepting:
                    task_status.started()
                    await listener.serve(self._connect, group)

    async def _connect(self, stream: ByteStream) -> None:
        async with stream:
            await _Connection(self, stream).serve()


@define(eq=False)
class _Connection:
    _server: SimulatorServer
    _stream: ByteStream
    _http: h11.Connection = field(init=False, factory=lambda: h11.Connection(h11.SERVER))
    _client_left: anyio.Event = field(init=False, factory=anyio.Event)

    async def serve(self) -> None:
        send, receive = anyio.create_memory_object_stream[bytes](_READ_AHEAD)
        with receive:
            async with anyio.create_task_group() as group:
                group.start_soon(self._read_ahead, send)
                try:
                    await self._answer_all(receive)
                except _GONE:
                    pass
                group.cancel_scope.cancel()

    async def _read_ahead(self, send: MemoryObjectSendStream[bytes]) -> None:
        with send:
            try:
                while True:
                    await send.send(await self._stream.receive())
            except _GONE:
                self._client_left.set()

    async def _answer_all(self, receive: MemoryObjectReceiveStream[bytes]) -> None:
        while not self._server._closing:
            try:
                request = await self._next_request(receive)
            except h11.RemoteProtocolError as error:
                await self._refuse(error)
                return
            if request is None:
                return
            exchange = self._server.simulator.handle(request)
            if not await self._play(exchange):
                return
            self._http.start_next_cycle()

    async def _next_request(self, receive: MemoryObjectReceiveStream[bytes]) -> WireRequest | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            match self._http.next_event():
                case h11.Request() as head:
                    pass
                case h11.Data(data=data):
                    body += data
                case h11.EndOfMessage():
                    assert head is not None
                    return _wire_request(head, bytes(body))
                case h11.ConnectionClosed():
                    return None
                case _:
                    if not await self._more(receive, idle=head is None):
                        return None

    async def _more(self, receive: MemoryObjectReceiveStream[bytes], *, idle: bool) -> bool:
        """Feed the parser; false when the server closes while nothing is under way."""
        if self._http.they_are_waiting_for_100_continue:
            going_on = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
            await self._stream.send(self._http.send(going_on) or b"")
        with anyio.CancelScope() as scope:
            if idle:
                self._server._interruptible.add(scope)
            try:
                self._http.receive_data(await receive.receive())
            except anyio.EndOfStream:
                self._http.receive_data(b"")
            finally:
                self._server._interruptible.discard(scope)
        return not scope.cancelled_caught

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = str(error).encode()
            reply = Reply(
                status=error.error_status_hint,
                headers=(("content-length", str(len(body))), ("connection", "close")),
                chunks=(Chunk(0.0, body),),
            )
            await self._send_reply(reply)

    async def _play(self, exchange: Exchange) -> bool:
        """Play a reply; true when the connection can take the next request."""
        played = False
        try:
            played = await self._send_reply(exchange.reply)
        except _GONE:
            pass
        finally:
            exchange.finish(aborted=not played)
        if exchange.reply.ending is Ending.DISCONNECT:
            await self._reset()
        reusable = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        return played and reusable

    async def _send_reply(self, reply: Reply) -> bool:
        """Send a reply up to its ending; false when the client left before."""
        if not await self._pause(reply.head_delay):
            return False
        pending = b""
        if reply.sends_head:
            head = h11.Response(status_code=reply.status, headers=list(reply.headers))
            pending = self._http.send(head) or b""
        for number, chunk in enumerate(reply.chunks):
            if pending and (number or chunk.delay):
                await self._stream.send(pending)
                pending = b""
            if not await self._pause(chunk.delay):
                return False
            pending += self._http.send(h11.Data(data=chunk.data)) or b""
        if reply.ending is Ending.COMPLETE:
            pending += self._http.send(h11.EndOfMessage()) or b""
        if pending:
            await self._stream.send(pending)
        if reply.ending is Ending.STALL:
            await self._stall()
            return False
        return True

    async def _pause(self, seconds: float) -> bool:
        """Wait; false when the client left meanwhile."""
        if seconds > 0:
            with anyio.move_on_after(seconds):
                await self._client_left.wait()
        return not self._client_left.is_set()

    async def _stall(self) -> None:
        with anyio.CancelScope() as scope:
            self._server._interruptible.add(scope)
            try:
                await self._client_left.wait()
            finally:
                self._server._interruptible.discard(scope)

    async def _reset(self) -> None:
        """Close so that the client sees a reset rather than an orderly end."""
        raw = self._stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        await anyio.aclose_forcefully(self._stream)


def _wire_request(head: h11.Request, body: bytes) -> WireRequest:
    return WireRequest(
        method=head.method.decode("ascii"),
        target=head.target.decode("ascii"),
        headers={name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
        body=body,
    )


async def run_server(
    simulator: Simulator,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    grace: float = 1.0,
    task_status: TaskStatus[SimulatorServer] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Listen until cancelled; replies under way then have `grace` seconds to end.

    `await group.start(run_server, simulator)` hands back the `SimulatorServer`.

    Raises:
        OSError: the port cannot be had.
    """
    listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    bound = listener.extra(SocketAttribute.local_port)
    server = SimulatorServer(simulator, host, bound)
    try:
        async with anyio.create_task_group() as group:
            await group.start(server._accept, listener)
            task_status.started(server)
            try:
                await anyio.sleep_forever()
            finally:
                server.close(grace)
    finally:
        simulator.log.release()


@asynccontextmanager
async def serve(
    simulator: Simulator, host: str = "127.0.0.1", port: int = 0, *, grace: float = 1.0
) -> AsyncIterator[SimulatorServer]:
    """Listen while the block runs.

    ```python
    async with serve(Simulator("quota")) as server:
        client = httpx.AsyncClient(base_url=f"{server.url}/v1")
    ```
    """
    async with anyio.create_task_group() as group:
        server = await group.start(partial(run_server, simulator, host, port, grace=grace))
        yield server
        group.cancel_scope.cancel()
