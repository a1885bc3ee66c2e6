"""The simulator behind a byte stream in memory, for a transport of one's own in virtual time."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import define, field

from batchllm.simulator.connection import Closing, converse
from batchllm.simulator.simulator import Simulator

_BUFFERED = 64

Connect = Callable[[], Awaitable[ByteStream]]


@define(eq=False)
class _PipeEnd(ByteStream):
    _outgoing: MemoryObjectSendStream[bytes]
    _incoming: MemoryObjectReceiveStream[bytes]
    _left_over: bytes = field(init=False, default=b"")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return what has arrived, at most `max_bytes` of it."""
        data = self._left_over or await self._incoming.receive()
        self._left_over = data[max_bytes:]
        return data[:max_bytes]

    async def send(self, item: bytes) -> None:
        """Hand bytes to the other end; waits while it has much unread."""
        await self._outgoing.send(bytes(item))

    async def send_eof(self) -> None:
        """Signal the other end that nothing more comes."""
        await self._outgoing.aclose()

    async def aclose(self) -> None:
        """Close both directions."""
        self._incoming.close()
        await self._outgoing.aclose()


def _pipe() -> tuple[ByteStream, ByteStream]:
    to_server, at_server = anyio.create_memory_object_stream[bytes](_BUFFERED)
    to_client, at_client = anyio.create_memory_object_stream[bytes](_BUFFERED)
    return _PipeEnd(to_server, at_client), _PipeEnd(to_client, at_server)


@asynccontextmanager
async def open_pipes(simulator: Simulator) -> AsyncGenerator[Connect]:
    """Give a function that connects to the simulator; leaving the block ends all connections.

    Each connection carries HTTP/1.1 in the clear, as a socket would. A connection that is reset
    on purpose ends for the client as if the server had closed it.
    """
    closing = Closing()
    async with anyio.create_task_group() as group:

        async def connect() -> ByteStream:
            client, server = _pipe()
            group.start_soon(converse, simulator, server, closing)
            return client

        yield connect
        group.cancel_scope.cancel()
