"""HTTP/1.1 over one byte stream: requests in, replies played on their schedule.

A task of its own reads ahead, so that a client that leaves is noticed while its reply is being
delayed; requests are answered one after the other.
"""

import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager, nullcontext, suppress

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import define, field

from batchllm.simulator.simulator import Exchange, Simulator
from batchllm.simulator.wires import Chunk, Ending, WireReply, WireRequest

_READ_AHEAD = 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


@define(eq=False)
class Closing:
    """The closing of a front end: it interrupts what would wait for ever."""

    begun: bool = field(init=False, default=False)
    _scopes: set[anyio.CancelScope] = field(init=False, factory=set)

    @contextmanager
    def interrupts(self) -> Generator[None]:
        """Leave the block early when the front end closes, or at once if it has begun to."""
        with anyio.CancelScope() as scope:
            if self.begun:
                scope.cancel("the simulator is closing")
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)

    def begin(self) -> None:
        """Interrupt every such block, and take no further requests."""
        self.begun = True
        for scope in self._scopes:
            scope.cancel("the simulator is closing")


async def converse(simulator: Simulator, stream: ByteStream, closing: Closing) -> None:
    """Answer the requests that come over `stream`, until either side closes it."""
    async with stream:
        await _Connection(simulator, stream, closing).serve()


@define(eq=False)
class _Connection:
    _simulator: Simulator
    _stream: ByteStream
    _closing: Closing
    _http: h11.Connection = field(init=False, factory=lambda: h11.Connection(h11.SERVER))
    _client_left: anyio.Event = field(init=False, factory=anyio.Event)

    async def serve(self) -> None:
        send, receive = anyio.create_memory_object_stream[bytes](_READ_AHEAD)
        with receive:
            async with anyio.create_task_group() as group:
                group.start_soon(self._read_ahead, send)
                with suppress(*_GONE):
                    await self._answer_all(receive)
                group.cancel_scope.cancel()

    async def _read_ahead(self, send: MemoryObjectSendStream[bytes]) -> None:
        with send:
            try:
                while True:
                    await send.send(await self._stream.receive())
            except _GONE:
                self._client_left.set()

    async def _answer_all(self, receive: MemoryObjectReceiveStream[bytes]) -> None:
        while not self._closing.begun:
            try:
                request = await self._next_request(receive)
            except h11.RemoteProtocolError as error:
                await self._refuse(error)
                return
            if request is None:
                return
            exchange = self._simulator.handle(request)
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
        with self._closing.interrupts() if idle else nullcontext():
            try:
                self._http.receive_data(await receive.receive())
            except anyio.EndOfStream:
                self._http.receive_data(b"")
            return True
        return False

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = str(error).encode()
            reply = WireReply(
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

    async def _send_reply(self, reply: WireReply) -> bool:
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
        with self._closing.interrupts():
            await self._client_left.wait()

    async def _reset(self) -> None:
        """Close so that the client sees a reset rather than an orderly end."""
        raw = self._stream.extra(SocketAttribute.raw_socket, None)
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        await anyio.aclose_forcefully(self._stream)


def _wire_request(head: h11.Request, body: bytes) -> WireRequest:
    return WireRequest(
        method=head.method.decode("ascii"),
        target=head.target.decode("ascii"),
        headers={name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
        body=body,
    )
